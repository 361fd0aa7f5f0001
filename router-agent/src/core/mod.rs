//! The router as a state machine without I/O.
//!
//! Inputs are verified, typed messages, the passing of time, and what the shell did on the core's behalf; outputs are
//! [`Action`]s in order. The same seed, times and inputs give the same actions, byte for byte. The core never sees a
//! prompt or an output, holds no key and signs nothing: the shell signs the tickets and seals the replies it asks for.

pub mod announcing;
pub mod batch_fit;
pub mod breaker;
pub mod candidate;
pub mod concurrency;
pub mod decision;
pub mod decision_entry;
pub mod dispatch_book;
pub mod estimate;
pub mod explain;
pub mod filter;
pub mod follow;
pub mod node_view;
pub mod policy;
pub mod prediction;
pub mod quote_desk;
pub mod rate_limit;
pub mod receipt_chain;
pub mod receipt_ledger;
pub mod registry;
pub mod scheduler;
pub mod sitting;
pub mod spend_budget;
pub mod status;
pub mod ticket;
pub mod token_norm;
pub mod trust;
pub mod trust_book;

mod arc_serde;
mod columns;
mod dispute;
mod evidence;
mod journal_record;
mod judging;
mod lanes;
mod quoting;
#[cfg(test)]
mod receipt_fixture;
mod set_clock;
mod standing;
mod standing_report;
mod two_choices;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use fedai_protocol::domain_separation::digest;
use fedai_protocol::limits::REPLAY_MEMORY_SECONDS;
use fedai_protocol::message::Received;
use fedai_protocol::replay_window::ReplayWindow;
use fedai_protocol::{
    Dispatch, EventId, LoadPing, ModelOffer, NodeDescriptor, PublicKey, QuoteRequest, Receipt, Refusal,
    TrustAssertion, UnixMicros, UnixSeconds,
};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use self::announcing::{Announcement, Announcing, Introduction};
use self::decision_entry::{DecisionEntry, KeepInputs};
use self::dispatch_book::{DispatchBook, Flight};
use self::follow::FollowBook;
use self::policy::Policy;
use self::quote_desk::{Asker, QuoteDesk, QuoteDraft, QuoteTerms};
use self::receipt_ledger::ReceiptLedger;
use self::registry::{Admission, Held, Registry};
use self::scheduler::{CapacityP2c, Scheduler, Scratch};
use self::spend_budget::SpendBudget;
use self::standing::StandingBook;
use self::status::RouterStatus;
use self::trust::Trust;
use self::trust_book::TrustBook;

pub use self::dispute::DisputeGrade;
pub use self::evidence::{AckHeard, AckProof};
pub use self::journal_record::{JournalKind, Restored, RestoredRecord, Restoring};
pub use self::judging::Recording;

/// Time between two ticks, in microseconds.
const TICK_MICROS: u64 = 1_000_000;
/// Time between two computations of medians and candidates, in microseconds.
const REFRESH_MICROS: u64 = 5_000_000;
/// Longest that a job without a receipt is believed to be under way, in seconds.
const FLIGHT_SECONDS_MAX: u64 = 120;
/// Domain of the state hash.
const STATE_HASH: &str = "fed_ai/router-state/v1";

/// What a router is made with.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterTerms {
    /// Identity key.
    pub identity: PublicKey,
    /// What the profile says.
    pub introduction: Introduction,
    /// The terms of quotes.
    pub quotes: QuoteTerms,
    /// Parameters of the scheduler.
    pub policy: Policy,
    /// Length of an epoch of usage summaries, in seconds.
    pub epoch_seconds: u64,
    /// Time between two publications of summaries and ranks, in seconds.
    pub summary_seconds: u64,
    /// Whose assertions count, and how much: weights from 0 to 1.
    pub follow: BTreeMap<PublicKey, f64>,
    /// Seed of all draws and jitters.
    pub seed: [u8; 32],
}

/// What a core is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// A node's descriptor.
    Descriptor(Held<NodeDescriptor>),
    /// A node's offer.
    Offer(Held<ModelOffer>),
    /// A node's load.
    LoadPing(Received<LoadPing>),
    /// A quote request; `sealed` when it was addressed to this router and opened by the shell.
    QuoteRequest {
        /// The request.
        request: Received<QuoteRequest>,
        /// True when the reply has to be sealed.
        sealed: bool,
    },
    /// A ticket that the shell signed for a [`Action::Quote`].
    Dispatched(Received<Dispatch>),
    /// A receipt.
    Receipt(Received<Receipt>),
    /// A word on a receipt.
    Acknowledged(AckHeard),
    /// Somebody's rank of a node. Counts when its author is followed.
    Assertion(Received<TrustAssertion>),
    /// Time passed.
    Tick,
    /// What the journal holds, in its order, before anything else.
    Restore(Restoring),
    /// Stop answering and say farewell.
    Shutdown,
}

