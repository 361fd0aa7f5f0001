//! One actor's turn: what it is given (time and randomness) and what it gives back (effects on the world, and facts for
//! those who watch). Actors never touch each other.

use fedai_client::core::job_ending::{Answer, JobFailure, Settlement};
use fedai_protocol::{EventId, JobId, PublicKey, UnixMicros, UsageSummary, VerifiedEvent};

use crate::chance::Chance;
use crate::runner::Due;

/// A change of the world.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Hand an event to the relays.
    Publish(VerifiedEvent),
    /// Events for this key come here.
    Listen(PublicKey),
    /// No more events for this key.
    Unlisten(PublicKey),
    /// A step of the runner is due.
    Runner(Due),
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
    /// A job ended for the person.
    Ended(Box<Result<Answer, JobFailure>>),
    /// The router says that a node cheated.
    Accused(PublicKey, &'static str),
    /// A router issued a ticket whose price is not the node's.
    PriceAltered(EventId),
    /// A client left without a word.
    Vanished,
    /// The router came back from its journal.
    RouterRestarted {
        /// True when its state is the one that it died with.
        is_same: bool,
    },
    /// The router's sums for a node.
    Summed(Box<UsageSummary>),
    /// A core asked for something that could not be done.
    Broken(String),
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
    /// Randomness for keys and nonces.
    pub chance: &'a mut Chance,
    /// Effects, in order.
    pub effects: Vec<Effect>,
    /// Facts, in order.
    pub facts: Vec<Fact>,
}

impl<'a> Turn<'a> {
    /// A turn in which nothing has been done.
    #[must_use]
    pub const fn new(now: UnixMicros, chance: &'a mut Chance) -> Self {
        Self { now, chance, effects: Vec::new(), facts: Vec::new() }
    }

    /// Hands an event to the relays.
    pub fn publish(&mut self, event: VerifiedEvent) {
        self.effects.push(Effect::Publish(event));
    }

    /// Notes that something impossible was asked for.
    pub fn broken(&mut self, what: impl Into<String>) {
        self.facts.push(Fact::Broken(what.into()));
    }
}
