//! A node: the production core, the keys and the disk of its shell, and a model of a runner.
//!
//! What is on disk survives a crash; keys of sessions and inboxes, jobs and the runner's work do not.

use std::collections::BTreeMap;

use fedai_node_agent::core::metering::ReportedUsage;
use fedai_node_agent::core::offers::{LocalModel, PublishedOffer};
use fedai_node_agent::core::policy::NodePolicy;
use fedai_node_agent::core::receipt_chain::ChainHead;
use fedai_node_agent::core::{Action, Input, NodeCore, NodeState, Restored, RestoredJob, RunnerWork};
use fedai_protocol::event_kinds::{EPHEMERAL_GIFT_WRAP, SESSION_FRAME};
use fedai_protocol::job_open::{JobEndpoint, JobOpen};
use fedai_protocol::message::{Draft, Message};
use fedai_protocol::output_stream::output_line;
use fedai_protocol::sealed_session::Conversation;
use fedai_protocol::session_frame::{Direction, FrameBody, accept_digest};
use fedai_protocol::{
    Dispatch, JobId, ModelOffer, PublicKey, Receipt, Refusal, RefusalCode, SessionFrame, SigningKey,
    UnixMicros, UnixSeconds, VerifiedEvent,
};

use crate::chance::Chance;
use crate::faults::{Active, FaultKind};
use crate::router_actor::RELAY;
use crate::runner::{Due, Prefix, Progress, RunnerEvent, RunnerModel, Work};
use crate::scenario::{MODEL, NodeSpec, Tamper};
use crate::turn::{Effect, Fact, Turn};
use crate::workload::prompt::Prompt;

/// The node.
pub struct NodeActor {
    index: usize,
    identity: SigningKey,
    policy: NodePolicy,
    disk: Disk,
    /// None while the process is dead.
    life: Option<Life>,
    runner: RunnerModel<JobId>,
    tamper: Option<Tamper>,
    incarnation: u32,
    exited: bool,
    writes: u64,
    /// What is wrong with it now.
    pub faults: Active,
}

/// What survives.
#[derive(Clone, Debug, Default)]
struct Disk {
    receipts: Vec<(VerifiedEvent, UnixSeconds)>,
    offers: Vec<PublishedOffer>,
    created_at_floor: UnixSeconds,
}

/// What does not.
struct Life {
    core: NodeCore,
    inboxes: Vec<SigningKey>,
    sessions: BTreeMap<JobId, Session>,
    jobs_of_keys: BTreeMap<PublicKey, JobId>,
    work: BTreeMap<JobId, Prompt>,
}

struct Session {
    key: SigningKey,
    client: PublicKey,
    conversation: Conversation,
}

impl NodeActor {
    /// A node that was never started.
    #[must_use]
    pub fn new(index: usize, spec: &NodeSpec, now: UnixMicros, chance: &mut Chance) -> Self {
        let identity = SigningKey::generate(chance);
        let mut policy = NodePolicy::new(identity.public_key(), format!("node-{index}"));
        policy.relays = vec![RELAY.to_owned()];
        policy.seed = chance.between(0, u64::MAX - 1);
        policy.limits.queue_max = spec.queue_max;
        let runner = RunnerModel::new(spec.runner, now);
        Self {
            index,
            identity,
            policy,
            disk: Disk::default(),
            life: None,
            runner,
            tamper: spec.tamper,
            incarnation: 0,
            exited: false,
            writes: 0,
            faults: Active::default(),
        }
    }

    /// Its number in the world.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Identity key.
    #[must_use]
    pub fn identity(&self) -> PublicKey {
        self.identity.public_key()
    }

    /// Counts starts: what an earlier life asked for is void.
    #[must_use]
    pub const fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// The operator's limits.
    #[must_use]
    pub const fn policy(&self) -> &NodePolicy {
        &self.policy
    }

    /// Receipts on disk, in order.
    pub fn receipts(&self) -> impl Iterator<Item = &VerifiedEvent> {
        self.disk.receipts.iter().map(|(event, _)| event)
    }

    /// The state of its core, while it lives.
    #[must_use]
    pub fn state(&self, now: UnixMicros) -> Option<NodeState> {
        self.life.as_ref().map(|life| life.core.state(now))
    }

