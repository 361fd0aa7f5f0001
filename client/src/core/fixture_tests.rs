//! A small honest market for the tests of this core: one router, some nodes, signed offers, quotes and receipts. Each
//! test bends one thing.

use fedai_protocol::dispatch::DispatchedNode;
use fedai_protocol::entropy::CountingEntropy;
use fedai_protocol::job_open::{JobEndpoint, request_hash};
use fedai_protocol::message::{Message, Received};
use fedai_protocol::node_descriptor::{NodeStatus, SessionInbox};
use fedai_protocol::output_stream::OutputCounter;
use fedai_protocol::payment_offer::{Balance, PaymentMethod, PaymentTerms};
use fedai_protocol::quote::{QuoteOutcome, QuotedNode};
use fedai_protocol::quote_request::{Constraints, Mode, ModelWanted};
use fedai_protocol::receipt::{Outcome, ReceiptPayment, commitment};
use fedai_protocol::{
    Dispatch, EventId, JobId, ModelOffer, Msat, NodeDescriptor, Price, PublicKey, Quote, QuoteReply, Receipt,
    SigningKey, Tokens, UnixMicros, UnixSeconds, Usage, VerifiedEvent,
};

use super::attempt::OpenedWith;
use super::job_spec::{DeliveryMode, JobSpec, OnBreak, RouterTarget};
use super::quote_check::Question;

pub(crate) const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
pub(crate) const REQUEST: &str = r#"{"messages":[{"role":"user","content":"Name three colours."}]}"#;

pub(crate) fn tokens(n: u64) -> Tokens {
    Tokens::saturating(n)
}

pub(crate) struct Market {
    pub(crate) entropy: CountingEntropy,
    pub(crate) router: SigningKey,
    pub(crate) nodes: Vec<SigningKey>,
    pub(crate) ticket: SigningKey,
}

impl Market {
    pub(crate) fn new(nodes: usize) -> Self {
        let mut entropy = CountingEntropy(11);
        let router = SigningKey::generate(&mut entropy);
        let ticket = SigningKey::generate(&mut entropy);
        let nodes = (0..nodes).map(|_| SigningKey::generate(&mut entropy)).collect();
        Self { entropy, router, nodes, ticket }
    }

    pub(crate) fn spec(&self) -> JobSpec {
        JobSpec {
            endpoint: JobEndpoint::Chat,
            request: REQUEST.to_owned(),
            messages: 1,
            wanted: ModelWanted { model: Some("smol".into()), ..ModelWanted::default() },
            prompt_tokens: tokens(20),
            max_output_tokens: tokens(100),
            max_cost: None,
            mode: Mode::Balanced,
            constraints: Constraints { payment: vec![PaymentMethod::Free], ..Constraints::default() },
            uses: 8,
            previous_node: None,
            routers: vec![RouterTarget::Router(self.router.public_key())],
            delivery: DeliveryMode::Live,
            follow_peers: false,
            hedge: false,
            on_break: OnBreak::Continue,
            deadline: NOW.plus(60).micros(),
        }
    }

    pub(crate) fn node_key(&self, index: usize) -> PublicKey {
        self.nodes[index].public_key()
    }

    pub(crate) fn sign(&mut self, key: &SigningKey, message: &impl Message) -> VerifiedEvent {
        let draft = message.draft(&key.public_key(), NOW).unwrap();
        key.sign(draft, &mut self.entropy)
    }

    pub(crate) fn quoted(&mut self, index: usize) -> QuotedNode {
        let key = self.nodes[index].clone();
        let offer = self.offer(index);
        let descriptor = descriptor(&key, &format!("node-{index}"));
        QuotedNode {
            offer: self.sign(&key, &offer),
            descriptor: self.sign(&key, &descriptor),
            max_cost: offer.price.ceiling(tokens(256), tokens(256)).unwrap(),
            expected_ttft_ms: 100,
            expected_total_ms: 1_000,
            patience_ms: None,
        }
    }

    pub(crate) fn offer(&self, index: usize) -> ModelOffer {
        ModelOffer {
            slug: "smol".into(),
            node: format!("node-{index}"),
            model: "smol".into(),
            quantization: None,
            digest: Some("sha256:abc".into()),
            tokenizer: None,
            price: Price::FREE,
            context_tokens: tokens(2_048),
            max_output_tokens: tokens(1_024),
            slots: 2,
            tokens_per_second: None,
            modalities: vec!["text".into()],
            features: Vec::new(),
            payment: vec![PaymentMethod::Free],
        }
    }

    pub(crate) fn question(&mut self) -> Question {
        let request = EventId::from_byte_array(fedai_protocol::Entropy::bytes32(&mut self.entropy));
        Question { router: self.router.public_key(), request, ticket: self.ticket.public_key() }
    }

