//! A router: the production core, and the few lines of a shell that sign, seal and open for it.

mod cheats;

use std::collections::BTreeMap;
use std::sync::Arc;

use fedai_protocol::event_kinds::{
    LOAD_PING, MODEL_OFFER, NODE_DESCRIPTOR, QUOTE_REQUEST, RECEIPT, RECEIPT_ACK, STORED, TRUST_ASSERTION,
};
use fedai_protocol::message::{ParseError, body_json};
use fedai_protocol::quote::QuoteOutcome;
use fedai_protocol::sealed_session::Conversation;
use fedai_protocol::{
    Dispatch, Entropy, EventId, LoadPing, Message, ModelOffer, Msat, NodeDescriptor, PublicKey, QuoteReply,
    QuoteRequest, Receipt, ReceiptAck, Received, TrustAssertion, UnixMicros, VerifiedEvent, ticket_proof,
};
use fedai_router_agent::core::announcing::{Announcement, Introduction};
use fedai_router_agent::core::decision_entry::KeepInputs;
use fedai_router_agent::core::policy::Policy;
use fedai_router_agent::core::quote_desk::{Asker, QuoteDraft, QuoteTerms};
use fedai_router_agent::core::rate_limit::Rate;
use fedai_router_agent::core::registry::Held;
use fedai_router_agent::core::scheduler::Scheduler;
use fedai_router_agent::core::{
    AckHeard, Action, Input, JournalKind, Recording, Restored, RestoredRecord, Restoring, RouterCore,
    RouterTerms,
};

use crate::conduct::RouterConduct;
use crate::faults::Active;
use crate::scenario::{MarketTerms, RouterSpec, START};
use crate::turn::{Effect, Fact, Turn};
use crate::wire::{Content, Identity, Letter, Mint, Payload};

/// Makes the strategy of a router, at each of its starts.
pub type MakeScheduler = Arc<dyn Fn() -> Box<dyn Scheduler> + Send + Sync>;

/// The router.
pub struct RouterActor {
    identity: Identity,
    session: Identity,
    terms: RouterTerms,
    conduct: Option<Box<dyn RouterConduct>>,
    scheduler: Option<MakeScheduler>,
    /// False where nobody kills it: then there is nothing to come back from.
    keeps_journal: bool,
    /// None while the process is dead.
    core: Option<RouterCore>,
    /// What the rail of this world has told it was paid, by receipt; taken with the word of the client.
    payments: BTreeMap<EventId, Msat>,
    /// What survives: records, and the time at which each was acted on.
    journal: Vec<(UnixMicros, JournalKind, VerifiedEvent)>,
    /// What relays keep for a reader that comes later.
    kept: Vec<VerifiedEvent>,
    /// When it died, and with what.
    died: (UnixMicros, [u8; 32]),
    lives: u32,
    latest: UnixMicros,
    /// What is wrong with it now.
    pub faults: Active,
}

impl RouterActor {
    /// A router that knows nobody.
    #[must_use]
    pub fn new(now: UnixMicros, spec: &RouterSpec, terms: &MarketTerms, mint: &mut Mint) -> Self {
        let (identity, session) = (mint.identity(), mint.identity());
        let keys = (identity.public_key(), session.public_key());
        let router_terms = router_terms(keys, mint.chance().bytes32(), spec, terms);
        let mut actor = Self {
            identity,
            session,
            terms: router_terms,
            conduct: None,
            scheduler: None,
            keeps_journal: terms.keeps_journals,
            core: None,
            payments: BTreeMap::new(),
            journal: Vec::new(),
            kept: Vec::new(),
            died: (now, [0; 32]),
            lives: 0,
            latest: now,
            faults: Active::default(),
        };
        actor.core = Some(actor.new_core(now));
        actor
    }

    /// A core that knows nobody. On the typed wire it has room for any number of requests, and keeps no inputs of
    /// decisions, which nobody reads.
    fn new_core(&self, now: UnixMicros) -> RouterCore {
        let terms = self.terms.clone();
        let core = match &self.scheduler {
            Some(scheduler) => RouterCore::with_scheduler(now, terms, scheduler()),
            None => RouterCore::new(now, terms),
        };
        match self.identity.real() {
            Some(_) => core,
            None => core
                .keeping(KeepInputs::None)
                .recording(Recording::Named)
                .holding(TYPED_TICKETS_MAX, usize::MAX),
        }
    }

