//! One job on real relays: performs the actions of the journey and feeds it what arrives.
//!
//! Subscribes before it publishes. Every key here is made for this job and erased with it: the ticket key lives on only
//! while its ticket has jobs left, a session key until the word on the receipt is signed.

mod late_accepts;
mod quoting;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fedai_protocol::job_open::{WrapKeys, request_hash};
use fedai_protocol::limits::ANNOUNCED_URLS_MAX;
use fedai_protocol::message::{Message, Received};
use fedai_protocol::payment_offer::Payment;
use fedai_protocol::quote::{CheckedNode, PeerRouter};
use fedai_protocol::sealed_session::Conversation;
use fedai_protocol::session_frame::FrameBody;
use fedai_protocol::{Entropy, JobOpen, PublicKey, QuoteReply, QuoteRequest, SigningKey, VerifiedEvent};
use fedai_relay_bridge::wall_clock::SteadyClock;
use fedai_relay_bridge::{DeadlineTimer, RelayRole, SystemEntropy, wall_clock};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use self::late_accepts::LateAccepts;
use super::buyer::{
    Bought, Buyer, HeldTicket, Keeping, OutputSink, ReadyKeys, RecordedOutcome, RouterContact, sealed_draft,
};
use super::job_ears::{Heard, JobEars};
use super::job_words::JobWords;
use super::network_view::NetworkView;
use super::own_quotes::own_quote;
use super::receipt_word::ReceiptWord;
use super::session_way::{OpenSession, SessionWay};
use crate::core::attempt::OpenedWith;
use crate::core::job_ending::{Answer, JobFailure, Settlement};
use crate::core::job_journey::Journey;
use crate::core::job_spec::JobSpec;
use crate::core::journey_step::{JourneyAction, JourneyInput};
use crate::core::quote_check::{Question, Ticket};
use crate::core::session_door::SessionDoor;

/// One job under way.
pub(crate) struct JobRun<'a> {
    buyer: &'a Buyer,
    job: JobWords,
    sessions_of_routers: BTreeMap<PublicKey, PublicKey>,
    journey: Journey,
    clock: SteadyClock,
    ticket_key: SigningKey,
    used: u16,
    ears: JobEars,
    spare: Option<SigningKey>,
    wrap: Option<WrapKeys>,
    sessions: BTreeMap<u32, OpenSession>,
    late: LateAccepts,
    /// Says when the receipt and the word on it are on disk.
    kept: Option<oneshot::Receiver<bool>>,
    /// The last attempt's ticket, node and job, for the record of a job without an answer.
    last_open: Option<(Ticket, RecordedOutcome)>,
}

impl<'a> JobRun<'a> {
    /// Makes the keys and subscribes to what will be addressed to them.
    pub(crate) async fn begin(
        buyer: &'a Buyer,
        spec: JobSpec,
        contacts: &[RouterContact],
        held: Option<HeldTicket>,
    ) -> Self {
        let (mut entropy, clock) = (SystemEntropy, SteadyClock::start());
        let now = clock.now();
        let job = JobWords::of(&spec);
        let (ticket, ticket_key, used, ready) = match held {
            Some(held) => (Some(held.ticket), held.key, held.used, held.ready),
            None => (None, SigningKey::generate(&mut entropy), 0, None),
        };
        let ready = match ready {
            Some(ready) => ready.await.ok().flatten(),
            None => None,
        };
        let (spare, wrap, ears) = match ready {
            Some(ready) if !ready.ears.is_deaf() => (ready.session, Some(ready.wrap), ready.ears),
            // There was no place when they were made; there may be one now.
            Some(ready) => (ready.session, Some(ready.wrap), JobEars::new(buyer.pool.clone())),
            None => (SigningKey::generate(&mut entropy), None, JobEars::new(buyer.pool.clone())),
        };
        let node = ticket.as_ref().and_then(|ticket| ticket.nodes.first());
        let is_direct = node.is_some_and(|node| buyer.gateways.is_ready(&node.descriptor.message));
        let needs_quote = ticket.is_none();
        let mut run = Self {
            buyer,
            job,
            sessions_of_routers: contacts.iter().map(|contact| (contact.key, contact.session)).collect(),
            journey: Journey::new(spec, buyer.timing, ticket, now)
                .sharing(buyer.budgets.clone())
                .learning(buyer.accept_times.clone())
                .passing_over(buyer.lost.all()),
            clock,
            ticket_key,
            used,
            ears,
            spare: Some(spare),
            wrap,
            sessions: BTreeMap::new(),
            late: LateAccepts::default(),
            kept: None,
            last_open: None,
        };
        // What is not needed costs a round trip: relays are asked where a quote or frames will come by them.
        if needs_quote {
            run.ears.ask_for_replies(run.ticket_key.public_key());
        }
        if !is_direct {
            let keys = run.session_keys();
            run.ears.ask_for_frames(keys);
        }
        run.ears.ready().await;
        run
    }

