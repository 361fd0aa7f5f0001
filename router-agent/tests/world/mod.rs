//! A small network on paper for tests: keys, signed announcements, requests, receipts, and a router core among them.

#![allow(unreachable_pub, dead_code, reason = "every test binary uses its own part")]

use fedai_protocol::entropy::CountingEntropy;
use fedai_protocol::event_kinds::MODEL_OFFER;
use fedai_protocol::message::{Message, Received};
use fedai_protocol::node_descriptor::{NodeStatus, SessionInbox};
use fedai_protocol::payment_offer::{Balance, PaymentMethod, PaymentTerms};
use fedai_protocol::quote_request::{Constraints, Mode, ModelWanted};
use fedai_protocol::receipt::{Outcome, ReceiptPayment};
use fedai_protocol::receipt_ack::AckVerdict;
use fedai_protocol::router_profile::RouterFee;
use fedai_protocol::{
    Address, Dispatch, EventId, JobId, ModelOffer, Msat, MsatPerMtok, NodeDescriptor, Price, PublicKey,
    QuoteRequest, Receipt, ReceiptAck, SigningKey, Tokens, UnixMicros, UnixSeconds, Usage, VerifiedEvent,
};
use fedai_router_agent::core::announcing::Introduction;
use fedai_router_agent::core::policy::Policy;
use fedai_router_agent::core::quote_desk::QuoteTerms;
use fedai_router_agent::core::rate_limit::Rate;
use fedai_router_agent::core::registry::Held;
use fedai_router_agent::core::{AckHeard, AckProof, Action, Input, JournalKind, RouterCore, RouterTerms};

/// Where every test begins.
pub const START: UnixSeconds = UnixSeconds(1_800_000_000);
/// The model of most tests.
pub const MODEL: &str = "smol";

/// Signed announcements of one node.
pub struct Node {
    pub key: SigningKey,
    pub descriptor: VerifiedEvent,
    pub offer: VerifiedEvent,
}

/// A key that is the same in every run.
pub fn key(n: u64) -> SigningKey {
    SigningKey::generate(&mut CountingEntropy(n * 1_000))
}

pub fn sign<M: Message>(message: &M, key: &SigningKey, at: UnixSeconds) -> VerifiedEvent {
    let draft = message.draft(&key.public_key(), at).unwrap();
    key.sign(draft, &mut CountingEntropy(at.0))
}

pub fn price(input: u64, output: u64) -> Price {
    Price { input: MsatPerMtok::saturating(input), output: MsatPerMtok::saturating(output), ..Price::FREE }
}

pub fn descriptor(name: &str, expires_at: UnixSeconds) -> NodeDescriptor {
    NodeDescriptor {
        name: name.into(),
        status: NodeStatus::Active,
        inbox: SessionInbox { key: key(77).public_key(), valid_until: expires_at },
        expires_at,
        relays: vec!["ws://127.0.0.1:7777".into()],
        gateways: vec![],
        regions: vec!["DE".into()],
        payment: PaymentTerms {
            methods: vec![PaymentMethod::Free, PaymentMethod::Ticket],
            ..PaymentTerms::free()
        },
        operator: None,
        accepts_self_dispatch: false,
        routers: vec![],
        software: "test".into(),
    }
}

pub fn offer(node: &str, price: Price) -> ModelOffer {
    ModelOffer {
        slug: MODEL.into(),
        node: node.into(),
        model: MODEL.into(),
        quantization: Some("q8_0".into()),
        digest: None,
        tokenizer: None,
        price,
        context_tokens: Tokens::saturating(8_192),
        max_output_tokens: Tokens::saturating(2_048),
        slots: 4,
        tokens_per_second: None,
        modalities: vec!["text".into()],
        features: vec!["tools".into()],
        payment: vec![PaymentMethod::Free, PaymentMethod::Ticket],
    }
}

impl Node {
    pub fn new(n: u64, price: Price) -> Self {
        let key = key(n);
        let name = format!("node-{n}");
        let descriptor = sign(&descriptor(&name, START.plus(900)), &key, START);
        let offer = sign(&offer(&name, price), &key, START);
        Self { key, descriptor, offer }
    }

    pub fn id(&self) -> PublicKey {
        self.key.public_key()
    }

    pub fn inputs(&self) -> [Input; 2] {
        [
            Input::Descriptor(Held {
                received: NodeDescriptor::parse(&self.descriptor).unwrap(),
                event: Some(self.descriptor.clone()),
            }),
            Input::Offer(Held {
                received: ModelOffer::parse(&self.offer).unwrap(),
                event: Some(self.offer.clone()),
            }),
        ]
    }
}

pub fn terms(router: &SigningKey) -> RouterTerms {
    let fee = RouterFee { flat: Msat::saturating(10), ppm: 10_000 };
    RouterTerms {
        identity: router.public_key(),
        introduction: Introduction {
            name: "router".into(),
            fee,
            session: router.public_key(),
            relays: vec!["ws://127.0.0.1:7777".into()],
            software: "test".into(),
            lease_seconds: 900,
        },
        quotes: QuoteTerms {
            fee,
            quote_seconds: 30,
            dispatch_seconds: 300,
            methods: vec![PaymentMethod::Free],
            per_key: Rate { burst: 1_000.0, per_second: 1_000.0 },
            global: Rate { burst: 10_000.0, per_second: 10_000.0 },
        },
        policy: Policy::default(),
        epoch_seconds: 3_600,
        summary_seconds: 60,
        follow: std::collections::BTreeMap::new(),
        seed: [7; 32],
    }
}

