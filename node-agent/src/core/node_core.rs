//! The node as one state machine: [`NodeCore::handle`] in, [`Action`]s out, [`NodeCore::poll_timeout`] for the
//! next look.
//!
//! Never done here: signing, sealing, storing, running a model. Order matters and is kept: a receipt is
//! durable before
//! its `final`, a terminal frame precedes the close of its session, and after an `Exit` nothing follows.

use fedai_protocol::job_open::{JobEndpoint, OpenedJob};
use fedai_protocol::limits::NODE_TICKETS_MAX;
use fedai_protocol::message::{Draft, ParseError};
use fedai_protocol::node_descriptor::NodeStatus;
use fedai_protocol::replay_window::UseCounter;
use fedai_protocol::{
    Dispatch, EventId, JobId, LoadPing, Message, Price, PublicKey, Received, Refusal, SessionFrame,
    UnixMicros, UnixSeconds, VerifiedEvent,
};

use super::admission::Closed;
use super::announcer::{Announcer, LoadLevel};
use super::billing::{FreeOnly, PaymentVerifier};
use super::flood_gate::FloodGate;
use super::job_book::JobBook;
use super::leaving::Leave;
use super::metering::ReportedUsage;
use super::node_state::{NodeQueues, NodeState};
use super::offers::{LocalModel, OfferBook, PublishedOffer};
use super::pace::PaceBook;
use super::policy::NodePolicy;
use super::receipt_chain::ChainHead;

/// What happens to a node.
#[derive(Clone, Debug)]
pub enum Input {
    /// A job open that was unwrapped, and its ticket or why it is none.
    JobOpened {
        /// The job.
        opened: Box<OpenedJob>,
        /// The dispatch inside it.
        ticket: Result<Box<Received<Dispatch>>, ParseError>,
    },
    /// A frame that opened under the session's key.
    Frame {
        /// Job.
        job: JobId,
        /// The frame.
        frame: Box<SessionFrame>,
    },
    /// One line of output: the JSON of a choice and a line break.
    RunnerDelta {
        /// Job.
        job: JobId,
        /// The line.
        line: String,
    },
    /// What the runner says it used.
    RunnerUsage {
        /// Job.
        job: JobId,
        /// Its numbers.
        usage: ReportedUsage,
    },
    /// The runner ended well.
    RunnerDone {
        /// Job.
        job: JobId,
    },
    /// The runner broke off or refused; the refusal says how, in our words.
    RunnerError {
        /// Job.
        job: JobId,
        /// Why.
        refusal: Refusal,
    },
    /// The models of the runner, all of them.
    ModelsChanged(Vec<LocalModel>),
    /// Requests that the runner has in all, ours and others'.
    RunnerLoad {
        /// Running and waiting there.
        requests: u32,
    },
    /// The runner made a token just now.
    RunnerUp,
    /// The runner does not serve.
    RunnerDown,
    /// The receipt of a job is signed and on disk.
    ReceiptDurable {
        /// Job.
        job: JobId,
        /// The receipt.
        event: VerifiedEvent,
    },
    /// A receipt could not be stored: nothing may be promised any more.
    StorageFailed,
    /// The inbox key that was asked for.
    InboxReady {
        /// Its public half.
        key: PublicKey,
        /// Its end of life, as asked for.
        valid_until: UnixSeconds,
    },
    /// The price of models that have none of their own, from now on.
    PriceChanged(Price),
    /// A word of the operator.
    Operator(OperatorCommand),
    /// Time has passed.
    Tick,
}