    /// Runs to the one ending.
    pub(crate) async fn drive(
        mut self,
        sink: &mut (dyn OutputSink + Send),
        cancel: &CancellationToken,
    ) -> Result<Bought, JobFailure> {
        if self.ears.is_deaf() {
            return Err(JobFailure::too_many_jobs());
        }
        let mut changes = self.buyer.pool.status_changes();
        let mut lines = self.buyer.gateways.changes();
        let mut connected = self.buyer.pool.connected_urls(RelayRole::Stream);
        let mut input = JourneyInput::Start;
        let mut timer = DeadlineTimer::default();
        loop {
            if let Some(ending) = self.handle(input, sink).await {
                return Box::pin(self.end(ending)).await;
            }
            let wait = self.journey.poll_timeout().map(|at| at.since(self.clock.now()));
            let wait = Duration::from_micros(wait.unwrap_or(1_000_000));
            input = tokio::select! {
                biased;
                () = cancel.cancelled() => JourneyInput::Cancel,
                heard = self.ears.hear(
                    self.sessions.values_mut().chain(self.late.sessions()).map(|session| &mut session.way),
                ) => match heard {
                    Heard::Frame(event) => {
                        if let Some(ending) = self.on_frame(&event, sink).await {
                            return Box::pin(self.end(ending)).await;
                        }
                        JourneyInput::Tick
                    }
                    Heard::Reply(event) => self.reply(&event),
                },
                Ok(()) = lines.changed() => {
                    match self.direct_ways_changed(sink).await {
                        Ok(input) => input,
                        Err(ending) => return Box::pin(self.end(*ending)).await,
                    }
                }
                Ok(()) = changes.changed() => {
                    let now = self.buyer.pool.connected_urls(RelayRole::Stream);
                    let lost = connected.iter().any(|url| !now.contains(url));
                    let gained = now.iter().any(|url| !connected.contains(url));
                    connected = now;
                    if lost || gained { JourneyInput::RelaysChanged } else { JourneyInput::Tick }
                }
                () = timer.wait(wait) => JourneyInput::Tick,
            };
        }
    }

    /// Connections to nodes' own relays came or went: what is to be said of it, or the ending that came of it.
    async fn direct_ways_changed(
        &mut self,
        sink: &mut (dyn OutputSink + Send),
    ) -> Result<JourneyInput, Box<Result<Answer, JobFailure>>> {
        let (mut lost, mut is_back) = (Vec::new(), false);
        for (attempt, session) in &mut self.sessions {
            match (session.way.is_changed(), session.way.is_up()) {
                (true, false) => lost.push(*attempt),
                (true, true) => is_back = true,
                (false, _) => {}
            }
        }
        if is_back || !lost.is_empty() {
            self.go_wide().await;
        }
        for attempt in lost {
            if let Some(ending) = self.handle(JourneyInput::DirectWayLost { attempt }, sink).await {
                return Err(Box::new(ending));
            }
        }
        Ok(if is_back { JourneyInput::RelaysChanged } else { JourneyInput::Tick })
    }