pub fn request(mode: Mode) -> QuoteRequest {
    QuoteRequest {
        router: None,
        wanted: ModelWanted { model: Some(MODEL.into()), ..ModelWanted::default() },
        prompt_tokens: Tokens::saturating(512),
        max_output_tokens: Tokens::saturating(256),
        max_cost: None,
        mode,
        constraints: Constraints { payment: vec![PaymentMethod::Free], ..Constraints::default() },
        uses: 1,
        accept_auto: true,
        previous_node: None,
        expires_at: START.plus(600),
    }
}

pub fn event_id(n: u64) -> EventId {
    EventId::from_byte_array(fedai_protocol::domain_separation::digest("test", &[&n.to_be_bytes()]))
}

/// A router core with nodes, driven by hand.
pub struct World {
    pub router: SigningKey,
    pub core: RouterCore,
    pub nodes: Vec<Node>,
    pub now: UnixMicros,
    pub asked: u64,
    /// What the router noted of the last draw.
    pub luck_permille: u16,
}

impl World {
    pub fn new(prices: &[Price]) -> Self {
        let router = key(500);
        let now = START.micros();
        let core = RouterCore::new(now, terms(&router));
        let nodes: Vec<Node> = (1..).zip(prices).map(|(n, price)| Node::new(n, *price)).collect();
        let mut world = Self { router, core, nodes, now, asked: 0, luck_permille: 0 };
        world.announce();
        world.step(Input::Tick);
        world
    }

    pub fn announce(&mut self) {
        let inputs: Vec<Input> = self.nodes.iter().flat_map(Node::inputs).collect();
        for input in inputs {
            self.step(input);
        }
    }

    pub fn step(&mut self, input: Input) -> Vec<Action> {
        let mut out = Vec::new();
        self.core.handle(self.now, input, &mut out);
        out
    }

    pub fn ask(&mut self, request: QuoteRequest) -> Vec<Action> {
        self.ask_as(request, key(900).public_key())
    }

    pub fn ask_as(&mut self, request: QuoteRequest, client: PublicKey) -> Vec<Action> {
        self.asked += 1;
        let request = Received::simulated(request, client, event_id(self.asked), self.now.seconds());
        self.step(Input::QuoteRequest { request, sealed: true })
    }

    /// Asks, signs the ticket, tells the core.
    pub fn dispatch(&mut self, request: QuoteRequest) -> (VerifiedEvent, Dispatch) {
        let actions = self.ask(request);
        let dispatch = actions
            .iter()
            .find_map(|action| match action {
                Action::Quote { draft, .. } => draft.dispatch.clone(),
                _ => None,
            })
            .expect("a quote with a ticket");
        let event = sign(&dispatch, &self.router, self.now.seconds());
        for action in self.step(Input::Dispatched(Dispatch::parse(&event).unwrap())) {
            if let Action::Journal { kind: JournalKind::Dispatch { luck_permille }, .. } = action {
                self.luck_permille = luck_permille;
            }
        }
        (event, dispatch)
    }
}

/// A receipt of `node` under a ticket, and what it is made of.
pub fn receipt(
    node: &Node,
    ticket: &VerifiedEvent,
    client: PublicKey,
    seq: u64,
    prev: EventId,
    at: UnixSeconds,
) -> Receipt {
    let dispatch = Dispatch::parse(ticket).unwrap();
    let offer = ModelOffer::parse(&node.offer).unwrap();
    let usage = Usage {
        input_tokens: Tokens::saturating(100),
        output_tokens: Tokens::saturating(50),
        output_bytes: 200,
        ..Usage::default()
    };
    Receipt {
        job: JobId(event_id(seq + at.0)),
        dispatch: dispatch.id,
        router: dispatch.author,
        client,
        offer: offer.id,
        offer_address: Address {
            kind: MODEL_OFFER,
            author: node.id(),
            identifier: offer.message.slug.clone(),
        },
        model: offer.message.model.clone(),
        model_digest: None,
        usage,
        ttft_ms: 200,
        wall_ms: 1_200,
        outcome: Outcome::Complete,
        amount: offer.message.price.amount(&usage).unwrap(),
        payment: ReceiptPayment {
            method: PaymentMethod::Free,
            cumulative: Balance::default(),
            tickets: vec![],
            released: vec![],
        },
        commitment: "ab".repeat(32),
        frames: 3,
        seq,
        prev,
    }
}

pub fn ack(
    receipt: &VerifiedEvent,
    client: &SigningKey,
    verdict: AckVerdict,
    at: UnixSeconds,
) -> VerifiedEvent {
    ack_with(receipt, client, verdict, at, None)
}

pub fn ack_with(
    receipt: &VerifiedEvent,
    client: &SigningKey,
    verdict: AckVerdict,
    at: UnixSeconds,
    ticket_proof: Option<String>,
) -> VerifiedEvent {
    let ack = ReceiptAck {
        receipt: receipt.clone(),
        verdict,
        rating: None,
        observed_ttft_ms: Some(300),
        observed_total_ms: Some(1_300),
        turned_away: Vec::new(),
        ticket_proof,
    };
    sign(&ack, client, at)
}

/// An acknowledgement with the proof of the client that [`World::ask`] asks as.
pub fn heard(ack: &VerifiedEvent) -> AckHeard {
    heard_from(ack, AckProof::By(key(900).public_key()))
}

pub fn heard_from(ack: &VerifiedEvent, proof: AckProof) -> AckHeard {
    AckHeard { proof, ..AckHeard::read(ReceiptAck::parse(ack).unwrap(), |_, _, _| None).unwrap() }
}