    /// It decides by this strategy. Before the start only.
    pub fn decide_by(&mut self, now: UnixMicros, scheduler: MakeScheduler) {
        self.scheduler = Some(scheduler);
        self.core = Some(self.new_core(now));
    }

    /// It follows this reporter, with the full weight. Before the start only.
    pub fn follow(&mut self, now: UnixMicros, reporter: PublicKey) {
        self.terms.follow.insert(reporter, 1.0);
        self.core = Some(self.new_core(now));
    }

    /// The rail says that a client has paid what this receipt charges.
    pub fn paid(&mut self, receipt: EventId, amount: Msat) {
        while self.payments.len() >= PAYMENTS_MAX {
            self.payments.pop_first();
        }
        self.payments.insert(receipt, amount);
    }

    /// From now on it behaves like this.
    pub fn behave(&mut self, conduct: Box<dyn RouterConduct>) {
        self.conduct = Some(conduct);
    }

    /// True while nothing makes it cheat.
    #[must_use]
    pub const fn is_honest(&self) -> bool {
        self.conduct.is_none()
    }

    /// Identity key.
    #[must_use]
    pub fn identity(&self) -> PublicKey {
        self.identity.public_key()
    }

    /// Key that requests are sealed to.
    #[must_use]
    pub fn session(&self) -> PublicKey {
        self.session.public_key()
    }

