//! The loop around the core: relay events, runner output, time and the operator in; frames, keys, work and
//! papers out.
//!
//! Unwrapping and verifying a job open happens beside the loop, bounded in number, so that a flood of them
//! costs service
//! and not the answers that are flowing. The rule: nothing here decides.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fedai_protocol::event_kinds::{EPHEMERAL_GIFT_WRAP, NODE_STANDING, SESSION_FRAME};
use fedai_protocol::replay_window::{ReplayError, ReplayWindow};
use fedai_protocol::session_frame::FrameBody;
use fedai_protocol::{Dispatch, JobId, Message, Receipt, SessionFrame, SigningKey, VerifiedEvent};
use fedai_relay_bridge::{
    DeadlineTimer, RelayPool, RelayRole, Subscription, SystemEntropy, filters, wall_clock,
};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::action_order::runner_first;
use super::config::NodeConfig;
use super::front_gate::FrontGate;
use super::listened_keys::ListenedKeys;
use super::metrics::NodeMetrics;
use super::node_board::NodeBoard;
use super::receipt_desk::{Announcement, Filed, Paper};
use super::run_loop::{NodeReady, RunError};
use super::runner_job::{RunnerReins, run_job};
use super::runner_source::RunnerSource;
use super::runner_watch::Signs;
use super::runners::Runner;
use super::session_keys::{InboxKeys, SessionKeys};
use super::standing_book::StandingBook;
use super::status_file::take_command;
use super::ticket_memo::TicketMemo;
use crate::core::{Action, Input, NodeCore, OperatorCommand};

/// A running node.
pub(super) struct NodeLoop {
    core: NodeCore,
    identity: Arc<SigningKey>,
    pool: RelayPool,
    runner: Arc<dyn Runner>,
    inputs: mpsc::Sender<Input>,
    papers: mpsc::UnboundedSender<Paper>,
    subscription: Subscription,
    /// Frames of sessions that ended: whoever lost some asks for them.
    ended: Subscription,
    /// What routers tell this node of their decisions.
    told: Subscription,
    standings: StandingBook,
    sessions: SessionKeys,
    inboxes: InboxKeys,
    listened: ListenedKeys,
    /// A key came: relays are told at once.
    has_new_key: bool,
    /// A key went: relays are told with the next beat.
    has_old_key: bool,
    jobs: BTreeMap<JobId, RunnerReins>,
    unwrapping: Arc<Semaphore>,
    seen: ReplayWindow,
    tickets: Arc<TicketMemo>,
    todo: VecDeque<Input>,
    metrics: NodeMetrics,
    board: NodeBoard,
    patience_ms: u64,
    exiting: bool,
    storage_failed: bool,
    last_descriptor_out: bool,
    /// A frame waits for its connection.
    has_sent: bool,
    /// A runner was started, and what follows in `put_off` waits until it has its request.
    has_started: bool,
    put_off: Vec<Action>,
    /// The node's own relay.
    pub(super) gate: FrontGate,
    /// Signs of life, shared with the watch over the runner.
    pub(super) signs: Arc<Signs>,
}

enum Wake {
    Input(Input),
    Event(VerifiedEvent),
    /// An event that came directly.
    Written(VerifiedEvent),
    Filed(Filed),
    Deadline,
    Beat,
    Stop,
}

impl NodeLoop {
    #[expect(clippy::too_many_arguments, reason = "everything that was opened, handed over once")]
    pub(super) fn new(
        config: &NodeConfig,
        core: NodeCore,
        identity: Arc<SigningKey>,
        pool: RelayPool,
        source: &RunnerSource,
        inputs: mpsc::Sender<Input>,
        papers: mpsc::UnboundedSender<Paper>,
        ready: oneshot::Sender<NodeReady>,
    ) -> Self {
        // Asks for nothing until there is a key to ask for.
        let nothing = filters::of_kinds_to(&[SESSION_FRAME], [identity.public_key()]);
        let board = NodeBoard::new(config, identity.public_key(), source.title.clone(), ready);
        let to_us = filters::of_kinds_to(&[NODE_STANDING], [identity.public_key()]);
        Self {
            core,
            identity,
            subscription: pool.subscribe(RelayRole::Stream, vec![nothing.clone()]),
            ended: pool.subscribe(RelayRole::Stream, vec![nothing]),
            told: pool.subscribe(RelayRole::Discovery, vec![to_us]),
            standings: StandingBook::open(&config.data_dir, &config.routers),
            pool,
            runner: Arc::clone(&source.runner),
            inputs,
            papers,
            sessions: SessionKeys::default(),
            inboxes: InboxKeys::default(),
            listened: ListenedKeys::default(),
            has_new_key: false,
            has_old_key: false,
            jobs: BTreeMap::new(),
            unwrapping: Arc::new(Semaphore::new(UNWRAPS_MAX)),
            seen: ReplayWindow::default(),
            tickets: Arc::default(),
            todo: VecDeque::new(),
            metrics: NodeMetrics::default(),
            board,
            patience_ms: u64::try_from(config.drain_timeout.as_millis()).unwrap_or(u64::MAX),
            exiting: false,
            storage_failed: false,
            last_descriptor_out: false,
            has_sent: false,
            has_started: false,
            put_off: Vec::new(),
            gate: FrontGate::default(),
            signs: Arc::default(),
        }
    }

