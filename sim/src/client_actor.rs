//! A client with one job: the production journey, and the keys, wraps and subscriptions of its shell.

mod cheats;

use std::collections::{BTreeMap, VecDeque};

use fedai_client::core::attempt::OpenedWith;
use fedai_client::core::job_ending::Settlement;
use fedai_client::core::job_journey::Journey;
use fedai_client::core::job_spec::JourneyTiming;
use fedai_client::core::journey_step::{JourneyAction, JourneyInput};
use fedai_client::core::quote_check::{Question, Ticket};
use fedai_protocol::chunking;
use fedai_protocol::event_kinds::{QUOTE, SESSION_FRAME};
use fedai_protocol::job_open::{JobEndpoint, JobOpen, OpenedJob, RequestBody, request_hash};
use fedai_protocol::message::{Message, ParseError, Received, body_json};
use fedai_protocol::payment_offer::{Payment, PaymentMethod};
use fedai_protocol::quote::CheckedNode;
use fedai_protocol::sealed_session::{Conversation, base64_encode};
use fedai_protocol::session_frame::FrameBody;
use fedai_protocol::{
    Entropy, JobId, PublicKey, QuoteReply, QuoteRequest, UnixMicros, UnixSeconds, VerifiedEvent, ticket_proof,
};

use crate::chance::Chance;
use crate::client_door::{Door, OpenSession};
use crate::conduct::ClientConduct;
use crate::faults::{Active, FaultKind};
use crate::job_spec::JobWish;
use crate::router_actor::RELAY;
use crate::turn::{AccountPayment, Effect, Fact, Turn};
use crate::wire::{Content, Identity, Letter, Payload};
use crate::workload::prompt::Prompt;

/// How clients behave, when they are dishonest.
pub type MaybeDishonest = Option<Box<dyn ClientConduct>>;

/// What a client knows of a router.
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
    prompt: Prompt,
    request: String,
    is_bulky: bool,
    expires_at: UnixSeconds,
    routers: Vec<RouterContact>,
    ticket_key: Identity,
    sessions: BTreeMap<u32, OpenSession>,
    replays: u32,
    /// Room for what the core asks for.
    actions: Vec<JourneyAction>,
    /// What is wrong with it now.
    pub faults: Active,
}

