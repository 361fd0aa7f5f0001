//! A client with one job: the production journey, and the keys, wraps and subscriptions of its shell.

use std::collections::{BTreeMap, VecDeque};

use fedai_client::core::attempt::OpenedWith;
use fedai_client::core::job_ending::Settlement;
use fedai_client::core::job_journey::Journey;
use fedai_client::core::job_spec::{DeliveryMode, JobSpec, JourneyTiming, OnBreak, RouterTarget};
use fedai_client::core::journey_step::{JourneyAction, JourneyInput};
use fedai_client::core::quote_check::{Question, Ticket};
use fedai_client::core::session_door::SessionDoor;
use fedai_protocol::event_kinds::{QUOTE, SESSION_FRAME};
use fedai_protocol::job_open::{JobEndpoint, JobOpen, RequestBody, request_hash};
use fedai_protocol::message::{Message, ParseError, Received, body_json};
use fedai_protocol::payment_offer::{Payment, PaymentMethod};
use fedai_protocol::quote::CheckedNode;
use fedai_protocol::quote_request::{Constraints, ModelWanted};
use fedai_protocol::sealed_session::{Conversation, base64_encode};
use fedai_protocol::session_frame::FrameBody;
use fedai_protocol::{
    Entropy, PublicKey, QuoteReply, QuoteRequest, SigningKey, Tokens, UnixMicros, UnixSeconds, VerifiedEvent,
    chunking, ticket_proof,
};

use crate::chance::Chance;
use crate::faults::{Active, FaultKind};
use crate::router_actor::RELAY;
use crate::scenario::MODEL;
use crate::turn::{Effect, Fact, Turn};
use crate::workload::{Arrival, Delivery};

/// What a client knows of its router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterContact {
    /// Identity key.
    pub identity: PublicKey,
    /// Key that requests are sealed to.
    pub session: PublicKey,
}

/// The client.
pub struct ClientActor {
    journey: Journey,
    request: String,
    is_bulky: bool,
    expires_at: UnixSeconds,
    router: RouterContact,
    ticket_key: SigningKey,
    sessions: BTreeMap<u32, OpenSession>,
    /// What is wrong with it now.
    pub faults: Active,
}

struct OpenSession {
    door: SessionDoor,
    open: JobOpen,
    inbox: PublicKey,
    created_at: UnixSeconds,
}

impl ClientActor {
    /// A client that is about to begin.
    #[must_use]
    pub fn new(now: UnixMicros, arrival: &Arrival, router: RouterContact, chance: &mut Chance) -> Self {
        let spec = spec(now, arrival, router.identity);
        let (request, is_bulky) = (spec.request.clone(), spec.is_bulky());
        let expires_at = spec.expires_at();
        let journey = Journey::new(spec, JourneyTiming::default(), None, now);
        let ticket_key = SigningKey::generate(chance);
        let (sessions, faults) = (BTreeMap::new(), Active::default());
        Self { journey, request, is_bulky, expires_at, router, ticket_key, sessions, faults }
    }