/// What the shell has to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Sign the draft's ticket, tell the core ([`Input::Dispatched`]), journal it, then send the reply.
    Quote {
        /// Who asked.
        asker: Asker,
        /// The quote.
        draft: Box<QuoteDraft>,
    },
    /// Send a refusal.
    Refuse {
        /// Who asked.
        asker: Asker,
        /// Why.
        refusal: Refusal,
        /// Worthless after this.
        expires_at: UnixSeconds,
    },
    /// Publish.
    Publish(Announcement),
    /// Write the signed event with this id to the journal: it is the one that was just handed in.
    Journal {
        /// Kind of record.
        kind: JournalKind,
        /// Event.
        id: EventId,
    },
    /// Keep a decision for `explain` and `replay`.
    Decided(Box<DecisionEntry>),
    /// A node signed something that contradicts its ticket or its own chain.
    Evidence {
        /// Node.
        node: PublicKey,
        /// Stable code.
        code: &'static str,
        /// The receipt that proves it.
        receipt: EventId,
    },
    /// Put a value into a histogram.
    Observe {
        /// Metric.
        name: &'static str,
        /// Value.
        value: f64,
    },
    /// Add one to a counter.
    Count {
        /// Metric.
        name: &'static str,
        /// Label value.
        label: Cow<'static, str>,
    },
}

/// The router. See the module's description for its contract.
#[derive(Debug)]
pub struct RouterCore {
    terms: RouterTerms,
    policy: Arc<Policy>,
    scheduler: Box<dyn Scheduler>,
    keeping: KeepInputs,
    registry: Registry,
    desk: QuoteDesk,
    book: DispatchBook,
    ledger: ReceiptLedger,
    trust: TrustBook,
    follow: FollowBook,
    announcing: Announcing,
    seen: ReplayWindow,
    retries: SpendBudget,
    hedges: SpendBudget,
    scratch: Scratch,
    standings: StandingBook,
    rng: ChaCha8Rng,
    decisions: u64,
    next_tick: UnixMicros,
    next_refresh: UnixMicros,
    next_summary: UnixMicros,
    draining: bool,
    restoring: bool,
    latest: UnixMicros,
}

impl RouterCore {
    /// A router that knows nobody.
    #[must_use]
    pub fn new(now: UnixMicros, terms: RouterTerms) -> Self {
        Self::with_scheduler(now, terms, Box::new(CapacityP2c))
    }

    /// As [`RouterCore::new`], with another strategy: what strategies are compared by.
    #[must_use]
    pub fn with_scheduler(now: UnixMicros, terms: RouterTerms, scheduler: Box<dyn Scheduler>) -> Self {
        Self {
            policy: Arc::new(terms.policy.clone()),
            scheduler,
            keeping: KeepInputs::default(),
            registry: Registry::new(terms.identity, terms.policy.clone()),
            desk: QuoteDesk::new(terms.identity, terms.quotes.clone()),
            book: DispatchBook::new(now.seconds()),
            ledger: ReceiptLedger::new(terms.epoch_seconds),
            trust: TrustBook::default(),
            follow: FollowBook::new(terms.follow.clone()),
            announcing: Announcing::new(terms.introduction.clone()),
            seen: ReplayWindow::default(),
            retries: SpendBudget::new(now, terms.policy.retry_share, terms.policy.retries_per_second),
            hedges: SpendBudget::new(now, terms.policy.hedge_share, 0.0),
            scratch: Scratch::default(),
            standings: StandingBook::default(),
            rng: ChaCha8Rng::from_seed(terms.seed),
            decisions: 0,
            next_tick: now,
            next_refresh: now,
            next_summary: now.plus_seconds(terms.summary_seconds),
            draining: false,
            restoring: false,
            latest: now,
            terms,
        }
    }

    /// Whose inputs decisions keep.
    #[must_use]
    pub fn keeping(mut self, keeping: KeepInputs) -> Self {
        self.keeping = keeping;
        self
    }

    /// How much records of decisions tell.
    #[must_use]
    pub fn recording(mut self, recording: Recording) -> Self {
        self.scratch = Scratch::recording(recording);
        self
    }

    /// The same with room for so many tickets at once, and so many requests within the memory of requests. The limits
    /// of the protocol suit one process of one operator.
    #[must_use]
    pub fn holding(mut self, tickets: usize, requests: usize) -> Self {
        self.book = self.book.holding(Some(tickets));
        self.seen = ReplayWindow::new(requests, REPLAY_MEMORY_SECONDS);
        self
    }