/// What an operator can say to a running node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperatorCommand {
    /// Take nothing new until told otherwise.
    Pause,
    /// Take jobs again.
    Resume,
    /// Take nothing new, finish what runs, stay.
    Drain,
    /// Drain, and leave when done or after this many milliseconds.
    Shutdown {
        /// Patience.
        patience_ms: u64,
    },
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make a session key Sn for a job; frames go to `client` on its relays.
    OpenSession {
        /// Job.
        job: JobId,
        /// The client's session key Sc.
        client: PublicKey,
        /// Where the client listens.
        relays: Vec<String>,
    },
    /// Seal and send a frame. The signature inside `accept` is empty: the shell's keys fill it in.
    Send {
        /// Job.
        job: JobId,
        /// The frame.
        frame: Box<SessionFrame>,
    },
    /// Give the job to the runner.
    StartRunner {
        /// Job.
        job: JobId,
        /// What to run.
        work: Box<RunnerWork>,
    },
    /// Take no more output of a job from the runner, whose client is far behind; or take it again.
    PaceRunner {
        /// Job.
        job: JobId,
        /// It has to wait.
        is_held: bool,
    },
    /// Stop the runner's work on a job.
    CancelRunner {
        /// Job.
        job: JobId,
    },
    /// Sign with the identity key, store durably, hand to the outbox, then say so. In the order given.
    SignReceipt {
        /// Job.
        job: JobId,
        /// The receipt.
        draft: Draft,
        /// The ticket, to be kept beside it.
        dispatch: Box<VerifiedEvent>,
    },
    /// Sign and publish the descriptor.
    PublishDescriptor(Draft),
    /// Sign, remember and publish an offer.
    PublishOffer(Draft),
    /// Publish these offers as they were signed: a relay that took one may have lost it.
    ResendOffers(Vec<EventId>),
    /// Sign and publish a load ping.
    PublishPing(Draft),
    /// Make an inbox key; keep the old one until its own end.
    MakeInbox {
        /// End of life.
        valid_until: UnixSeconds,
    },
    /// Erase the session key.
    CloseSession {
        /// Job.
        job: JobId,
    },
    /// Everything is said and done.
    Exit,
}

/// One piece of work for the runner. Its `Debug` shows no content.
#[derive(Clone, PartialEq, Eq)]
pub struct RunnerWork {
    /// The runner's own id of the model.
    pub model: String,
    /// Interface.
    pub endpoint: JobEndpoint,
    /// The request, as its author wrote it.
    pub body: String,
    /// Most output tokens of one choice.
    pub max_output_tokens: u32,
    /// Count the prompt first and refuse above this: by its bytes it may or may not fit.
    pub count_against: Option<u64>,
}

impl core::fmt::Debug for RunnerWork {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("RunnerWork").field("model", &self.model).finish_non_exhaustive()
    }
}

/// What a node knows again after a restart: all of it read from signed events in the journal.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// End of the chain of receipts.
    pub head: ChainHead,
    /// Jobs that have a receipt and whose ticket may still live.
    pub jobs: Vec<RestoredJob>,
    /// Offers that may still be honoured.
    pub offers: Vec<PublishedOffer>,
    /// Latest `created_at` of anything published.
    pub created_at_floor: UnixSeconds,
}

/// A job that has its receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoredJob {
    /// Job.
    pub job: JobId,
    /// Ticket.
    pub ticket: EventId,
    /// End of the ticket.
    pub ticket_expires: UnixSeconds,
}

/// The node.
pub struct NodeCore {
    pub(super) policy: NodePolicy,
    pub(super) announcer: Announcer,
    pub(super) offers: OfferBook,
    pub(super) jobs: JobBook,
    pub(super) pace: PaceBook,
    pub(super) tickets: UseCounter,
    pub(super) flood: FloodGate,
    pub(super) chain: ChainHead,
    pub(super) verifier: Box<dyn PaymentVerifier>,
    pub(super) runner_up: bool,
    paused: bool,
    draining: bool,
    storage_failed: bool,
    pub(super) leave: Leave,
    exited: bool,
    /// The time of the last input.
    pub(super) latest: UnixMicros,
}

impl NodeCore {
    /// A node that serves free offers only.
    #[must_use]
    pub fn new(policy: NodePolicy, restored: Restored) -> Self {
        Self::with_verifier(policy, restored, Box::new(FreeOnly))
    }

