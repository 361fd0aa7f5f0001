//! A node: the production core, the keys and the disk of its shell, and a model of a runner.
//!
//! What is on disk survives a crash; keys of sessions and inboxes, jobs and the runner's work do not. What a dishonest
//! node does is asked of its conduct, at the borders of the core and nowhere else.

mod border;
mod cheats;
mod disk;
mod door;
mod service;

use std::collections::{BTreeMap, VecDeque};

use fedai_node_agent::core::offers::LocalModel;
use fedai_node_agent::core::policy::NodePolicy;
use fedai_node_agent::core::receipt_chain::ChainHead;
use fedai_node_agent::core::{Action, Input, NodeCore, NodeQueues, NodeState};
use fedai_protocol::job_open::JobEndpoint;
use fedai_protocol::payment_offer::PaymentMethod;
use fedai_protocol::{JobId, Price, PublicKey, UnixMicros, VerifiedEvent};

use self::disk::Disk;
use self::door::Session;
use self::service::Task;
use crate::conduct::NodeConduct;
use crate::faults::Active;
use crate::money::{AccountedPayment, payment_terms};
use crate::router_actor::RELAY;
use crate::runner::RunnerModel;
use crate::scenario::{MODEL, MarketTerms, NodeSpec, Tamper};
use crate::turn::{Effect, Turn};
use crate::wire::{Identity, Mint};
use crate::workload::JobBlocks;
use crate::workload::prompt::Prompt;

/// The node.
pub struct NodeActor {
    index: usize,
    identity: Identity,
    former: Vec<PublicKey>,
    policy: NodePolicy,
    payment: PaymentMethod,
    disk: Disk,
    /// None while the process is dead.
    life: Option<Life>,
    runner: RunnerModel<JobId>,
    blocks: JobBlocks,
    load_ms: u64,
    tamper: Option<Tamper>,
    conduct: Option<Box<dyn NodeConduct>>,
    /// End of the chain of receipts that a dishonest node shows.
    shown: ChainHead,
    incarnation: u32,
    exited: bool,
    writes: u64,
    has_stalled: bool,
    bends: bool,
    last_receipt: Option<VerifiedEvent>,
    /// Room for what the core asks for.
    actions: Vec<Action>,
    /// What is wrong with it now.
    pub faults: Active,
}

/// What does not survive a crash.
struct Life {
    core: NodeCore,
    inboxes: Vec<Identity>,
    sessions: BTreeMap<JobId, Session>,
    jobs_of_keys: BTreeMap<PublicKey, JobId>,
    prompts: BTreeMap<JobId, Prompt>,
    work: BTreeMap<JobId, Task>,
    offers: Vec<VerifiedEvent>,
}

impl NodeActor {
    /// A node that was never started.
    #[must_use]
    pub fn new(index: usize, spec: &NodeSpec, terms: &MarketTerms, now: UnixMicros, mint: &mut Mint) -> Self {
        let identity = mint.identity();
        let mut policy = NodePolicy::new(identity.public_key(), format!("node-{index}"));
        policy.relays = vec![RELAY.to_owned()];
        policy.seed = mint.chance().between(0, u64::MAX - 1);
        policy.limits.queue_max = spec.queue_max;
        policy.ping_ms_min = terms.ping_ms.0;
        policy.ping_ms_max = terms.ping_ms.1;
        policy.deadlines.keep_ms = terms.keep_ms;
        if terms.payment != PaymentMethod::Free {
            policy.price = spec.list_price;
            policy.payment = payment_terms(terms.payment);
        }
        Self {
            index,
            identity,
            former: Vec::new(),
            policy,
            payment: terms.payment,
            disk: Disk::new(terms.keeps_journals),
            life: None,
            runner: RunnerModel::new(spec.runner, now),
            blocks: JobBlocks::default(),
            load_ms: spec.load_ms,
            tamper: spec.tamper,
            conduct: None,
            shown: ChainHead::default(),
            incarnation: 0,
            exited: false,
            writes: 0,
            has_stalled: false,
            bends: false,
            last_receipt: None,
            actions: Vec::new(),
            faults: Active::default(),
        }
    }

    /// From now on it behaves like this.
    pub fn behave(&mut self, conduct: Box<dyn NodeConduct>) {
        self.conduct = Some(conduct);
    }

    /// True while nothing makes it cheat.
    #[must_use]
    pub const fn is_honest(&self) -> bool {
        self.conduct.is_none()
    }