    /// When its core wants to be asked again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<UnixMicros> {
        self.life.as_ref()?.core.poll_timeout()
    }

    /// The runner.
    pub const fn runner(&mut self) -> &mut RunnerModel<JobId> {
        &mut self.runner
    }

    /// Starts the process: reads the disk, finds the runner.
    pub fn start(&mut self, turn: &mut Turn<'_>) {
        self.incarnation = self.incarnation.saturating_add(1);
        let core = NodeCore::new(self.policy.clone(), self.restored());
        self.life = Some(Life {
            core,
            inboxes: Vec::new(),
            sessions: BTreeMap::new(),
            jobs_of_keys: BTreeMap::new(),
            work: BTreeMap::new(),
        });
        self.take(Input::RunnerUp, turn);
        let model = self.model();
        self.take(Input::ModelsChanged(vec![model]), turn);
    }

    /// True while its process runs.
    #[must_use]
    pub const fn is_alive(&self) -> bool {
        self.life.is_some()
    }

    /// True once when it has left by itself.
    pub const fn take_exit(&mut self) -> bool {
        core::mem::replace(&mut self.exited, false)
    }

    /// Kills the process, and the runner that it had spawned.
    pub fn crash(&mut self, now: UnixMicros) {
        self.incarnation = self.incarnation.saturating_add(1);
        self.life = None;
        self.runner.crash(now);
    }

    /// An event arrived.
    pub fn receive(&mut self, event: &VerifiedEvent, turn: &mut Turn<'_>) {
        if event.check_time(turn.now.seconds()).is_err() {
            return;
        }
        let input = match event.kind() {
            EPHEMERAL_GIFT_WRAP => self.read_open(event),
            SESSION_FRAME => self.read_frame(event),
            _ => None,
        };
        if let Some(input) = input {
            self.take(input, turn);
        }
    }

    /// A step of the runner that was asked for in this life.
    pub fn runner_step(&mut self, due: Due, turn: &mut Turn<'_>) {
        let Progress { events, next } = self.runner.step(turn.now, due.ticket);
        turn.effects.extend(next.map(Effect::Runner));
        for event in events {
            self.runner_says(event, turn);
        }
    }

    fn runner_says(&mut self, event: RunnerEvent<JobId>, turn: &mut Turn<'_>) {
        let (RunnerEvent::Tokens { key: job, .. } | RunnerEvent::Done { key: job, .. }) = event;
        let Some(prompt) = self.life.as_ref().and_then(|life| life.work.get(&job)).copied() else {
            return;
        };
        match event {
            RunnerEvent::Tokens { from, count, .. } => {
                let words: String =
                    (from..from.saturating_add(count)).map(|number| prompt.word(number)).collect();
                let choice = serde_json::json!({"index": 0, "delta": {"content": words}});
                self.take(Input::RunnerDelta { job, line: output_line(&choice) }, turn);
            }
            RunnerEvent::Done { cached_tokens, output_tokens, .. } => {
                if let Some(life) = &mut self.life {
                    life.work.remove(&job);
                }
                let end = serde_json::json!({"index": 0, "delta": {}, "finish_reason": "stop"});
                self.take(Input::RunnerDelta { job, line: output_line(&end) }, turn);
                let input_tokens = prompt.tokens();
                let usage =
                    ReportedUsage { input_tokens, output_tokens, cached_tokens, ..ReportedUsage::default() };
                self.take(Input::RunnerUsage { job, usage }, turn);
                self.take(Input::RunnerDone { job }, turn);
            }
        }
    }

    /// A receipt of this life is on disk; the outbox has it.
    pub fn stored(
        &mut self,
        job: JobId,
        event: &VerifiedEvent,
        dispatch: &VerifiedEvent,
        turn: &mut Turn<'_>,
    ) {
        if self.disk_is_full() {
            return self.take(Input::StorageFailed, turn);
        }
        self.write(event, dispatch, turn);
        if self.tamper == Some(Tamper::DoubleCharge) {
            self.charge_twice(event, dispatch, turn);
        }
        self.take(Input::ReceiptDurable { job, event: event.clone() }, turn);
    }

    /// Takes an input and does what comes of it.
    pub fn take(&mut self, input: Input, turn: &mut Turn<'_>) {
        let mut inputs = std::collections::VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let Some(life) = &mut self.life else { return };
            let mut actions = Vec::new();
            life.core.handle(turn.now, input, &mut actions);
            for action in actions {
                inputs.extend(self.perform(action, turn));
            }
        }
    }

    fn perform(&mut self, action: Action, turn: &mut Turn<'_>) -> Option<Input> {
        match action {
            Action::OpenSession { job, client, .. } => self.open_session(job, client, turn),
            Action::Send { job, frame } => self.send(job, *frame, turn),
            Action::StartRunner { job, work } => return self.start_runner(job, &work, turn),
            Action::CancelRunner { job } => {
                turn.effects.extend(self.runner.cancel(turn.now, &job).map(Effect::Runner));
                if let Some(life) = &mut self.life {
                    life.work.remove(&job);
                }
            }
            Action::SignReceipt { job, draft, dispatch } => {
                let event = self.identity.sign(draft, turn.chance);
                turn.effects.push(Effect::Store(job, event, *dispatch));
            }
            Action::PublishDescriptor(draft) | Action::PublishPing(draft) => drop(self.announce(draft, turn)),
            Action::PublishOffer(draft) => {
                let event = self.announce(draft, turn);
                self.remember_offer(&event, turn.now.seconds());
            }
            Action::MakeInbox { valid_until } => {
                let key = SigningKey::generate(turn.chance);
                turn.effects.push(Effect::Listen(key.public_key()));
                let public = key.public_key();
                if let Some(life) = &mut self.life {
                    life.inboxes.push(key);
                }
                return Some(Input::InboxReady { key: public, valid_until });
            }
            Action::CloseSession { job } => {
                if let Some(life) = &mut self.life
                    && let Some(session) = life.sessions.remove(&job)
                {
                    life.jobs_of_keys.remove(&session.key.public_key());
                    turn.effects.push(Effect::Unlisten(session.key.public_key()));
                }
            }
            Action::Exit => {
                self.exited = true;
                self.crash(turn.now);
            }
        }
        None
    }

    fn read_open(&self, event: &VerifiedEvent) -> Option<Input> {
        let addressed = event.tag("p")?;
        let inboxes = &self.life.as_ref()?.inboxes;
        let inbox = inboxes.iter().find(|key| key.public_key().to_hex() == addressed)?;
        let opened = Box::new(JobOpen::unwrap(event, inbox).ok()?);
        let ticket = Dispatch::parse(&opened.open.dispatch).map(Box::new);
        Some(Input::JobOpened { opened, ticket })
    }

    fn read_frame(&self, event: &VerifiedEvent) -> Option<Input> {
        let life = self.life.as_ref()?;
        let key = PublicKey::from_hex(event.tag("p")?).ok()?;
        let job = *life.jobs_of_keys.get(&key)?;
        let session = life.sessions.get(&job).filter(|session| session.client == event.author())?;
        let frame = SessionFrame::open(event, &session.conversation, job, Direction::ToNode).ok()?;
        Some(Input::Frame { job, frame: Box::new(frame) })
    }

    fn open_session(&mut self, job: JobId, client: PublicKey, turn: &mut Turn<'_>) {
        let key = SigningKey::generate(turn.chance);
        let Ok(conversation) = Conversation::derive(&key, &client) else { return };
        turn.effects.push(Effect::Listen(key.public_key()));
        let Some(life) = &mut self.life else { return };
        life.jobs_of_keys.insert(key.public_key(), job);
        life.sessions.insert(job, Session { key, client, conversation });
    }

    fn send(&self, job: JobId, mut frame: SessionFrame, turn: &mut Turn<'_>) {
        let Some(session) = self.life.as_ref().and_then(|life| life.sessions.get(&job)) else {
            return turn.broken("the node sends a frame without a session");
        };
        if let FrameBody::Accept(accept) = &mut frame.body {
            let digest = accept_digest(job, &session.key.public_key(), &session.client);
            accept.sig = self.identity.sign_digest(digest, turn.chance).to_string();
        }
        let now = turn.now.seconds();
        match frame.seal(&session.conversation, &session.key, &session.client, now, turn.chance) {
            Ok(event) => turn.publish(event),
            Err(error) => turn.broken(format!("a frame of the node cannot be sealed: {error}")),
        }
    }

    fn start_runner(&mut self, job: JobId, work: &RunnerWork, turn: &mut Turn<'_>) -> Option<Input> {
        turn.facts.push(Fact::RunnerStarted(job));
        let Some(prompt) = Prompt::read(&work.body) else {
            let refusal = Refusal::new(RefusalCode::RunnerRejected, "not a prompt of this world");
            return Some(Input::RunnerError { job, refusal });
        };
        if let Some(life) = &mut self.life {
            life.work.insert(job, prompt);
        }
        let words = prompt.words.min(u64::from(work.max_output_tokens));
        let asked = Work { prompt_tokens: prompt.tokens(), output_tokens: words, prefix: Prefix::Unshared };
        match self.runner.submit(turn.now, job, asked) {
            Ok(due) => {
                turn.effects.extend(due.map(Effect::Runner));
                None
            }
            Err(refusal) => {
                if let Some(life) = &mut self.life {
                    life.work.remove(&job);
                }
                let refusal = Refusal::new(RefusalCode::RunnerRejected, refusal.to_string());
                Some(Input::RunnerError { job, refusal })
            }
        }
    }

    fn announce(&mut self, draft: Draft, turn: &mut Turn<'_>) -> VerifiedEvent {
        self.disk.created_at_floor = self.disk.created_at_floor.max(draft.created_at);
        let event = self.identity.sign(draft, turn.chance);
        turn.publish(event.clone());
        event
    }

    fn remember_offer(&mut self, event: &VerifiedEvent, now: UnixSeconds) {
        let Ok(offer) = ModelOffer::parse(event) else { return };
        for old in self.disk.offers.iter_mut().filter(|old| old.offer.slug == offer.message.slug) {
            old.retired_at.get_or_insert(now);
        }
        let (id, created_at) = (offer.id, offer.created_at);
        self.disk.offers.push(PublishedOffer { id, offer: offer.message, created_at, retired_at: None });
    }

    fn write(&mut self, event: &VerifiedEvent, dispatch: &VerifiedEvent, turn: &mut Turn<'_>) {
        let expires = Dispatch::parse(dispatch).map_or(UnixSeconds(0), |ticket| ticket.message.expires_at);
        self.disk.receipts.push((event.clone(), expires));
        turn.facts.push(Fact::Durable(event.clone()));
        turn.publish(event.clone());
    }

    /// A cheat for tests of the invariants: the same job once more, as the next link of the chain.
    fn charge_twice(&mut self, event: &VerifiedEvent, dispatch: &VerifiedEvent, turn: &mut Turn<'_>) {
        let Ok(first) = Receipt::parse(event) else { return };
        let again = Receipt { seq: first.message.seq.saturating_add(1), prev: first.id, ..first.message };
        if let Ok(draft) = again.draft(&self.identity(), turn.now.seconds()) {
            let event = self.identity.sign(draft, turn.chance);
            self.write(&event, dispatch, turn);
        }
    }

    /// True when the disk takes no more writes; counts those that it took since the fault began.
    fn disk_is_full(&mut self) -> bool {
        let Some(still_work) = self.faults.size(FaultKind::DiskError) else {
            self.writes = 0;
            return false;
        };
        self.writes = self.writes.saturating_add(1);
        let is_full = self.writes > still_work;
        if is_full {
            self.faults.fired(FaultKind::DiskError);
        }
        is_full
    }

    fn restored(&self) -> Restored {
        let mut head = ChainHead::default();
        let mut jobs = Vec::new();
        for (event, ticket_expires) in &self.disk.receipts {
            let Ok(receipt) = Receipt::parse(event) else { continue };
            head = ChainHead { seq: receipt.message.seq.saturating_add(1), prev: receipt.id };
            let (job, ticket) = (receipt.message.job, receipt.message.dispatch);
            jobs.push(RestoredJob { job, ticket, ticket_expires: *ticket_expires });
        }
        let (offers, created_at_floor) = (self.disk.offers.clone(), self.disk.created_at_floor);
        Restored { head, jobs, offers, created_at_floor }
    }

    fn model(&self) -> LocalModel {
        LocalModel {
            runner_id: MODEL.to_owned(),
            model: MODEL.to_owned(),
            slug: MODEL.to_owned(),
            quantization: None,
            digest: None,
            context_tokens: 32_768,
            max_output_tokens: 4_096,
            slots: self.runner.profile().slots,
            endpoints: vec![JobEndpoint::Chat],
            takes_images: false,
            features: Vec::new(),
        }
    }
}
