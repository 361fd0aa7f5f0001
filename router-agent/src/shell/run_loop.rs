//! The loop: relay event or tick in, actions out. One task owns the core; what takes time (disk, relays)
//! runs beside it,
//! bounded. A ticket is on disk before its quote is sent.

use std::sync::Arc;
use std::time::Duration;

use fedai_protocol::event_kinds::{
    LOAD_PING, MODEL_OFFER, NODE_DESCRIPTOR, QUOTE_REQUEST, RECEIPT, RECEIPT_ACK, TRUST_ASSERTION,
};
use fedai_protocol::quote::QuoteOutcome;
use fedai_protocol::sealed_session::Conversation;
use fedai_protocol::{
    Entropy, EventId, LoadPing, Message, ModelOffer, NodeDescriptor, ParseError, PublicKey, QuoteReply,
    Receipt, ReceiptAck, Refusal, RefusalCode, TrustAssertion, UnixMicros, UnixSeconds, VerifiedEvent,
};
use fedai_relay_bridge::{
    CreatedAt, DataDir, PoolOptions, PublishOutbox, RelayPool, RelayRole, Subscription, SystemEntropy,
    filters, wall_clock,
};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use super::catch_up::CatchUp;
use super::config::{RouterConfig, RouterSettings};
use super::decision_log::DecisionLog;
use super::followed_router::FollowedRouter;
use super::metrics::Metrics;
use super::requests::{self, send};
use super::router_journal::RouterJournal;
use super::run_error::RunError;
use super::signer::Signer;
use super::standing_post::HeardBy;
use crate::core::announcing::{Announcement, Introduction};
use crate::core::quote_desk::{Asker, QuoteDraft, QuoteTerms};
use crate::core::registry::Held;
use crate::core::{AckHeard, Action, Input, RouterCore, RouterTerms};

/// Replies and records on their way to disk or relays at once.
const PENDING_MAX: usize = 1_024;
/// How long a relay may take to be reached at the start.
const READY_TIMEOUT: Duration = Duration::from_secs(15);
/// How far back receipts are asked for beyond the last one that is known, in seconds.
const CATCH_UP_SECONDS: u64 = 3_600;
/// How long what is under way may take to come to its end.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// A router that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterReady {
    /// Identity key.
    pub public_key: PublicKey,
    /// Name.
    pub name: String,
    /// Relays on which requests are read.
    pub relays: Vec<String>,
}

/// Runs a router until `shutdown`. `ready` is told when it answers.
pub async fn run(
    config: RouterConfig,
    shutdown: CancellationToken,
    ready: oneshot::Sender<RouterReady>,
) -> Result<(), RunError> {
    run_with(config, PoolOptions::default(), shutdown, ready).await
}

/// As [`run`], over relays that are reached in another way (in memory, for tests). An outbox in the data directory is
/// added where none is given.
pub async fn run_with(
    config: RouterConfig,
    mut options: PoolOptions,
    shutdown: CancellationToken,
    ready: oneshot::Sender<RouterReady>,
) -> Result<(), RunError> {
    let data = DataDir::open(&config.data)?;
    if options.outbox.is_none() {
        options.outbox = Some(Arc::new(PublishOutbox::open(&data.path().join("outbox"))?));
    }
    let pool = RelayPool::connect(config.relays.clone(), options);
    let mut router = Router::start(&config, data, pool.clone()).await?;
    let outcome = router.serve(&shutdown, ready).await;
    drop(router);
    pool.shutdown().await;
    outcome
}

pub(super) struct Router {
    pub(super) core: RouterCore,
    pub(super) signer: Arc<Signer>,
    pub(super) pool: RelayPool,
    journal: RouterJournal,
    decisions: DecisionLog,
    created_at: CreatedAt,
    pub(super) metrics: Metrics,
    pending: Arc<Semaphore>,
    settings: RouterSettings,
    pub(super) metrics_file: Option<std::path::PathBuf>,
    known_until: Option<UnixMicros>,
    pub(super) seconds: u64,
    pub(super) data: DataDir,
    pub(super) heard: HeardBy,
}