    /// True after the ending.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.journey.is_ended()
    }

    /// When its core wants to be asked again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<UnixMicros> {
        self.journey.poll_timeout()
    }

    /// Begins.
    pub fn start(&mut self, turn: &mut Turn<'_>) {
        turn.effects.push(Effect::Listen(self.ticket_key.public_key()));
        self.take(JourneyInput::Start, turn);
    }

    /// An event arrived.
    pub fn receive(&mut self, event: &VerifiedEvent, turn: &mut Turn<'_>) {
        if event.check_time(turn.now.seconds()).is_err() {
            return;
        }
        if event.kind() == SESSION_FRAME && self.faults.has(FaultKind::ClientVanishes) {
            self.faults.fired(FaultKind::ClientVanishes);
            return turn.facts.push(Fact::Vanished);
        }
        match event.kind() {
            QUOTE => {
                if let Some(reply) = self.read_reply(event) {
                    self.take(JourneyInput::Reply(Box::new(reply)), turn);
                }
            }
            SESSION_FRAME => {
                let addressed = event.tag("p").unwrap_or_default();
                let found = self
                    .sessions
                    .iter_mut()
                    .find(|(_, session)| session.door.session().public_key().to_hex() == addressed);
                let Some((attempt, session)) = found else { return };
                let attempt = *attempt;
                for frame in session.door.open(event) {
                    self.take(JourneyInput::Frame { attempt, frame }, turn);
                }
            }
            _ => {}
        }
    }

    /// Asks once more, as fast as it can.
    pub fn flood(&mut self, turn: &mut Turn<'_>) {
        self.faults.fired(FaultKind::ClientFloods);
        for attempt in self.sessions.keys().copied().collect::<Vec<u32>>() {
            self.publish_open(attempt, turn);
        }
    }

    /// Takes an input and does what comes of it.
    pub fn take(&mut self, input: JourneyInput, turn: &mut Turn<'_>) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut actions = Vec::new();
            self.journey.handle(turn.now, input, &mut actions);
            for action in actions {
                match action {
                    JourneyAction::Ask(requests) => {
                        inputs.extend(requests.iter().filter_map(|request| self.ask(request, turn)));
                    }
                    JourneyAction::Open { attempt, node, ticket } => {
                        inputs.push_back(self.open(attempt, &node, &ticket, turn));
                    }
                    JourneyAction::OpenAgain { attempt } => self.publish_open(attempt, turn),
                    JourneyAction::Send { attempt, s, body } => self.send(attempt, s, body, turn),
                    JourneyAction::Deliver(lines) => {
                        let text = lines.iter().map(|line| line.text.as_str()).collect();
                        turn.facts.push(Fact::Delivered(text));
                    }
                    JourneyAction::Restarted => turn.facts.push(Fact::Restarted),
                    JourneyAction::Settle(settlement) => self.settle(*settlement, turn),
                    JourneyAction::Close { attempt } => self.close(attempt, turn),
                    JourneyAction::End(ending) => {
                        turn.effects.push(Effect::Unlisten(self.ticket_key.public_key()));
                        turn.facts.push(Fact::Ended(ending));
                    }
                }
            }
        }
    }

    fn ask(&self, request: &QuoteRequest, turn: &mut Turn<'_>) -> Option<JourneyInput> {
        let sealed =
            request.draft(&self.ticket_key.public_key(), turn.now.seconds()).and_then(|mut draft| {
                let conversation = self.with_router()?;
                draft.content =
                    conversation.seal(&body_json(request)?, turn.chance).map_err(|_| ParseError::Sealed)?;
                Ok(draft)
            });
        match sealed {
            Ok(draft) => {
                let event = self.ticket_key.sign(draft, turn.chance);
                let (router, ticket) = (self.router.identity, self.ticket_key.public_key());
                let question = Question { router, request: event.id(), ticket };
                turn.publish(event);
                Some(JourneyInput::Asked(question))
            }
            Err(error) => {
                turn.broken(format!("a quote request cannot be sealed: {error}"));
                None
            }
        }
    }

    fn read_reply(&self, event: &VerifiedEvent) -> Option<Received<QuoteReply>> {
        if event.author() != self.router.identity {
            return None;
        }
        let body = self.with_router().ok()?.open(event.content()).ok()?;
        QuoteReply::parse_body(event, &body).ok()
    }

    fn with_router(&self) -> Result<Conversation, ParseError> {
        Conversation::derive(&self.ticket_key, &self.router.session).map_err(|_| ParseError::Sealed)
    }

    fn open(
        &mut self,
        attempt: u32,
        node: &CheckedNode,
        ticket: &Ticket,
        turn: &mut Turn<'_>,
    ) -> JourneyInput {
        let key = SigningKey::generate(turn.chance);
        let (request, upload) = self.request_body(turn.chance);
        let nonce = hex(&turn.chance.bytes32());
        let session = key.public_key();
        let open = JobOpen {
            dispatch: ticket.dispatch_event.clone(),
            endpoint: JobEndpoint::Chat,
            request,
            request_hash: hex(&request_hash(self.request.as_bytes())),
            session,
            nonce: nonce.clone(),
            relays: vec![RELAY.to_owned()],
            payment: Payment::free(),
            expires_at: self.expires_at,
        };
        let (inbox, now) = (node.descriptor.message.inbox.key, turn.now.seconds());
        match open.wrap(&self.ticket_key, &inbox, now, now, turn.chance) {
            Ok(wrapped) => {
                turn.effects.push(Effect::Listen(session));
                let door = SessionDoor::new(key, wrapped.job, node.node);
                self.sessions.insert(attempt, OpenSession { door, open, inbox, created_at: now });
                let (job, dispatch) = (wrapped.job, ticket.dispatch_event.id());
                turn.facts.push(Fact::Opened { job, node: node.node, dispatch });
                turn.publish(wrapped.wrap);
                let with = OpenedWith { job: wrapped.job, session, nonce, upload };
                JourneyInput::Opened { attempt, with }
            }
            Err(error) => {
                turn.broken(format!("a job cannot be sealed: {error}"));
                JourneyInput::NotOpened { attempt }
            }
        }
    }

    fn request_body(&self, chance: &mut Chance) -> (RequestBody, Vec<String>) {
        if self.is_bulky
            && let Ok((manifest, pieces)) = chunking::split(self.request.as_bytes(), chance)
        {
            let upload = pieces.iter().map(|piece| base64_encode(piece)).collect();
            return (RequestBody::Chunked(manifest), upload);
        }
        (RequestBody::Inline(self.request.clone()), Vec::new())
    }

    fn publish_open(&self, attempt: u32, turn: &mut Turn<'_>) {
        let Some(session) = self.sessions.get(&attempt) else { return };
        let now = turn.now.seconds();
        let again = session.open.wrap(&self.ticket_key, &session.inbox, session.created_at, now, turn.chance);
        match again {
            Ok(wrapped) => turn.publish(wrapped.wrap),
            Err(error) => turn.broken(format!("a job cannot be sealed again: {error}")),
        }
    }

    fn send(&self, attempt: u32, s: u64, body: FrameBody, turn: &mut Turn<'_>) {
        let Some(session) = self.sessions.get(&attempt) else { return };
        match session.door.seal(s, body, turn.now.seconds(), turn.chance) {
            Some(Ok(event)) => turn.publish(event),
            Some(Err(error)) => turn.broken(format!("a frame of the client cannot be sealed: {error}")),
            None => {}
        }
    }

    fn settle(&mut self, settlement: Settlement, turn: &mut Turn<'_>) {
        if self.faults.has(FaultKind::ClientNeverAcks) {
            self.faults.fired(FaultKind::ClientNeverAcks);
        } else if let Some(session) = self.sessions.get(&settlement.attempt) {
            let key = session.door.session();
            let (router, receipt) = (&self.router.session, settlement.receipt.id());
            let proof = ticket_proof::seal(&self.ticket_key, key, router, &receipt, turn.chance);
            match settlement.acknowledgement(proof.ok()).draft(&key.public_key(), turn.now.seconds()) {
                Ok(draft) => {
                    let ack = key.sign(draft, turn.chance);
                    turn.publish(ack);
                }
                Err(error) => turn.broken(format!("a word on a receipt cannot be written: {error}")),
            }
        }
        turn.facts.push(Fact::Settled(Box::new(settlement)));
    }

    fn close(&mut self, attempt: u32, turn: &mut Turn<'_>) {
        if let Some(session) = self.sessions.remove(&attempt) {
            turn.effects.push(Effect::Unlisten(session.door.session().public_key()));
        }
    }
}

fn spec(now: UnixMicros, arrival: &Arrival, router: PublicKey) -> JobSpec {
    let prompt = arrival.prompt;
    let (delivery, on_break) = match arrival.delivery {
        Delivery::LiveContinued => (DeliveryMode::Live, OnBreak::Continue),
        Delivery::LiveRestarted => (DeliveryMode::Live, OnBreak::Restart),
        Delivery::Buffered => (DeliveryMode::Buffered, OnBreak::Continue),
    };
    JobSpec {
        endpoint: JobEndpoint::Chat,
        request: prompt.request(),
        messages: 1,
        wanted: ModelWanted { model: Some(MODEL.to_owned()), ..ModelWanted::default() },
        prompt_tokens: Tokens::saturating(prompt.bytes / 3 + 16),
        max_output_tokens: Tokens::saturating(prompt.words),
        max_cost: None,
        mode: arrival.mode,
        constraints: Constraints { payment: vec![PaymentMethod::Free], ..Constraints::default() },
        uses: 1,
        previous_node: None,
        routers: vec![RouterTarget::Router(router)],
        delivery,
        on_break,
        deadline: now.plus_seconds(DEADLINE_SECONDS),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// After this a person has left.
pub const DEADLINE_SECONDS: u64 = 60;