    /// When its core wants to be asked again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<UnixMicros> {
        self.core.as_ref()?.poll_timeout()
    }

    /// True while its process runs.
    #[must_use]
    pub const fn is_alive(&self) -> bool {
        self.core.is_some()
    }

    /// Counts restarts.
    #[must_use]
    pub const fn lives(&self) -> u32 {
        self.lives
    }

    /// Everything that it put into its journal, in order.
    #[must_use]
    pub fn heard(&self) -> Vec<VerifiedEvent> {
        self.journal.iter().map(|(_, _, event)| event.clone()).collect()
    }

    /// A hash of what has to survive, while it lives.
    #[must_use]
    pub fn state_hash(&self, now: UnixMicros) -> Option<[u8; 32]> {
        self.core.as_ref().map(|core| core.state_hash(now))
    }

    /// Kills the process.
    pub fn crash(&mut self, now: UnixMicros) {
        if let Some(core) = self.core.take() {
            self.died = (now, core.state_hash(now));
        }
    }

    /// Starts it again from its journal, and lets it catch up with what relays kept.
    pub fn restart(&mut self, turn: &mut Turn<'_>) {
        self.lives = self.lives.saturating_add(1);
        let mut core = self.new_core(turn.now);
        let records = self.journal.iter().filter_map(|(at, kind, event)| restored(*at, *kind, event));
        for part in Restoring::all(START.seconds(), records) {
            core.handle(turn.now, Input::Restore(part), &mut Vec::new());
        }
        let is_same = core.state_hash(self.died.0) == self.died.1;
        self.core = Some(core);
        turn.facts.push(Fact::RouterRestarted { is_same });
        for event in core::mem::take(&mut self.kept) {
            self.receive(Payload::Event(event), turn);
        }
        // It may have died before it listened at all.
        self.start(turn);
    }

    /// Begins to listen.
    pub fn start(&mut self, turn: &mut Turn<'_>) {
        turn.effects.push(Effect::Listen(self.identity()));
        if self.session.real().is_none() {
            turn.effects.push(Effect::Listen(self.session()));
        }
        self.take(Input::Tick, turn);
    }

    /// By a wrong clock it had refused or forgotten what relays still have: once the clock is set, that is read again.
    fn follow_clock(&mut self, turn: &mut Turn<'_>) {
        let latest = core::mem::replace(&mut self.latest, turn.now);
        if turn.now.0.abs_diff(latest.0) > CLOCK_SET_SECONDS * 1_000_000 {
            for event in core::mem::take(&mut self.kept) {
                self.receive(Payload::Event(event), turn);
            }
        }
    }

    /// Something arrived.
    pub fn receive(&mut self, payload: Payload, turn: &mut Turn<'_>) {
        let event = match payload {
            Payload::Event(event) => event,
            Payload::Letter(letter) => {
                let letter = Arc::unwrap_or_clone(letter);
                if let Content::Request(request) = letter.content {
                    self.take(Input::QuoteRequest { request, sealed: true }, turn);
                }
                return;
            }
        };
        // Relays keep it, whatever the clock of this reader says.
        if self.keeps_journal && STORED.contains(&event.kind()) {
            self.kept.push(event.clone());
        }
        let is_late = event.check_time(turn.now.seconds()).is_err();
        if self.core.is_none() || is_late || self.ignores(event.kind(), event.author()) {
            return;
        }
        if let Ok(Some(mut input)) = self.read(&event) {
            if let Input::Acknowledged(heard) = &mut input {
                heard.paid = self.payments.remove(&heard.receipt.id).unwrap_or_default();
            }
            self.take_event(input, Some(&event), turn);
        }
    }

    /// Takes an input and does what comes of it.
    pub fn take(&mut self, input: Input, turn: &mut Turn<'_>) {
        self.follow_clock(turn);
        self.take_event(input, None, turn);
    }

    fn take_event(&mut self, input: Input, event: Option<&VerifiedEvent>, turn: &mut Turn<'_>) {
        let Some(core) = &mut self.core else { return };
        let mut actions = Vec::new();
        core.handle(turn.now, input, &mut actions);
        for action in actions {
            match action {
                Action::Quote { asker, draft } => self.quote(&asker, *draft, turn),
                Action::Refuse { asker, refusal, expires_at } => {
                    let (request, client, peers) = (asker.request, asker.client, Vec::new());
                    let outcome = QuoteOutcome::Refusal(refusal);
                    let reply = QuoteReply { request, client, outcome, peers, expires_at };
                    self.reply(reply, turn);
                }
                Action::Publish(Announcement::Summary(summary)) => {
                    turn.facts.push(Fact::Summed(Box::new(summary)));
                }
                Action::Publish(Announcement::Assertion(assertion)) => {
                    turn.facts.push(Fact::Ranked(assertion.node, assertion.rank));
                }
                Action::Evidence { node, code, .. } => turn.facts.push(Fact::Accused(node, code)),
                Action::Journal { .. } if !self.keeps_journal => {}
                Action::Journal { kind, .. } => match event {
                    Some(event) => self.journal.push((turn.now, kind, event.clone())),
                    None => turn.broken("the router journals an event that was not handed in"),
                },
                Action::Count { name: "fed_router_receipts_total", label } if label == "forgotten" => {
                    turn.facts.push(Fact::Uncounted);
                }
                // Profiles, decisions and metrics have no reader in this world.
                Action::Publish(_) | Action::Decided(_) | Action::Count { .. } | Action::Observe { .. } => {}
            }
        }
    }

    fn read(&self, event: &VerifiedEvent) -> Result<Option<Input>, ParseError> {
        let held = Some(event.clone());
        Ok(Some(match event.kind() {
            NODE_DESCRIPTOR => {
                Input::Descriptor(Held { received: NodeDescriptor::parse(event)?, event: held })
            }
            MODEL_OFFER => Input::Offer(Held { received: ModelOffer::parse(event)?, event: held }),
            LOAD_PING => Input::LoadPing(LoadPing::parse(event)?),
            RECEIPT => Input::Receipt(Receipt::parse(event)?),
            TRUST_ASSERTION => Input::Assertion(TrustAssertion::parse(event)?),
            RECEIPT_ACK => {
                let open = |sealed: &str, session: &PublicKey, receipt: &EventId| match self.session.real() {
                    Some(key) => ticket_proof::open(sealed, key, session, receipt),
                    None => PublicKey::from_hex(sealed).ok(),
                };
                Input::Acknowledged(AckHeard::read(ReceiptAck::parse(event)?, open)?)
            }
            QUOTE_REQUEST => {
                let session = self.session.real().ok_or(ParseError::Sealed)?;
                let conversation =
                    Conversation::derive(session, &event.author()).map_err(|_| ParseError::Sealed)?;
                let body = conversation.open(event.content()).map_err(|_| ParseError::Sealed)?;
                Input::QuoteRequest { request: QuoteRequest::parse_body(event, &body)?, sealed: true }
            }
            _ => return Ok(None),
        }))
    }

    fn quote(&mut self, asker: &Asker, mut draft: QuoteDraft, turn: &mut Turn<'_>) {
        if let Some(conduct) = &mut self.conduct {
            conduct.quote(turn.now, &mut draft);
        }
        let is_altered = self.bend(&mut draft);
        let other = self.second_assignment(&draft);
        self.quote_once(asker, &draft, is_altered, turn);
        if let Some(other) = other {
            self.quote_once(asker, &other, is_altered, turn);
        }
    }

    fn quote_once(&mut self, asker: &Asker, draft: &QuoteDraft, is_altered: bool, turn: &mut Turn<'_>) {
        let now = turn.now.seconds();
        let mut ticket = None;
        if let Some(dispatch) = &draft.dispatch {
            let Ok(unsigned) = dispatch.draft(&self.identity(), now) else {
                return turn.broken("the router drafted a dispatch that its own limits refuse");
            };
            let event = self.identity.sign(unsigned, turn.mint);
            if is_altered {
                turn.facts.push(Fact::PriceAltered(event.id()));
            }
            match Dispatch::parse(&event) {
                Ok(received) => self.take_event(Input::Dispatched(received), Some(&event), turn),
                Err(error) => {
                    return turn.broken(format!("the router's own dispatch does not parse: {error}"));
                }
            }
            ticket = Some(event);
        }
        let reply = match self.identity.real() {
            Some(_) => draft.reply(asker, ticket.as_ref()),
            None => draft.bare_reply(asker, ticket.as_ref()),
        };
        match reply {
            Some(reply) => self.reply(reply, turn),
            None => turn.broken("the router's quote does not fit a reply"),
        }
    }

    fn reply(&self, reply: QuoteReply, turn: &mut Turn<'_>) {
        let Some(session) = self.session.real() else {
            let (to, from, at) = (reply.client, self.identity(), turn.now.seconds());
            let content = Content::Reply(Received::simulated(reply, from, turn.mint.id(), at));
            return turn.post(Letter { to, from, at, content });
        };
        let conversation = Conversation::derive(session, &reply.client);
        let sealed = reply.draft(&self.identity(), turn.now.seconds()).and_then(|mut draft| {
            let conversation = conversation.map_err(|_| ParseError::Sealed)?;
            draft.content =
                conversation.seal(&body_json(&reply)?, turn.mint).map_err(|_| ParseError::Sealed)?;
            Ok(draft)
        });
        match sealed {
            Ok(draft) => {
                let event = self.identity.sign(draft, turn.mint);
                turn.publish(event);
            }
            Err(error) => turn.broken(format!("the router's reply cannot be sealed: {error}")),
        }
    }
}