    /// Makes the first inbox key and waits until relays listen for it.
    pub(super) async fn listen(&mut self) {
        self.feed(Input::Tick);
        if self.subscription.ready(SUBSCRIBE_PATIENCE).await == 0 {
            tracing::warn!("no relay has confirmed the subscription for jobs yet; going on");
        }
    }

    /// Runs until the core has said its last word.
    pub(super) async fn run(
        mut self,
        shutdown: &CancellationToken,
        mut incoming: mpsc::Receiver<Input>,
        mut filed: mpsc::UnboundedReceiver<Filed>,
    ) -> Result<(), RunError> {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut timer = DeadlineTimer::default();
        let mut stopping = false;
        while !self.exiting {
            while self.has_started {
                // The runner's request is written first: this thread would hold it back.
                tokio::task::yield_now().await;
                self.catch_up();
            }
            if core::mem::take(&mut self.has_sent) {
                // The connection writes it now, and not when the runner has nothing more to say.
                tokio::task::yield_now().await;
            }
            let wait = self.until_deadline();
            let wake = tokio::select! {
                Some(input) = incoming.recv() => Wake::Input(input),
                Some(event) = self.gate.recv() => Wake::Written(event),
                Some(event) = self.subscription.recv() => Wake::Event(event),
                Some(event) = self.ended.recv() => Wake::Event(event),
                Some(event) = self.told.recv() => Wake::Event(event),
                Some(paper) = filed.recv() => Wake::Filed(paper),
                () = timer.wait(wait) => Wake::Deadline,
                _ = beat.tick() => Wake::Beat,
                () = shutdown.cancelled(), if !stopping => Wake::Stop,
            };
            match wake {
                Wake::Input(input) => self.feed(input),
                Wake::Event(event) => self.take_event(event, false),
                Wake::Written(event) => self.take_event(event, true),
                Wake::Filed(paper) => self.take_paper(paper),
                Wake::Deadline => self.feed(Input::Tick),
                Wake::Beat => self.beat(),
                Wake::Stop => {
                    stopping = true;
                    tracing::info!("stopping: finishing what runs, taking nothing new");
                    self.feed(Input::Operator(OperatorCommand::Shutdown { patience_ms: self.patience_ms }));
                }
            }
        }
        self.leave(&mut filed).await
    }

    /// The last descriptor goes out, the status says so.
    async fn leave(mut self, filed: &mut mpsc::UnboundedReceiver<Filed>) -> Result<(), RunError> {
        self.jobs.values().for_each(|reins| reins.cancel.cancel());
        if self.last_descriptor_out
            && tokio::time::timeout(LAST_DESCRIPTOR, self.last_papers(filed)).await.is_err()
        {
            tracing::warn!("no relay took the last descriptor; the lease ends by itself");
        }
        self.board.stopped();
        if self.storage_failed { Err(RunError::Storage) } else { Ok(()) }
    }

    async fn last_papers(&mut self, filed: &mut mpsc::UnboundedReceiver<Filed>) {
        while let Some(paper) = filed.recv().await {
            let is_last = matches!(&paper, Filed::Descriptor { event, .. } if self.board.is_last(event));
            self.take_paper(paper);
            if is_last {
                return;
            }
        }
    }

    fn until_deadline(&self) -> Duration {
        let now = wall_clock::now();
        self.core.poll_timeout().map_or(IDLE, |at| Duration::from_micros(at.since(now))).min(IDLE)
    }

    /// Hands an input to the core and does what it says, also what follows from that.
    fn feed(&mut self, input: Input) {
        self.note(&input);
        self.todo.push_back(input);
        self.work_off();
    }

    fn work_off(&mut self) {
        let mut actions = Vec::new();
        while let Some(input) = self.todo.pop_front() {
            self.core.handle(wall_clock::now(), input, &mut actions);
            runner_first(&mut actions);
            for action in actions.drain(..) {
                self.perform_in_turn(action);
            }
        }
        if self.has_new_key {
            self.listen_again();
        }
    }