/// What an action may refer to: the event that was just handed in, and the conversation of its request.
#[derive(Default)]
struct Cause<'a> {
    event: Option<&'a VerifiedEvent>,
    conversation: Option<Conversation>,
}

impl Router {
    async fn start(config: &RouterConfig, data: DataDir, pool: RelayPool) -> Result<Self, RunError> {
        let now = wall_clock::now();
        let signer = Signer::open(data.path(), config.passphrase.as_deref())?;
        let peers = config.settings.peers.iter().map(FollowedRouter::peer).collect();
        let mut core = RouterCore::new(now, terms(config, &signer))
            .following(peers)
            .keeping(config.settings.decisions.keep_inputs);
        let restore = |part| core.handle(now, Input::Restore(part), &mut Vec::new());
        let opened = RouterJournal::open(&data.path().join("journal"), now, restore).await?;
        tracing::info!(records = opened.records, tickets = core.status(now).tickets, "journal read");
        Ok(Self {
            core,
            signer: Arc::new(signer),
            pool,
            journal: opened.journal,
            decisions: DecisionLog::open(data.path(), config.settings.decisions.mebibytes_max)?,
            created_at: CreatedAt::open(data.path(), "router")?,
            metrics: Metrics::default(),
            pending: Arc::new(Semaphore::new(PENDING_MAX)),
            settings: config.settings.clone(),
            metrics_file: config.metrics_file.clone(),
            known_until: opened.last,
            seconds: 0,
            data,
            heard: HeardBy::default(),
        })
    }

    async fn serve(
        &mut self,
        shutdown: &CancellationToken,
        ready: oneshot::Sender<RouterReady>,
    ) -> Result<(), RunError> {
        let now = wall_clock::now_seconds();
        let mut wanted = vec![filters::of_kinds(&[NODE_DESCRIPTOR, MODEL_OFFER])];
        if !self.settings.follow.is_empty() {
            wanted.push(filters::of_authors(TRUST_ASSERTION, self.settings.follow.keys().copied()));
        }
        let announced = self.pool.subscribe(RelayRole::Discovery, wanted);
        let known = self.known_until.map_or(now, UnixMicros::seconds).minus(CATCH_UP_SECONDS);
        let proofs = filters::since(filters::of_kinds(&[RECEIPT, RECEIPT_ACK]), known);
        let proofs = self.pool.subscribe(RelayRole::Discovery, vec![proofs]);
        let requests = if self.settings.answer_open {
            filters::of_kinds(&[QUOTE_REQUEST, LOAD_PING])
        } else {
            filters::of_kinds_to(&[QUOTE_REQUEST], [self.signer.identity()])
        };
        let mut control = vec![requests];
        if !self.settings.answer_open {
            control.push(filters::of_kinds(&[LOAD_PING]));
        }
        let control = self.pool.subscribe(RelayRole::Control, control);
        self.heard = HeardBy::watch(&announced, &control);
        tokio::select! {
            outcome = self.pool.wait_ready(RelayRole::Control, READY_TIMEOUT) => drop(outcome?),
            () = shutdown.cancelled() => return Ok(()),
        }
        control.ready(READY_TIMEOUT).await;
        self.handle(Input::Tick, Cause::default());
        let status = RouterReady {
            public_key: self.signer.identity(),
            name: self.settings.name.clone(),
            relays: self.pool.connected_urls(RelayRole::Control),
        };
        tracing::info!(router = %status.public_key, name = %status.name, relays = ?status.relays, "router answers");
        // Nobody may be waiting for it.
        drop(ready.send(status));
        self.pump(shutdown, known, [announced, proofs, control]).await;
        self.finish().await;
        Ok(())
    }