    /// A node with a payment verifier.
    #[must_use]
    pub fn with_verifier(policy: NodePolicy, restored: Restored, verifier: Box<dyn PaymentVerifier>) -> Self {
        let mut tickets = UseCounter::default();
        let mut jobs = JobBook::default();
        for job in &restored.jobs {
            let id = *job.ticket.as_bytes();
            // Uses come back from receipts: a job that left none took nothing.
            let _full_or_used_up =
                tickets.take(id, u16::MAX, job.ticket_expires, UnixSeconds(0), NODE_TICKETS_MAX);
            jobs.remember_receipt(job.job, job.ticket_expires);
        }
        Self {
            announcer: Announcer::new(policy.seed, restored.created_at_floor),
            offers: OfferBook::restore(restored.offers),
            jobs,
            pace: PaceBook::default(),
            tickets,
            flood: FloodGate::default(),
            chain: restored.head,
            verifier,
            policy,
            runner_up: false,
            paused: false,
            draining: false,
            storage_failed: false,
            leave: Leave::Stay,
            exited: false,
            latest: UnixMicros(0),
        }
    }

    /// Takes one input and adds what is to be done.
    pub fn handle(&mut self, now: UnixMicros, input: Input, out: &mut Vec<Action>) {
        if self.exited {
            return;
        }
        self.follow_clock(now, out);
        match input {
            Input::JobOpened { opened, ticket } => self.open_job(now, *opened, ticket, out),
            Input::Frame { job, frame } => self.take_frame(now, job, *frame, out),
            Input::RunnerDelta { job, line } => self.take_output(now, job, &line, out),
            Input::RunnerUsage { job, usage } => self.take_usage(job, usage),
            Input::RunnerDone { job } => self.runner_done(now, job, out),
            Input::RunnerError { job, refusal } => self.runner_failed(now, job, refusal, out),
            Input::ModelsChanged(models) => {
                self.offers.set_models(models, now.seconds());
                self.publish_offers(now, out);
            }
            Input::RunnerLoad { requests } => {
                self.jobs.foreign =
                    requests.saturating_sub(u32::try_from(self.jobs.running()).unwrap_or(u32::MAX));
            }
            Input::RunnerUp => self.runner_up = true,
            Input::RunnerDown => self.runner_up = false,
            Input::ReceiptDurable { job, event } => self.receipt_durable(now, job, event, out),
            Input::StorageFailed => {
                // After one failed write nothing on this disk can be trusted until a restart has read it again.
                self.storage_failed = true;
                self.leave = Leave::Last(now);
            }
            Input::InboxReady { key, valid_until } => self.announcer.set_inbox(key, valid_until),
            Input::PriceChanged(price) => {
                self.policy.price = price;
                self.publish_offers(now, out);
            }
            Input::Operator(command) => self.operate(now, command),
            Input::Tick => self.check_deadlines(now, out),
        }
        self.start_waiting(now, out);
        self.announce(now, out);
        self.leave_when_done(now, out);
    }