    /// The same, with what prompts of this world begin with.
    #[must_use]
    pub fn with_blocks(mut self, blocks: JobBlocks) -> Self {
        self.blocks = blocks;
        self
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

    /// Every identity that it ever had, the present one last.
    pub fn identities(&self) -> impl Iterator<Item = PublicKey> {
        self.former.iter().copied().chain([self.identity()])
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

    /// The state of its core, while it lives.
    #[must_use]
    pub fn state(&self, now: UnixMicros) -> Option<NodeState> {
        self.life.as_ref().map(|life| life.core.state(now))
    }

    /// What its core has to do, while it lives.
    #[must_use]
    pub fn queues(&self) -> Option<NodeQueues> {
        self.life.as_ref().map(|life| life.core.queues())
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
        let verifier = Box::new(AccountedPayment(self.payment));
        let core =
            NodeCore::with_verifier(self.policy.clone(), self.disk.restored(turn.now.seconds()), verifier);
        self.life = Some(Life {
            core,
            inboxes: Vec::new(),
            sessions: BTreeMap::new(),
            jobs_of_keys: BTreeMap::new(),
            prompts: BTreeMap::new(),
            work: BTreeMap::new(),
            offers: Vec::new(),
        });
        let owed: Vec<VerifiedEvent> = self.disk.owed().cloned().collect();
        owed.into_iter().for_each(|receipt| turn.publish(receipt));
        if self.load_ms > 0 {
            return turn.effects.push(Effect::Loaded(turn.now.plus_millis(self.load_ms)));
        }
        self.loaded(turn);
    }

    /// The runner of this life serves.
    pub fn loaded(&mut self, turn: &mut Turn<'_>) {
        self.take(Input::RunnerUp, turn);
        let mut model = self.model();
        if let Some(conduct) = &mut self.conduct {
            conduct.model(&mut model);
        }
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

    /// Leaves and comes back with nothing of before but its hardware.
    pub fn renew_identity(&mut self, turn: &mut Turn<'_>) {
        self.crash(turn.now);
        self.former.push(self.identity());
        self.identity = turn.mint.identity();
        self.policy.node = self.identity();
        self.disk.wipe();
        self.shown = ChainHead::default();
        self.start(turn);
    }

    /// Sets the price from now on.
    pub fn reprice(&mut self, price: Price, turn: &mut Turn<'_>) {
        self.policy.price = price;
        self.take(Input::PriceChanged(price), turn);
    }

    /// Takes an input and does what comes of it.
    pub fn take(&mut self, input: Input, turn: &mut Turn<'_>) {
        let mut inputs = VecDeque::new();
        let mut next = Some(input);
        let mut actions = core::mem::take(&mut self.actions);
        while let Some(input) = next {
            let Some(life) = &mut self.life else { break };
            life.core.handle(turn.now, input, &mut actions);
            for action in actions.drain(..) {
                inputs.extend(self.perform(action, turn));
            }
            next = inputs.pop_front();
        }
        self.actions = actions;
    }

    fn perform(&mut self, action: Action, turn: &mut Turn<'_>) -> Option<Input> {
        match action {
            Action::OpenSession { job, client, .. } => self.open_session(job, client, turn),
            Action::Send { job, frame } => self.send(job, *frame, turn),
            Action::StartRunner { job, work } => return self.start_runner(job, &work, turn),
            // Answers of this world are too few frames to be far ahead of anybody.
            Action::PaceRunner { .. } => {}
            Action::CancelRunner { job } => {
                turn.effects.extend(self.runner.cancel(turn.now, &job).map(Effect::Runner));
                if let Some(life) = &mut self.life {
                    life.work.remove(&job);
                }
            }
            Action::SignReceipt { job, draft, dispatch } => self.sign_receipt(job, draft, *dispatch, turn),
            Action::PublishDescriptor(draft) => drop(self.announce(draft, turn)),
            Action::PublishPing(draft) => self.announce_ping(draft, turn),
            Action::PublishOffer(draft) => {
                let event = self.announce(draft, turn);
                self.remember_offer(&event, turn.now.seconds());
                if let Some(life) = &mut self.life {
                    life.offers.retain(|old| old.tag("d") != event.tag("d"));
                    life.offers.push(event);
                }
            }
            Action::ResendOffers(offers) => {
                let signed = self.life.iter().flat_map(|life| &life.offers);
                signed
                    .filter(|offer| offers.contains(&offer.id()))
                    .for_each(|offer| turn.publish(offer.clone()));
            }
            Action::MakeInbox { valid_until } => {
                let identity = turn.mint.identity();
                let key = identity.public_key();
                turn.effects.push(Effect::Listen(key));
                if let Some(life) = &mut self.life {
                    life.inboxes.push(identity);
                }
                return Some(Input::InboxReady { key, valid_until });
            }
            Action::CloseSession { job } => {
                if let Some(life) = &mut self.life
                    && let Some(session) = life.sessions.remove(&job)
                {
                    let key = session.key.public_key();
                    life.jobs_of_keys.remove(&key);
                    life.prompts.remove(&job);
                    turn.effects.push(Effect::Unlisten(key));
                }
            }
            Action::Exit => {
                self.exited = true;
                self.crash(turn.now);
            }
        }
        None
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
        if self.conduct.is_some() {
            self.add_receipts(event, dispatch, turn);
        }
        let event = if self.bends_receipts() { self.shown_receipt(event, turn) } else { event.clone() };
        self.take(Input::ReceiptDurable { job, event }, turn);
    }

    fn model(&self) -> LocalModel {
        LocalModel {
            runner_id: MODEL.to_owned(),
            model: MODEL.to_owned(),
            slug: MODEL.to_owned(),
            quantization: None,
            digest: None,
            context_tokens: self.runner.profile().context_max().min(CONTEXT_TOKENS),
            max_output_tokens: OUTPUT_TOKENS_MAX,
            slots: self.runner.profile().slots,
            endpoints: vec![JobEndpoint::Chat],
            takes_images: false,
            features: Vec::new(),
        }
    }
}

/// The model's own; a runner may have room for less.
const CONTEXT_TOKENS: u64 = 131_072;
const OUTPUT_TOKENS_MAX: u64 = 16_384;