impl ClientActor {
    /// A client that is about to begin.
    #[must_use]
    pub fn new(now: UnixMicros, wish: &JobWish<'_>, turn: &mut Turn<'_>) -> Self {
        let wire = turn.mint.wire();
        let spec = wish.spec(now, wire);
        let is_bulky = wire == crate::wire::Wire::Sealed && spec.is_bulky();
        let (request, expires_at) = (spec.request.clone(), spec.expires_at());
        let journey = Journey::new(spec, JourneyTiming::default(), None, now);
        Self {
            journey,
            prompt: wish.arrival.prompt,
            request,
            is_bulky,
            expires_at,
            routers: wish.routers.clone(),
            ticket_key: turn.mint.identity(),
            sessions: BTreeMap::new(),
            replays: 0,
            actions: Vec::new(),
            faults: Active::default(),
        }
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
    pub fn start(&mut self, conduct: &mut MaybeDishonest, turn: &mut Turn<'_>) {
        turn.effects.push(Effect::Listen(self.ticket_key.public_key()));
        self.take(JourneyInput::Start, conduct, turn);
    }

    /// Something arrived.
    pub fn receive(&mut self, payload: Payload, conduct: &mut MaybeDishonest, turn: &mut Turn<'_>) {
        let is_late =
            matches!(&payload, Payload::Event(event) if event.check_time(turn.now.seconds()).is_err());
        if is_late {
            return;
        }
        if payload.kind() == SESSION_FRAME && self.faults.has(FaultKind::ClientVanishes) {
            self.faults.fired(FaultKind::ClientVanishes);
            return turn.facts.push(Fact::Vanished);
        }
        self.replay(turn);
        match payload {
            Payload::Event(event) => self.receive_event(&event, conduct, turn),
            Payload::Letter(letter) => {
                let letter = std::sync::Arc::unwrap_or_clone(letter);
                match letter.content {
                    Content::Reply(reply) => {
                        if self.routers.iter().any(|router| router.identity == reply.author) {
                            self.take(JourneyInput::Reply(Box::new(reply)), conduct, turn);
                        }
                    }
                    Content::Frame(frame) => {
                        let found =
                            self.sessions.iter_mut().find(|(_, session)| session.door.key() == letter.to);
                        let Some((attempt, session)) = found else { return };
                        let attempt = *attempt;
                        if session.door.passes(letter.from, &frame) {
                            self.take(JourneyInput::Frame { attempt, frame }, conduct, turn);
                        }
                    }
                    Content::Request(_) | Content::Open(..) => {}
                }
            }
        }
    }

    fn receive_event(&mut self, event: &VerifiedEvent, conduct: &mut MaybeDishonest, turn: &mut Turn<'_>) {
        match event.kind() {
            QUOTE => {
                if let Some(reply) = self.read_reply(event) {
                    self.take(JourneyInput::Reply(Box::new(reply)), conduct, turn);
                }
            }
            SESSION_FRAME => {
                let addressed = event.tag("p").unwrap_or_default();
                let found =
                    self.sessions.iter_mut().find(|(_, session)| session.door.key().to_hex() == addressed);
                let Some((attempt, session)) = found else { return };
                let attempt = *attempt;
                for frame in session.door.open(event) {
                    self.take(JourneyInput::Frame { attempt, frame }, conduct, turn);
                }
            }
            _ => {}
        }
    }

    /// Takes an input and does what comes of it.
    pub fn take(&mut self, input: JourneyInput, conduct: &mut MaybeDishonest, turn: &mut Turn<'_>) {
        let mut inputs = VecDeque::new();
        let mut next = Some(input);
        let mut actions = core::mem::take(&mut self.actions);
        while let Some(input) = next {
            self.journey.handle(turn.now, input, &mut actions);
            for action in actions.drain(..) {
                match action {
                    JourneyAction::Ask(requests) => {
                        inputs.extend(requests.into_iter().filter_map(|request| self.ask(request, turn)));
                    }
                    // One router is all that this world's clients ask.
                    JourneyAction::FindRouters(_) => inputs.push_back(JourneyInput::RoutersFound(Vec::new())),
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
                    JourneyAction::Settle(settlement) => self.settle(*settlement, conduct, turn),
                    JourneyAction::Close { attempt } => self.close(attempt, turn),
                    JourneyAction::End(ending) => {
                        turn.effects.push(Effect::Unlisten(self.ticket_key.public_key()));
                        turn.facts.push(Fact::Ended(ending));
                    }
                }
            }
            next = inputs.pop_front();
        }
        self.actions = actions;
    }

    /// Sends a request to the router that it names.
    fn ask(&self, request: QuoteRequest, turn: &mut Turn<'_>) -> Option<JourneyInput> {
        let router = self.routers.iter().find(|router| Some(router.identity) == request.router)?;
        let (ticket, now) = (self.ticket_key.public_key(), turn.now.seconds());
        let Some(key) = self.ticket_key.real() else {
            let id = turn.mint.id();
            let content = Content::Request(Received::simulated(request, ticket, id, now));
            turn.post(Letter { to: router.session, from: ticket, at: now, content });
            return Some(JourneyInput::Asked(Question { router: router.identity, request: id, ticket }));
        };
        let sealed = request.draft(&ticket, now).and_then(|mut draft| {
            let conversation = Conversation::derive(key, &router.session).map_err(|_| ParseError::Sealed)?;
            draft.content =
                conversation.seal(&body_json(&request)?, turn.mint).map_err(|_| ParseError::Sealed)?;
            Ok(draft)
        });
        match sealed {
            Ok(draft) => {
                let event = self.ticket_key.sign(draft, turn.mint);
                let question = Question { router: router.identity, request: event.id(), ticket };
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
        let router = self.routers.iter().find(|router| router.identity == event.author())?;
        let conversation = Conversation::derive(self.ticket_key.real()?, &router.session).ok()?;
        let body = conversation.open(event.content()).ok()?;
        QuoteReply::parse_body(event, &body).ok()
    }

    fn open(
        &mut self,
        attempt: u32,
        node: &CheckedNode,
        ticket: &Ticket,
        turn: &mut Turn<'_>,
    ) -> JourneyInput {
        let key = turn.mint.identity();
        let session = key.public_key();
        let (request, upload) = self.request_body(turn.mint.chance());
        let nonce = hex(&turn.mint.chance().bytes32());
        let method = ticket.dispatch.payment;
        let payment = Payment { method, tokens: Vec::new() };
        debug_assert!(method != PaymentMethod::Unknown, "the core refuses what it does not know");
        let open = JobOpen {
            dispatch: ticket.dispatch_event.clone(),
            endpoint: JobEndpoint::Chat,
            request,
            request_hash: hex(&request_hash(self.request.as_bytes())),
            session,
            nonce: nonce.clone(),
            relays: vec![RELAY.to_owned()],
            payment,
            expires_at: self.expires_at,
            patience_ms: node.patience_ms,
        };
        let (inbox, now) = (node.descriptor.message.inbox.key, turn.now.seconds());
        let session_of = |door, open| OpenSession { door, node: node.node, open, inbox, created_at: now };
        let job = if let Some(ticket_key) = self.ticket_key.real() {
            match open.wrap(ticket_key, &inbox, now, now, turn.mint) {
                Ok(wrapped) => {
                    self.sessions
                        .insert(attempt, session_of(Door::sealed(&key, wrapped.job, node.node), open));
                    turn.effects.push(Effect::Listen(session));
                    turn.publish(wrapped.wrap);
                    wrapped.job
                }
                Err(error) => {
                    turn.broken(format!("a job cannot be sealed: {error}"));
                    return JourneyInput::NotOpened { attempt };
                }
            }
        } else {
            let job = JobId(turn.mint.id());
            self.sessions.insert(attempt, session_of(Door::typed(session, job), open));
            turn.effects.push(Effect::Listen(session));
            self.publish_open(attempt, turn);
            job
        };
        let dispatch = ticket.dispatch_event.id();
        turn.facts.push(Fact::Opened { job, node: node.node, dispatch });
        self.open_other(attempt, turn);
        JourneyInput::Opened { attempt, with: OpenedWith { job, session, nonce, upload } }
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
        let Some(OpenSession { door, open, inbox, created_at, .. }) = self.sessions.get(&attempt) else {
            return;
        };
        let now = turn.now.seconds();
        let Some(ticket_key) = self.ticket_key.real() else {
            let (client, created_at) = (self.ticket_key.public_key(), *created_at);
            let opened = OpenedJob { job: door.job(), client, open: open.clone(), created_at };
            let content = Content::Open(Box::new(opened), self.prompt);
            return turn.post(Letter { to: *inbox, from: client, at: now, content });
        };
        match open.wrap(ticket_key, inbox, *created_at, now, turn.mint) {
            Ok(wrapped) => turn.publish(wrapped.wrap),
            Err(error) => turn.broken(format!("a job cannot be sealed again: {error}")),
        }
    }

    fn send(&self, attempt: u32, s: u64, body: FrameBody, turn: &mut Turn<'_>) {
        let Some(session) = self.sessions.get(&attempt) else { return };
        session.door.send(s, body, turn);
    }

    fn settle(&mut self, settlement: Settlement, conduct: &mut MaybeDishonest, turn: &mut Turn<'_>) {
        let (node, mut is_paid) = (settlement.node.node, true);
        if self.faults.has(FaultKind::ClientNeverAcks) {
            self.faults.fired(FaultKind::ClientNeverAcks);
        } else if let Some(session) = self.sessions.get(&settlement.attempt) {
            let proof = self.ticket_proof(session, &settlement, turn);
            let mut word = settlement.acknowledgement(proof);
            if let Some(conduct) = conduct {
                conduct.word(&node, &mut word);
                is_paid = conduct.pays(&node);
            }
            match word.draft(&session.door.key(), turn.now.seconds()) {
                Ok(draft) => {
                    let ack = session.door.identity().sign(draft, turn.mint);
                    turn.publish(ack);
                }
                Err(error) => turn.broken(format!("a word on a receipt cannot be written: {error}")),
            }
        }
        let amount = settlement.verdict.as_ref().ok().copied();
        let (router, receipt) = (settlement.dispatch.author(), settlement.receipt.id());
        turn.facts.push(Fact::Settled(Box::new(settlement)));
        let payment = amount.map(|amount| AccountPayment { node, router, receipt, amount, is_paid });
        turn.facts.extend(payment.map(Fact::Paid));
    }

    /// What proves to the router that it is the ticket's client who speaks. On the typed wire a key is its own proof:
    /// nobody writes in another's name there.
    fn ticket_proof(
        &self,
        session: &OpenSession,
        settlement: &Settlement,
        turn: &mut Turn<'_>,
    ) -> Option<String> {
        let (Some(ticket), Some(key)) = (self.ticket_key.real(), session.door.identity().real()) else {
            return Some(self.ticket_key.public_key().to_hex());
        };
        let router = self.routers.iter().find(|router| router.identity == settlement.dispatch.author())?;
        ticket_proof::seal(ticket, key, &router.session, &settlement.receipt.id(), turn.mint).ok()
    }

    fn close(&mut self, attempt: u32, turn: &mut Turn<'_>) {
        if let Some(session) = self.sessions.remove(&attempt) {
            turn.effects.push(Effect::Unlisten(session.door.key()));
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value & 15), 16).unwrap_or('0');
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(*byte));
    }
    text
}