    /// When [`Input::Tick`] is due if nothing else happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<UnixMicros> {
        if self.exited {
            return None;
        }
        let jobs = self.jobs.next_deadline(&self.policy.deadlines);
        [jobs, self.announcer.next(), self.leave.at()].into_iter().flatten().min()
    }

    /// The node as status and metrics show it.
    #[must_use]
    pub fn state(&self, now: UnixMicros) -> NodeState {
        let slots = self.offers.slots();
        NodeState {
            announced: self.announcer.announced(),
            running: self.jobs.running(),
            queued: self.jobs.queued(),
            open: self.jobs.open_count(),
            slots,
            chain: self.chain,
            wait_ms: self.jobs.wait_ms(&self.pace, slots, now),
        }
    }

    /// Its queues.
    #[must_use]
    pub fn queues(&self) -> NodeQueues {
        let (running, queued, open) = (self.jobs.running(), self.jobs.queued(), self.jobs.open_count());
        NodeQueues { running, queued, open, slots: self.offers.slots() }
    }

    /// The models offered now.
    pub fn models(&self) -> impl Iterator<Item = &LocalModel> {
        self.offers.models()
    }

    /// Why nothing new is taken, when that is so.
    pub(super) const fn closed(&self) -> Option<Closed> {
        match (self.storage_failed, self.draining, self.paused, self.runner_up) {
            (true, ..) => Some(Closed::Storage),
            (_, true, ..) => Some(Closed::Draining),
            (_, _, true, _) => Some(Closed::Paused),
            (.., false) => Some(Closed::RunnerDown),
            _ => None,
        }
    }

    fn operate(&mut self, now: UnixMicros, command: OperatorCommand) {
        match command {
            OperatorCommand::Pause => self.paused = true,
            OperatorCommand::Resume => {
                self.paused = false;
                self.draining = self.leave != Leave::Stay;
            }
            OperatorCommand::Drain => self.draining = true,
            OperatorCommand::Shutdown { patience_ms } => {
                self.draining = true;
                let at = now.plus_millis(patience_ms);
                self.leave = match self.leave {
                    Leave::Stay => Leave::By(at),
                    Leave::By(earlier) => Leave::By(earlier.min(at)),
                    Leave::Last(at) => Leave::Last(at),
                };
            }
        }
    }

    fn status(&self) -> NodeStatus {
        match self.closed() {
            None if self.offers.slots() > 0 => NodeStatus::Active,
            Some(Closed::Draining) => NodeStatus::Draining,
            _ => NodeStatus::Paused,
        }
    }

    fn announce(&mut self, now: UnixMicros, out: &mut Vec<Action>) {
        if let Some(valid_until) = self.announcer.inbox_due(now) {
            out.push(Action::MakeInbox { valid_until });
        }
        let began = self.announcer.announced().is_some();
        if self.announcer.offers_due(now) && (began || self.offers.slots() > 0) {
            self.publish_offers(now, out);
        }
        let (status, before) = (self.status(), self.announcer.announced());
        if let Some(draft) = self.announcer.descriptor_due(now, status, &self.policy) {
            out.push(Action::PublishDescriptor(draft));
            let current: Vec<EventId> = self.offers.current().collect();
            if before == Some(status) && !current.is_empty() {
                out.push(Action::ResendOffers(current));
            }
        }
        let level = self.jobs.load_level(self.offers.slots());
        if self.announcer.ping_due(now, level, &self.policy) {
            let ping = self.load_ping(now, level).draft(&self.policy.node, now.seconds());
            out.extend(ping.ok().map(Action::PublishPing));
        }
    }

    fn publish_offers(&mut self, now: UnixMicros, out: &mut Vec<Action>) {
        let all = self.announcer.offers_due(now);
        let older_than = if all { now.seconds() } else { UnixSeconds(0) };
        if all {
            self.announcer.offers_done(now);
            self.offers.retire_future(now.seconds());
        }
        let verifier = &self.verifier;
        for offer in self.offers.due(&self.policy, |free| verifier.methods(free), older_than) {
            let created_at = self.announcer.created_at(now);
            if let Ok(draft) = self.offers.publish(offer, &self.policy, created_at, now.seconds()) {
                out.push(Action::PublishOffer(draft));
            }
        }
    }

    fn load_ping(&self, now: UnixMicros, level: LoadLevel) -> LoadPing {
        let slots = self.offers.slots();
        LoadPing {
            node: self.policy.name.clone(),
            load_permille: level.permille,
            running: u32::try_from(self.jobs.running()).unwrap_or(u32::MAX),
            queued: level.queued,
            slots,
            wait_ms: self.jobs.wait_ms(&self.pace, slots, now),
        }
    }

    fn leave_when_done(&mut self, now: UnixMicros, out: &mut Vec<Action>) {
        if self.leave == Leave::Stay {
            return;
        }
        if matches!(self.leave, Leave::By(at) if at <= now) {
            self.fail_all(now, &Closed::Draining.refusal(), out);
            self.leave = Leave::Last(now.plus_seconds(LAST_RECEIPTS_SECONDS));
        }
        let is_over = matches!(self.leave, Leave::Last(at) if at <= now);
        if self.jobs.open_count() > 0 && !is_over {
            return;
        }
        out.extend(self.announcer.retraction(now, &self.policy).map(Action::PublishDescriptor));
        out.push(Action::Exit);
        self.exited = true;
    }
}

/// Signing and storing takes milliseconds; a disk that takes longer than this will not come back.
const LAST_RECEIPTS_SECONDS: u64 = 5;