    /// Feeds one input and performs what comes of it, and what comes of that.
    async fn handle(
        &mut self,
        input: JourneyInput,
        sink: &mut (dyn OutputSink + Send),
    ) -> Option<Result<Answer, JobFailure>> {
        let mut inputs = std::collections::VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut actions = Vec::new();
            self.journey.handle(self.clock.now(), input, &mut actions);
            for action in actions {
                match action {
                    JourneyAction::Ask(requests) => inputs.extend(self.ask(&requests).await),
                    JourneyAction::FindRouters(peers) => inputs.push_back(self.find(&peers).await),
                    JourneyAction::Open { attempt, node, ticket } => {
                        sink.opening(attempt, &node, &ticket);
                        inputs.push_back(self.open(attempt, &node, &ticket).await);
                    }
                    JourneyAction::OpenAgain { attempt } => self.publish_open(attempt).await,
                    JourneyAction::Send { attempt, s, body } => self.send(attempt, s, body).await,
                    JourneyAction::Deliver(lines) => {
                        if sink.deliver(&lines).is_break() {
                            inputs.push_back(JourneyInput::Cancel);
                        }
                    }
                    JourneyAction::Restarted => sink.restarted(),
                    JourneyAction::Settle(settlement) => self.settle(&settlement),
                    JourneyAction::Close { attempt } => self.late.extend(self.sessions.remove(&attempt)),
                    JourneyAction::End(ending) => return Some(*ending),
                }
            }
        }
        None
    }

    async fn on_frame(
        &mut self,
        event: &VerifiedEvent,
        sink: &mut (dyn OutputSink + Send),
    ) -> Option<Result<Answer, JobFailure>> {
        let addressed = event.tag("p")?.to_owned();
        let found = self.sessions.iter_mut().find(|(_, session)| session.is_addressed(&addressed));
        let Some((attempt, session)) = found else {
            self.late.hear(event, &self.buyer.pool);
            return None;
        };
        let attempt = *attempt;
        session.way.heard();
        for frame in session.door.open(event) {
            let ending = self.handle(JourneyInput::Frame { attempt, frame }, sink).await;
            if ending.is_some() {
                return ending;
            }
        }
        None
    }

    /// Opens the job at a node with a fresh session key.
    async fn open(&mut self, attempt: u32, node: &CheckedNode, ticket: &Ticket) -> JourneyInput {
        if !ticket.is_free() {
            // Nothing here can pay: what slipped past the check of the quote is not opened.
            tracing::error!(node = %node.node.to_hex(), "the ticket asks for a payment");
            return JourneyInput::NotOpened { attempt };
        }
        let mut entropy = SystemEntropy;
        let key = self.spare.take().unwrap_or_else(|| SigningKey::generate(&mut entropy));
        let (request, upload) = self.job.body(&mut entropy);
        let nonce = hex::encode(entropy.bytes32());
        let mut relays = self.buyer.pool.connected_urls(RelayRole::Stream);
        relays.truncate(ANNOUNCED_URLS_MAX);
        let open = JobOpen {
            dispatch: ticket.dispatch_event.clone(),
            endpoint: self.job.endpoint,
            request,
            request_hash: hex::encode(request_hash(self.job.request.as_bytes())),
            session: key.public_key(),
            nonce: nonce.clone(),
            relays,
            payment: Payment::free(),
            expires_at: self.job.expires_at,
            patience_ms: node.patience_ms,
        };
        let way = SessionWay::find(&self.buyer.gateways, node, &key.public_key()).await;
        if !way.is_up() {
            self.reach(node);
        }
        let (inbox, created_at) = (node.descriptor.message.inbox.key, wall_clock::now_seconds());
        let session = key.public_key();
        let wrapped = match self.wrap.take().filter(|keys| keys.inbox() == inbox) {
            Some(keys) => open.wrap_with(keys, &self.ticket_key, created_at, created_at, &mut entropy),
            None => open.wrap(&self.ticket_key, &inbox, created_at, created_at, &mut entropy),
        };
        match wrapped {
            Ok(wrapped) => {
                let door = SessionDoor::new(key, wrapped.job, node.node);
                let opened =
                    RecordedOutcome { job: Some(wrapped.job.0), node: Some(node.node), receipt: None };
                self.last_open = Some((ticket.clone(), opened));
                self.sessions.insert(attempt, OpenSession { door, open, inbox, created_at, way });
                let relays = self.publish(attempt, wrapped.wrap, false).await;
                tracing::debug!(relays, job = %wrapped.job, node = %node.node.to_hex(), "job opened");
                let with = OpenedWith { job: wrapped.job, session, nonce, upload };
                JourneyInput::Opened { attempt, with }
            }
            Err(error) => {
                tracing::error!(%error, node = %node.node.to_hex(), "the job could not be sealed");
                JourneyInput::NotOpened { attempt }
            }
        }
    }

    /// Connects to a relay of the node when none of them is connected.
    fn reach(&self, node: &CheckedNode) {
        let descriptor = &node.descriptor.message;
        let connected = self.buyer.pool.connected_urls(RelayRole::Stream);
        let mut urls = descriptor.relays.iter();
        let same = |a: &str, b: &str| a.trim_end_matches('/') == b.trim_end_matches('/');
        if urls.clone().any(|url| connected.iter().any(|known| same(known, url))) {
            return;
        }
        if let Some(Err(error)) = urls.next().map(|url| self.buyer.pool.add_relay(url, &[RelayRole::Stream]))
        {
            tracing::debug!(%error, "a relay of the node is not used");
        }
    }

    /// Keys that frames may come to.
    fn session_keys(&self) -> BTreeSet<PublicKey> {
        let keys = self.sessions.values().map(|session| session.door.session().public_key());
        keys.chain(self.spare.as_ref().map(SigningKey::public_key)).collect()
    }

    /// Listens on relays, too, and waits until one does.
    async fn go_wide(&mut self) {
        let keys = self.session_keys();
        if self.ears.ask_for_frames(keys) && self.buyer.pool.connected(RelayRole::Stream) > 0 {
            self.ears.ready().await;
        }
    }

    /// Publishes an event of a session: directly where that way is up, else, or when `wide`, by relays.
    async fn publish(&mut self, attempt: u32, event: VerifiedEvent, wide: bool) -> usize {
        let session = self.sessions.get(&attempt);
        let direct = session.map_or(0, |session| session.way.publish(&event));
        if direct > 0 && !wide {
            return direct;
        }
        self.go_wide().await;
        direct.saturating_add(self.buyer.pool.publish_ephemeral(event, RelayRole::Stream))
    }

    /// The same job in a new wrap: relays drop what they have seen.
    async fn publish_open(&mut self, attempt: u32) {
        let Some(session) = self.sessions.get(&attempt) else { return };
        let (now, mut entropy) = (wall_clock::now_seconds(), SystemEntropy);
        let wrapped =
            session.open.wrap(&self.ticket_key, &session.inbox, session.created_at, now, &mut entropy);
        if let Ok(wrapped) = wrapped {
            let relays = self.publish(attempt, wrapped.wrap, true).await;
            tracing::debug!(relays, job = %wrapped.job, "job opened again");
        }
    }

    async fn send(&mut self, attempt: u32, s: u64, body: FrameBody) {
        let Some(session) = self.sessions.get_mut(&attempt) else { return };
        let wide = session.way.is_silent(&body);
        let sealed = session.door.seal(s, body, wall_clock::now_seconds(), &mut SystemEntropy);
        if let Some(Ok(event)) = sealed {
            self.publish(attempt, event, wide).await;
        }
    }

    /// The word on a receipt is given while the answer is read: the program's end waits for it, the answer does not.
    fn settle(&mut self, settlement: &Settlement) {
        let Some(session) = self.sessions.get(&settlement.attempt) else { return };
        let word = ReceiptWord {
            settlement: settlement.clone(),
            session: session.door.session().clone(),
            ticket_key: self.ticket_key.clone(),
            router: self.sessions_of_routers.get(&settlement.dispatch.author()).copied(),
            store: self.buyer.store.clone(),
            pool: self.buyer.pool.clone(),
        };
        let (kept, is_kept) = oneshot::channel();
        self.buyer.words.spawn(word.give(kept));
        self.kept = Some(is_kept);
    }

    async fn end(mut self, ending: Result<Answer, JobFailure>) -> Result<Bought, JobFailure> {
        core::mem::take(&mut self.late).wait_beside(self.buyer, &mut self.ears);
        let answer = match ending {
            Ok(answer) => answer,
            Err(failure) => {
                // What was decided is worth explaining most of all when it led nowhere.
                if let Some((ticket, opened)) = self.last_open.take() {
                    self.buyer.keep_record(&ticket, &failure.attempts, opened);
                }
                return Err(failure);
            }
        };
        let Some(kept) = self.kept.take() else {
            return Err(JobFailure {
                attempts: answer.attempts,
                has_shown: true,
                ..JobFailure::of_our_own()
            });
        };
        let settled = &answer.settlement;
        let outcome = RecordedOutcome {
            job: Some(settled.job.0),
            node: Some(settled.node.node),
            receipt: Some(settled.receipt.id()),
        };
        self.buyer.keep_record(&answer.ticket, &answer.attempts, outcome);
        let held = HeldTicket {
            ticket: answer.ticket.clone(),
            key: self.ticket_key.clone(),
            used: self.used.saturating_add(1),
            ready: Some(ReadyKeys::make_beside(self.buyer, &answer.ticket, &self.ticket_key)),
        };
        Ok(Bought { answer, held, keeping: Keeping::UnderWay(kept) })
    }
}
