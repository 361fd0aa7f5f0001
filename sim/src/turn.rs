//! One actor's turn: what it is given (time and randomness) and what it gives back (effects on the world, and facts for
//! those who watch). Actors never touch each other.

use std::sync::Arc;

use fedai_client::core::job_ending::{Answer, JobFailure, Settlement};
use fedai_protocol::{EventId, JobId, Msat, PublicKey, UnixMicros, UsageSummary, VerifiedEvent};

use crate::runner::Due;
use crate::wire::{Letter, Mint, Payload};

/// A change of the world.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Hand something to the relays.
    Publish(Payload),
    /// What is for this key comes here.
    Listen(PublicKey),
    /// No more for this key.
    Unlisten(PublicKey),
    /// A step of the runner is due.
    Runner(Due),
    /// The runner will have loaded its model.
    Loaded(UnixMicros),
    /// A receipt will be on disk after the time that a disk takes.
    Store(JobId, VerifiedEvent, VerifiedEvent),
}

/// What watchers want to know.
#[derive(Clone, Debug)]
pub enum Fact {
    /// A receipt of this node is on disk.
    Durable(VerifiedEvent),
    /// The runner of a node began with a job.
    RunnerStarted(JobId),
    /// A client opened a job at a node.
    Opened {
        /// Job.
        job: JobId,
        /// Node.
        node: PublicKey,
        /// Ticket.
        dispatch: EventId,
    },
    /// Output was handed to the person.
    Delivered(String),
    /// The person was told that the answer begins anew.
    Restarted,
    /// A client judged a receipt.
    Settled(Box<Settlement>),
    /// A client that accepted a receipt did or did not pay it.
    Paid(AccountPayment),
    /// A job ended for the person.
    Ended(Box<Result<Answer, JobFailure>>),
    /// A router says that a node cheated.
    Accused(PublicKey, &'static str),
    /// A router issued a ticket whose price is not the node's.
    PriceAltered(EventId),
    /// A client left without a word.
    Vanished,
    /// A router published the rank of a node.
    Ranked(PublicKey, u8),
    /// A router came back from its journal.
    RouterRestarted {
        /// True when its state is the one that it died with.
        is_same: bool,
    },
    /// A router's sums for a node.
    Summed(Box<UsageSummary>),
    /// A router had forgotten the ticket of a receipt: it is in no sum.
    Uncounted,
    /// A core asked for something that could not be done.
    Broken(String),
}

/// What a client owes a node for a receipt that it accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountPayment {
    /// Identity of the node.
    pub node: PublicKey,
    /// Router of the ticket.
    pub router: PublicKey,
    /// The receipt.
    pub receipt: EventId,
    /// What its core accepted.
    pub amount: Msat,
    /// Whether it was paid.
    pub is_paid: bool,
}

impl Fact {
    /// True for what a party may do once for one cause.
    #[must_use]
    pub const fn is_news(&self) -> bool {
        matches!(
            self,
            Self::Durable(_)
                | Self::RunnerStarted(_)
                | Self::Opened { .. }
                | Self::Delivered(_)
                | Self::Settled(_)
                | Self::Ended(_)
        )
    }
}

/// One turn.
#[derive(Debug)]
pub struct Turn<'a> {
    /// The time.
    pub now: UnixMicros,
    /// Keys, ids and randomness.
    pub mint: &'a mut Mint,
    /// Effects, in order.
    pub effects: Vec<Effect>,
    /// Facts, in order.
    pub facts: Vec<Fact>,
}

impl<'a> Turn<'a> {
    /// A turn in which nothing has been done.
    #[must_use]
    pub const fn new(now: UnixMicros, mint: &'a mut Mint) -> Self {
        Self { now, mint, effects: Vec::new(), facts: Vec::new() }
    }

    /// The same with room that an earlier turn needed.
    #[must_use]
    pub fn with_room(
        now: UnixMicros,
        mint: &'a mut Mint,
        (effects, facts): (Vec<Effect>, Vec<Fact>),
    ) -> Self {
        Self { now, mint, effects, facts }
    }

    /// Hands an event to the relays.
    pub fn publish(&mut self, event: VerifiedEvent) {
        self.effects.push(Effect::Publish(Payload::Event(event)));
    }

    /// Hands a letter to the relays.
    pub fn post(&mut self, letter: Letter) {
        self.effects.push(Effect::Publish(Payload::Letter(Arc::new(letter))));
    }

    /// Notes that something impossible was asked for.
    pub fn broken(&mut self, what: impl Into<String>) {
        self.facts.push(Fact::Broken(what.into()));
    }
}