    pub(crate) fn quote(&mut self, question: &Question, indices: &[usize]) -> Quote {
        let nodes: Vec<QuotedNode> = indices.iter().map(|index| self.quoted(*index)).collect();
        let dispatched = |node: &QuotedNode| DispatchedNode {
            node: node.offer.author(),
            offer: node.offer.id(),
            max_cost: node.max_cost,
        };
        let dispatch = Dispatch {
            request: question.request,
            client: question.ticket,
            nodes: nodes.iter().map(dispatched).collect(),
            model: "smol".into(),
            max_input_tokens: tokens(256),
            max_output_tokens: tokens(256),
            payment: PaymentMethod::Free,
            uses: 8,
            expires_at: NOW.plus(600),
        };
        let router = self.router.clone();
        Quote {
            nodes,
            model: "smol".into(),
            prompt_tokens: tokens(256),
            max_output_tokens: tokens(256),
            fee: Msat::ZERO,
            ceiling: Msat::ZERO,
            decision: "0".repeat(64),
            record: None,
            dispatch: Some(self.sign(&router, &dispatch)),
            hedge_after_ms: None,
            expires_at: NOW.plus(30),
        }
    }

    pub(crate) fn reply(&mut self, question: &Question, outcome: QuoteOutcome) -> Received<QuoteReply> {
        let router = self.router.clone();
        let reply = QuoteReply {
            request: question.request,
            client: question.ticket,
            outcome,
            peers: Vec::new(),
            expires_at: NOW.plus(30),
        };
        let event = self.sign(&router, &reply);
        QuoteReply::parse(&event).unwrap()
    }

    pub(crate) fn good_reply(&mut self, question: &Question, nodes: &[usize]) -> Received<QuoteReply> {
        let quote = self.quote(question, nodes);
        self.reply(question, QuoteOutcome::Quote(Box::new(quote)))
    }

    /// What the shell makes of "open this job".
    pub(crate) fn opened(&mut self, n: u8) -> OpenedWith {
        OpenedWith {
            job: JobId(EventId::from_byte_array([n; 32])),
            session: SigningKey::generate(&mut self.entropy).public_key(),
            nonce: "ab".repeat(32),
            upload: Vec::new(),
        }
    }

    /// The honest receipt for this stream.
    pub(crate) fn receipt(
        &mut self,
        index: usize,
        offer: &VerifiedEvent,
        dispatch: &VerifiedEvent,
        opened: &OpenedWith,
        stream: &str,
    ) -> Receipt {
        let mut output = OutputCounter::default();
        output.push(stream).unwrap();
        let hash = hex::encode(request_hash(REQUEST.as_bytes()));
        let offered = self.offer(index);
        Receipt {
            job: opened.job,
            dispatch: dispatch.id(),
            router: self.router.public_key(),
            client: opened.session,
            offer: offer.id(),
            offer_address: offered.address(&self.node_key(index)),
            model: "smol".into(),
            model_digest: offered.digest,
            usage: Usage {
                input_tokens: tokens(12),
                output_tokens: tokens(output.text_bytes().min(5)),
                input_bytes: REQUEST.len() as u64,
                output_bytes: output.text_bytes(),
                ..Usage::default()
            },
            ttft_ms: 10,
            wall_ms: 20,
            outcome: Outcome::Complete,
            amount: Msat::ZERO,
            payment: ReceiptPayment {
                method: PaymentMethod::Free,
                cumulative: Balance::default(),
                tickets: Vec::new(),
                released: Vec::new(),
            },
            commitment: commitment(&opened.nonce, &hash, &output.sha256()),
            frames: 1,
            seq: 0,
            prev: EventId::all_zeros(),
        }
    }
}

pub(crate) fn descriptor(key: &SigningKey, name: &str) -> NodeDescriptor {
    NodeDescriptor {
        name: name.to_owned(),
        status: NodeStatus::Active,
        inbox: SessionInbox { key: key.public_key(), valid_until: NOW.plus(900) },
        expires_at: NOW.plus(900),
        relays: vec!["ws://127.0.0.1:7447".into()],
        gateways: Vec::new(),
        regions: Vec::new(),
        payment: PaymentTerms::free(),
        operator: None,
        accepts_self_dispatch: false,
        routers: Vec::new(),
        software: String::new(),
    }
}

/// One line of output.
pub(crate) fn line(text: &str) -> String {
    let choice = serde_json::json!({"index": 0, "delta": {"content": text}});
    fedai_protocol::output_stream::output_line(&choice)
}

pub(crate) fn micros(ms: u64) -> UnixMicros {
    NOW.micros().plus_millis(ms)
}