    async fn pump(
        &mut self,
        shutdown: &CancellationToken,
        known: UnixSeconds,
        [mut announced, mut proofs, mut control]: [Subscription; 3],
    ) {
        let (mut catch_up, mut stored) =
            CatchUp::new(self.pool.clone(), self.settings.follow.keys().copied().collect());
        catch_up.begin(known);
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                _ = tick.tick() => {
                    self.handle(Input::Tick, Cause::default());
                    self.write_files();
                    let recently = wall_clock::now_seconds().minus(CATCH_UP_SECONDS);
                    catch_up.after_set_clock(wall_clock::now_seconds(), recently);
                    catch_up.after_gaps(announced.gaps().saturating_add(proofs.gaps()), recently);
                }
                Some(event) = control.recv() => self.control(&event),
                Some(event) = announced.recv() => self.announced(&event),
                Some(event) = proofs.recv() => self.proof(&event),
                Some(event) = stored.recv() => self.stored(&event),
                else => return,
            }
        }
    }

    fn control(&mut self, event: &VerifiedEvent) {
        if event.kind() == LOAD_PING {
            match LoadPing::parse(event) {
                Ok(ping) => self.handle(Input::LoadPing(ping), Cause::default()),
                Err(error) => self.unreadable(&error),
            }
            return;
        }
        let Some(opened) = requests::open(event, &self.signer) else { return };
        let sealed = opened.conversation.is_some();
        if sealed {
            self.metrics.count("fed_router_key_agreements_total", "");
        }
        match opened.request {
            Ok(request) => {
                let began = tokio::time::Instant::now();
                let cause = Cause { event: Some(event), conversation: opened.conversation };
                self.handle(Input::QuoteRequest { request, sealed }, cause);
                self.metrics.observe("fed_router_quote_duration_seconds", began.elapsed().as_secs_f64());
            }
            Err(error) => {
                self.unreadable(&error);
                let code = match error {
                    ParseError::UnknownVersion(_) => RefusalCode::UnknownVersion,
                    ParseError::Limit(_) => RefusalCode::TooLarge,
                    _ => RefusalCode::Malformed,
                };
                if let Some(conversation) = opened.conversation {
                    let asker = Asker { client: event.author(), request: event.id(), sealed };
                    let expires_at = wall_clock::now_seconds().plus(30);
                    self.refuse(
                        asker,
                        Refusal::new(code, error.to_string()),
                        expires_at,
                        Some(&conversation),
                    );
                }
            }
        }
    }

    fn announced(&mut self, event: &VerifiedEvent) {
        let signed = Some(event.clone());
        let input = match event.kind() {
            NODE_DESCRIPTOR => NodeDescriptor::parse(event)
                .map(|received| Input::Descriptor(Held { received, event: signed })),
            TRUST_ASSERTION => TrustAssertion::parse(event).map(Input::Assertion),
            _ => ModelOffer::parse(event).map(|received| Input::Offer(Held { received, event: signed })),
        };
        match input {
            Ok(input) => self.handle(input, Cause::default()),
            Err(error) => self.unreadable(&error),
        }
    }

    fn stored(&mut self, event: &VerifiedEvent) {
        if matches!(event.kind(), RECEIPT | RECEIPT_ACK) {
            self.proof(event);
        } else {
            self.announced(event);
        }
    }

    fn proof(&mut self, event: &VerifiedEvent) {
        let input = if event.kind() == RECEIPT {
            Receipt::parse(event).map(Input::Receipt)
        } else {
            let open = |sealed: &str, session: &PublicKey, receipt: &EventId| {
                self.signer.ticket_key(sealed, session, receipt)
            };
            ReceiptAck::parse(event).and_then(|ack| AckHeard::read(ack, open)).map(Input::Acknowledged)
        };
        match input {
            Ok(input) => self.handle(input, Cause { event: Some(event), conversation: None }),
            Err(error) => self.unreadable(&error),
        }
    }

    fn unreadable(&mut self, error: &ParseError) {
        self.metrics.count("fed_router_messages_refused_total", error.code());
        tracing::debug!(code = error.code(), "a message is refused");
    }

    fn handle(&mut self, input: Input, cause: Cause<'_>) {
        let now = wall_clock::now();
        let mut actions = Vec::new();
        self.core.handle(now, input, &mut actions);
        for action in actions {
            self.perform(now, action, &cause);
        }
    }

    fn perform(&mut self, now: UnixMicros, action: Action, cause: &Cause<'_>) {
        match action {
            Action::Quote { asker, draft } => self.quote(now, asker, *draft, cause.conversation.as_ref()),
            Action::Refuse { asker, refusal, expires_at } => {
                self.refuse(asker, refusal, expires_at, cause.conversation.as_ref());
            }
            Action::Publish(Announcement::Standing(standing)) => self.post_standing(now.seconds(), *standing),
            Action::Publish(announcement) => self.publish(now.seconds(), &announcement),
            Action::Journal { kind, id } => {
                let event =
                    cause.event.filter(|event| event.id() == id || kind == crate::core::JournalKind::Fork);
                let noted = event.map(|event| self.journal.note(kind, now, event.clone()));
                if let Some(Err(error)) = noted {
                    tracing::error!(%error, "a record could not be kept");
                }
            }
            Action::Decided(entry) => {
                if !self.decisions.record(entry) {
                    self.metrics.count("fed_router_decisions_unrecorded_total", "");
                }
            }
            Action::Evidence { node, code, receipt } => {
                tracing::warn!(%node, code, %receipt, "a node signed something that contradicts its ticket or chain");
            }
            Action::Observe { name, value } => self.metrics.observe(name, value),
            Action::Count { name, label } => self.metrics.count(name, &label),
        }
    }

    /// Signs the ticket, tells the core, and sends the reply once the ticket is on disk.
    fn quote(
        &mut self,
        now: UnixMicros,
        asker: Asker,
        draft: QuoteDraft,
        conversation: Option<&Conversation>,
    ) {
        let ticket = match draft.dispatch.as_ref().map(|d| self.signer.sign(d, now.seconds())).transpose() {
            Ok(ticket) => ticket,
            Err(error) => {
                tracing::error!(%error, "a ticket could not be written");
                return;
            }
        };
        let mut kept = Vec::new();
        if let Some(ticket) = &ticket {
            self.metrics.count("fed_router_signatures_total", "ticket");
            match fedai_protocol::Dispatch::parse(ticket) {
                Ok(dispatch) => self.core.handle(now, Input::Dispatched(dispatch), &mut kept),
                Err(error) => tracing::error!(%error, "a ticket of ours cannot be read"),
            }
        }
        self.metrics.count("fed_router_signatures_total", "reply");
        let (journal, signer, pool) = (self.journal.clone(), Arc::clone(&self.signer), self.pool.clone());
        let conversation = conversation.cloned();
        self.beside("reply", async move {
            for action in kept {
                let (Action::Journal { kind, .. }, Some(ticket)) = (action, ticket.clone()) else { continue };
                if let Err(error) = journal.keep_ticket(kind, now, ticket).await {
                    tracing::error!(%error, "a ticket could not be kept; its quote is not sent");
                    return;
                }
            }
            let Some(reply) = draft.reply(&asker, ticket.as_ref()) else {
                tracing::error!(request = %asker.request, "a quote does not fit one event");
                return;
            };
            send(&signer, &pool, &reply, conversation.as_ref());
        });
    }

    fn refuse(
        &mut self,
        asker: Asker,
        refusal: Refusal,
        expires_at: UnixSeconds,
        conversation: Option<&Conversation>,
    ) {
        self.metrics.count("fed_router_signatures_total", "refusal");
        let peers = self.core.peers_beside(&refusal).to_vec();
        let Asker { request, client, .. } = asker;
        let outcome = QuoteOutcome::Refusal(refusal);
        let reply = QuoteReply { request, client, outcome, peers, expires_at };
        send(&self.signer, &self.pool, &reply, conversation);
    }

    fn publish(&mut self, now: UnixSeconds, announcement: &Announcement) {
        if let Some(event) = self.announcement(now, announcement) {
            self.pool.publish_stored_in_background(event);
        }
    }

    /// Signs an announcement.
    fn announcement(&mut self, now: UnixSeconds, announcement: &Announcement) -> Option<VerifiedEvent> {
        self.metrics.count("fed_router_signatures_total", "announcement");
        let event = match announcement {
            Announcement::Profile(profile) => {
                let address = format!("{}:{}", fedai_protocol::RouterProfile::KIND, profile.name);
                match self.created_at.next(&address, now) {
                    Ok(at) => self.signer.sign(profile, at),
                    Err(error) => {
                        tracing::error!(%error, "the profile is not published");
                        return None;
                    }
                }
            }
            Announcement::Summary(summary) => self.signer.sign(summary, now),
            Announcement::Assertion(assertion) => self.signer.sign(assertion, now),
            Announcement::Standing(standing) => self.signer.seal_standing(standing, now),
        };
        event.inspect_err(|error| tracing::error!(%error, "an announcement could not be written")).ok()
    }

    /// Runs something beside the loop, within the bound. What is over the bound is not done, and counted.
    pub(super) fn beside(&mut self, what: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let Ok(permit) = Arc::clone(&self.pending).try_acquire_owned() else {
            self.metrics.count("fed_router_overload_total", what);
            return;
        };
        tokio::spawn(async move {
            work.await;
            drop(permit);
        });
    }

    /// Says farewell and lets what is under way come to its end.
    async fn finish(&mut self) {
        let now = wall_clock::now();
        let mut actions = Vec::new();
        self.core.handle(now, Input::Shutdown, &mut actions);
        let mut farewells = Vec::new();
        for action in actions {
            match action {
                Action::Publish(announcement) => {
                    let (pool, event) = (self.pool.clone(), self.announcement(now.seconds(), &announcement));
                    farewells.extend(
                        event.map(|event| tokio::spawn(async move { pool.publish_stored(event).await })),
                    );
                }
                other => self.perform(now, other, &Cause::default()),
            }
        }
        self.write_files();
        let pending = Arc::clone(&self.pending);
        let all = u32::try_from(PENDING_MAX).unwrap_or(u32::MAX);
        let done = async {
            for farewell in farewells {
                // What was not taken is in the outbox and goes out at the next start.
                drop(farewell.await);
            }
            drop(pending.acquire_many(all).await);
            if let Err(error) = self.journal.flush().await {
                tracing::error!(%error, "the last records may not be on disk");
            }
        };
        if tokio::time::timeout(FINISH_TIMEOUT, done).await.is_err() {
            tracing::warn!("some messages were still under way when the time for it was over");
        }
        tracing::info!("router has stopped");
    }
}

fn terms(config: &RouterConfig, signer: &Signer) -> RouterTerms {
    let settings = &config.settings;
    let relays = config.relays.urls(RelayRole::Control).into_iter().map(str::to_owned);
    RouterTerms {
        identity: signer.identity(),
        introduction: Introduction {
            name: settings.name.clone(),
            fee: settings.fee(),
            session: signer.session(),
            relays: relays.take(fedai_protocol::limits::ANNOUNCED_URLS_MAX).collect(),
            software: format!("fed_AI router-agent {}", env!("CARGO_PKG_VERSION")),
            lease_seconds: settings.lease_seconds,
        },
        quotes: QuoteTerms {
            fee: settings.fee(),
            quote_seconds: settings.quote_seconds,
            dispatch_seconds: settings.dispatch_seconds,
            methods: RouterSettings::methods(),
            per_key: settings.rate_per_key,
            global: settings.rate_global,
        },
        policy: settings.policy.clone(),
        epoch_seconds: settings.epoch_seconds,
        summary_seconds: settings.summary_seconds,
        follow: settings.follow.clone(),
        seed: SystemEntropy.bytes32(),
    }
}