fn restored(at: UnixMicros, kind: JournalKind, event: &VerifiedEvent) -> Option<Restored> {
    let record = match kind {
        JournalKind::Dispatch { luck_permille } => {
            RestoredRecord::Dispatch { dispatch: Dispatch::parse(event).ok()?, luck_permille }
        }
        JournalKind::Receipt => RestoredRecord::Receipt(Receipt::parse(event).ok()?),
        JournalKind::Ack | JournalKind::ProvenAck { .. } => {
            let ack = ReceiptAck::parse(event).ok()?;
            RestoredRecord::Acknowledged(AckHeard::journaled(ack, kind).ok()?)
        }
        JournalKind::Fork => RestoredRecord::Fork(Receipt::parse(event).ok()?),
    };
    Some(Restored { at, record })
}

fn router_terms(
    (identity, session): (PublicKey, PublicKey),
    seed: [u8; 32],
    spec: &RouterSpec,
    terms: &MarketTerms,
) -> RouterTerms {
    RouterTerms {
        identity,
        introduction: Introduction {
            name: "simulated router".to_owned(),
            fee: spec.fee,
            session,
            relays: vec![RELAY.to_owned()],
            software: concat!("fedai-sim/", env!("CARGO_PKG_VERSION")).to_owned(),
            lease_seconds: 900,
        },
        quotes: QuoteTerms {
            fee: spec.fee,
            quote_seconds: 30,
            dispatch_seconds: 300,
            methods: terms.methods(),
            per_key: Rate { burst: 20.0, per_second: 2.0 },
            global: Rate { burst: terms.router_rate * 2.0, per_second: terms.router_rate },
        },
        policy: Policy::default(),
        epoch_seconds: 3_600,
        summary_seconds: terms.summary_seconds,
        follow: BTreeMap::new(),
        seed,
    }
}

/// As in the shell of a router.
const CLOCK_SET_SECONDS: u64 = 60;
/// Tickets that a router of the typed wire remembers: a few minutes of the largest worlds.
const TYPED_TICKETS_MAX: usize = 200_000;
/// Payments whose receipts nobody spoke of yet: far more than are under way.
const PAYMENTS_MAX: usize = 100_000;
/// Where everybody is said to listen.
pub(crate) const RELAY: &str = "ws://relay.invalid";