    /// Performs an action, or puts it off behind a runner's start.
    fn perform_in_turn(&mut self, action: Action) {
        if self.has_started {
            return self.put_off.push(action);
        }
        self.has_started = matches!(action, Action::StartRunner { .. });
        self.perform(action);
    }

    /// Performs what was put off, in its order.
    fn catch_up(&mut self) {
        self.has_started = false;
        for action in core::mem::take(&mut self.put_off) {
            self.perform_in_turn(action);
        }
        self.work_off();
    }

    /// Asks relays for the keys there are now, when these are others than before.
    fn listen_again(&mut self) {
        (self.has_new_key, self.has_old_key) = (false, false);
        let keys = ListenedKeys::choose(&self.inboxes, &self.sessions, &self.listened);
        if keys.has_moved(&self.listened) {
            // First, so that what moves is asked for by one of the two at any time.
            self.ended.update(keys.filters_of_ended());
        }
        if keys != self.listened {
            self.subscription.update(keys.filters());
            self.listened = keys;
        }
    }

    /// What the shell itself keeps of an input.
    fn note(&mut self, input: &Input) {
        match input {
            Input::RunnerDelta { .. } => {
                self.signs.output.fetch_add(1, Ordering::Relaxed);
            }
            Input::RunnerDone { job } | Input::RunnerError { job, .. } => drop(self.jobs.remove(job)),
            Input::RunnerUp => self.board.runner_up = true,
            Input::RunnerDown => self.board.runner_up = false,
            Input::StorageFailed => self.storage_failed = true,
            _ => {}
        }
        self.signs.running.store(self.jobs.len() as u64, Ordering::Relaxed);
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::OpenSession { job, client, relays } => {
                match self.sessions.open(job, client, relays) {
                    Ok(key) => self.gate.listen_for(key),
                    Err(_) => tracing::debug!(%job, "the client's session key is not a key"),
                }
                // A client that came directly needs relays only when that way fails.
                if self.gate.is_asked_for(&client) {
                    self.has_old_key = true;
                } else {
                    self.has_new_key = true;
                }
            }
            Action::Send { job, frame } => self.send(job, *frame),
            Action::StartRunner { job, work } => {
                let reins = RunnerReins::default();
                let runner = Arc::clone(&self.runner);
                tokio::spawn(run_job(runner, job, *work, reins.clone(), self.inputs.clone()));
                self.jobs.insert(job, reins);
            }
            Action::PaceRunner { job, is_held } => {
                if let Some(reins) = self.jobs.get(&job) {
                    reins.hold(is_held);
                }
            }
            Action::CancelRunner { job } => {
                if let Some(reins) = self.jobs.remove(&job) {
                    reins.cancel.cancel();
                }
            }
            Action::SignReceipt { job, draft, dispatch } => {
                self.file(Paper::Receipt { job, draft, dispatch });
            }
            Action::PublishDescriptor(draft) => {
                self.last_descriptor_out = true;
                self.board.descriptor_drafted(&draft);
                self.file(Paper::Announcement(Announcement::Descriptor(draft)));
            }
            Action::PublishOffer(draft) => self.file(Paper::Announcement(Announcement::Offer(draft))),
            Action::ResendOffers(offers) => {
                for offer in self.board.offers(&offers) {
                    self.pool.publish_stored_in_background(offer.clone());
                }
            }
            Action::PublishPing(draft) => {
                let ping = self.identity.sign(draft, &mut SystemEntropy);
                self.pool.publish_ephemeral(ping, RelayRole::Control);
            }
            Action::MakeInbox { valid_until } => {
                let key = self.inboxes.make(valid_until);
                self.gate.listen_for(key);
                self.has_new_key = true;
                self.todo.push_back(Input::InboxReady { key, valid_until });
            }
            Action::CloseSession { job } => {
                self.gate.forget(self.sessions.close(&job));
                self.has_old_key = true;
            }
            Action::Exit => self.exiting = true,
        }
    }

    fn file(&mut self, paper: Paper) {
        if self.papers.send(paper).is_err() {
            // The desk only leaves when the disk failed, and has said so.
            self.storage_failed = true;
        }
    }

    fn send(&mut self, job: JobId, frame: SessionFrame) {
        if let FrameBody::Error(failure) = &frame.body {
            self.metrics.refused(failure.refusal.code);
            tracing::info!(%job, code = %failure.refusal.code, "job refused or failed");
        }
        if frame.body.is_terminal() {
            self.sessions.finish(&job);
        }
        let Some(session) = self.sessions.get(&job) else { return };
        let event = match session.seal(frame, &self.identity, wall_clock::now_seconds()) {
            Ok(event) => event,
            Err(error) => {
                tracing::error!(%job, %error, "a frame could not be sealed");
                return;
            }
        };
        self.has_sent = true;
        if self.gate.hand_over(&event) && !session.is_wide() {
            return;
        }
        let relays = session.relays.get(..RELAYS_PER_JOB.min(session.relays.len())).unwrap_or_default();
        let named = self.pool.publish_ephemeral_to(event.clone(), RelayRole::Stream, relays);
        // The job came by one of our relays, so the client can be reached there even if it named others.
        if named == 0 && self.pool.publish_ephemeral(event, RelayRole::Stream) == 0 {
            tracing::debug!(%job, "no relay is connected: the frame waits for a resume");
        }
    }

    fn take_event(&mut self, event: VerifiedEvent, is_direct: bool) {
        // The pool tells apart what relays repeat; at the gateway anybody could say again what a relay has shown.
        let seen = self.seen.admit(event.id().to_bytes(), wall_clock::now_seconds());
        if is_direct && seen == Err(ReplayError::Seen) {
            return;
        }
        match event.kind() {
            SESSION_FRAME => match self.sessions.open_frame(&event) {
                Ok((job, frame)) => {
                    // Asked by a relay: the direct way, if there was one, does not reach the client any more.
                    if !is_direct && matches!(frame.body, FrameBody::Resume { .. }) {
                        self.sessions.widen(&job);
                    }
                    self.feed(Input::Frame { job, frame: Box::new(frame) });
                }
                Err(error) => tracing::debug!(code = error.code(), "a frame was dropped"),
            },
            EPHEMERAL_GIFT_WRAP => self.unwrap_beside(event),
            NODE_STANDING => self.standings.take(wall_clock::now_seconds(), &event, &self.identity),
            _ => {}
        }
    }

    fn unwrap_beside(&mut self, event: VerifiedEvent) {
        let Some(inbox) = self.inboxes.for_event(&event) else { return };
        let Ok(permit) = Arc::clone(&self.unwrapping).try_acquire_owned() else {
            self.metrics.opens_dropped = self.metrics.opens_dropped.saturating_add(1);
            return;
        };
        let (inputs, tickets) = (self.inputs.clone(), Arc::clone(&self.tickets));
        tokio::spawn(async move {
            // A fifth of a millisecond: a change of threads would cost as much.
            match tickets.unwrap(&event, &inbox) {
                Ok(opened) => {
                    let ticket = Dispatch::parse(&opened.open.dispatch).map(Box::new);
                    let opened = Box::new(opened);
                    // A closed channel: the node is gone.
                    drop(inputs.send(Input::JobOpened { opened, ticket }).await);
                }
                Err(error) => tracing::debug!(code = error.code(), "a job open was dropped"),
            }
            drop(permit);
        });
    }

    fn take_paper(&mut self, paper: Filed) {
        match paper {
            Filed::Receipt(event) => {
                if let Ok(receipt) = Receipt::parse(&event) {
                    let receipt = receipt.message;
                    let tokens = receipt.usage.output_tokens.get();
                    tracing::info!(job = %receipt.job, model = ?receipt.model, tokens, "receipt");
                    self.metrics.receipt(&receipt);
                }
            }
            Filed::Offer(event) => self.board.offer(event),
            Filed::Descriptor { event, outcome } => {
                self.board.descriptor(
                    event,
                    &outcome,
                    &self.core,
                    self.pool.connected_urls(RelayRole::Discovery),
                );
                self.write_board();
            }
        }
    }

    fn beat(&mut self) {
        if let Some(command) = take_command(self.board.dir(), self.patience_ms) {
            tracing::info!(?command, "command");
            self.feed(Input::Operator(command));
        }
        let old = self.inboxes.erase_old(wall_clock::now_seconds());
        self.has_old_key |= !old.is_empty();
        self.tickets.forget(&old);
        self.gate.forget(old);
        if self.has_old_key {
            self.listen_again();
        }
        if self.board.is_write_due() {
            self.write_board();
        }
    }

    fn write_board(&mut self) {
        let relays = self.pool.connected_urls(RelayRole::Stream);
        let alive_at = self.signs.alive_at.load(Ordering::Relaxed);
        self.board.write(&self.core, &self.metrics, relays, alive_at);
        if let Err(error) = self.standings.save(self.board.dir()) {
            tracing::warn!(%error, "what routers say could not be written");
        }
    }
}

/// Job opens unwrapped at once: about a second of one core.
const UNWRAPS_MAX: usize = 512;
/// Relays that carry one job's frames: a second one for when the first dies.
const RELAYS_PER_JOB: usize = 2;
const BEAT: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(60);
const SUBSCRIBE_PATIENCE: Duration = Duration::from_secs(10);
const LAST_DESCRIPTOR: Duration = Duration::from_secs(6);