    /// Takes one input; appends what has to be done.
    pub fn handle(&mut self, now: UnixMicros, input: Input, out: &mut Vec<Action>) {
        self.follow_clock(now);
        match input {
            Input::Descriptor(held) => {
                let trust = self.trust_of(now, &held.received.author);
                let admission = self.registry.descriptor(now, held, &trust);
                count_admission(admission, "descriptor", out);
            }
            Input::Offer(held) => {
                let trust = self.trust_of(now, &held.received.author);
                let admission = self.registry.offer(now, held, &trust);
                count_admission(admission, "offer", out);
            }
            Input::LoadPing(ping) => self.load(now, &ping),
            Input::QuoteRequest { request, sealed } => self.quote(now, &request, sealed, out),
            Input::Dispatched(dispatch) => self.dispatched(now, dispatch, out),
            Input::Receipt(receipt) => self.receipt(now, &receipt, out),
            Input::Acknowledged(ack) => self.acknowledged(now, &ack, out),
            Input::Assertion(assertion) => self.asserted(now, &assertion, out),
            Input::Tick => self.tick(now, out),
            Input::Restore(part) => self.restore(now, part),
            Input::Shutdown => {
                self.draining = true;
                out.push(Action::Publish(Announcement::Profile(self.announcing.farewell(now.seconds()))));
                self.publish_counts(now, out);
            }
        }
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<UnixMicros> {
        Some(self.next_tick)
    }

    /// The registry, to look at.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Trust in a node: own evidence, and on top what followed reporters say.
    #[must_use]
    pub fn trust_of(&self, now: UnixMicros, node: &PublicKey) -> Trust {
        self.trust.of(node).with(self.follow.opinion(now, node))
    }

    /// A hash over everything that has to survive a restart: tickets, counts, trust.
    #[must_use]
    pub fn state_hash(&self, now: UnixMicros) -> [u8; 32] {
        let mut parts: Vec<Vec<u8>> = vec![self.ledger.state_hash().to_vec()];
        for (id, ticket) in self.book.tickets() {
            parts.push(id.to_bytes().to_vec());
            parts.extend(ticket.receipts.ids().map(|id| id.to_bytes().to_vec()));
        }
        for (node, trust) in self.trust.iter() {
            parts.push(node.to_bytes().to_vec());
            // The last bits depend on the order in which evidence came.
            for bound in [trust.score(now), trust.p_ok(now)] {
                parts.push(((bound * 1e9).round() as u64).to_be_bytes().to_vec());
            }
            parts.push(trust.receipts().to_be_bytes().to_vec());
        }
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        digest(STATE_HASH, &parts)
    }

    /// A picture for people.
    #[must_use]
    pub fn status(&self, now: UnixMicros) -> RouterStatus {
        status::picture(self, now)
    }

    /// A job that was sent is over.
    fn ended(&mut self, now: UnixMicros, flight: &Flight, model: &str) {
        self.registry.touch(now, &flight.node, model, |view| view.ended(flight.since));
        self.scheduler.ended(now, &flight.node, model);
    }

    fn dispatched(&mut self, now: UnixMicros, dispatch: Received<Dispatch>, out: &mut Vec<Action>) {
        let id = dispatch.id;
        if dispatch.author == self.terms.identity && self.book.dispatched(dispatch, None, 0) {
            self.book.forget_old(now.seconds());
            let luck_permille = self.book.ticket(&id).map_or(0, |ticket| ticket.luck_permille);
            out.push(Action::Journal { kind: JournalKind::Dispatch { luck_permille }, id });
        }
    }

    fn tick(&mut self, now: UnixMicros, out: &mut Vec<Action>) {
        self.next_tick = now.plus(TICK_MICROS);
        for (model, flight) in self.book.expire(now) {
            self.ended(now, &flight, &model);
        }
        if now >= self.next_refresh {
            self.next_refresh = now.plus(REFRESH_MICROS);
            let (trust, follow) = (&self.trust, &self.follow);
            self.registry.refresh(now, |node| trust.of(node).with(follow.opinion(now, node)));
        }
        if self.draining {
            return;
        }
        if let Some(profile) = self.announcing.profile(now.seconds(), &self.registry) {
            out.push(Action::Publish(Announcement::Profile(profile)));
        }
        self.look_again(now);
        if now >= self.next_summary {
            self.next_summary = now.plus_seconds(self.terms.summary_seconds);
            self.publish_counts(now, out);
            self.publish_standings(now, out);
        }
    }
}

fn count(name: &'static str, label: impl Into<Cow<'static, str>>) -> Action {
    Action::Count { name, label: label.into() }
}

fn count_admission(admission: Admission, what: &str, out: &mut Vec<Action>) {
    let outcome = match admission {
        Admission::Taken => "taken",
        Admission::Old => "old",
        Admission::Full => "full",
    };
    out.push(count("fed_router_announcements_total", format!("{what},{outcome}")));
}
