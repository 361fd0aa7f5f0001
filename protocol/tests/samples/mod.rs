//! One sample of every message, with fixed keys, for golden files and hostile-byte tests.
#![allow(dead_code, reason = "each test binary uses its own part")]

use fedai_protocol::decision_record::{
    Alternative, Candidate, Counterfactual, DecisionRecord, DrawRecord, DrawnCandidate, Terms, Verdict,
};
use fedai_protocol::dispatch::DispatchedNode;
use fedai_protocol::entropy::CountingEntropy;
use fedai_protocol::job_open::{JobEndpoint, RequestBody, request_hash};
use fedai_protocol::message::Message;
use fedai_protocol::node_descriptor::{NodeStatus, SessionInbox};
use fedai_protocol::node_standing::{BreakerWord, FleetRank, HeardOn, OfferStanding, UsualJob};
use fedai_protocol::payment_offer::{Balance, Payment, PaymentMethod, PaymentTerms};
use fedai_protocol::quote::{PeerRouter, QuoteOutcome, QuotedNode};
use fedai_protocol::quote_request::{Constraints, Mode, ModelWanted};
use fedai_protocol::receipt::{Outcome, ReceiptPayment, commitment};
use fedai_protocol::receipt_ack::AckVerdict;
use fedai_protocol::router_profile::RouterFee;
use fedai_protocol::sealed_session::Conversation;
use fedai_protocol::session_frame::{
    Accept, Ack, Chunk, Direction, Failure, Final, FrameBody, accept_digest,
};
use fedai_protocol::trust_assertion::{EvidenceWeights, TrustDimensions, TrustEvidence};
use fedai_protocol::usage_summary::{ModelTotals, receipts_root};
use fedai_protocol::*;
use nostr::SecretKey;

pub(crate) const AT: UnixSeconds = UnixSeconds(1_800_000_000);
pub(crate) const REQUEST: &str =
    r#"{"messages":[{"content":"Name three colours.","role":"user"}],"max_tokens":64}"#;

pub(crate) struct Keys {
    pub(crate) node: SigningKey,
    pub(crate) inbox: SigningKey,
    pub(crate) node_session: SigningKey,
    pub(crate) router: SigningKey,
    pub(crate) ticket: SigningKey,
    pub(crate) session: SigningKey,
}

pub(crate) fn keys() -> Keys {
    let key = |byte: u8| SigningKey::new(SecretKey::from_slice(&[byte; 32]).unwrap());
    Keys {
        node: key(1),
        inbox: key(2),
        node_session: key(3),
        router: key(4),
        ticket: key(5),
        session: key(6),
    }
}

pub(crate) fn sign<M: Message>(message: &M, key: &SigningKey) -> VerifiedEvent {
    key.sign(message.draft(&key.public_key(), AT).unwrap(), &mut CountingEntropy(42))
}

pub(crate) fn conversation(ours: &SigningKey, theirs: &SigningKey) -> Conversation {
    Conversation::derive(ours, &theirs.public_key()).unwrap()
}

pub(crate) fn descriptor() -> NodeDescriptor {
    NodeDescriptor {
        name: "attic".into(),
        status: NodeStatus::Active,
        inbox: SessionInbox { key: keys().inbox.public_key(), valid_until: AT.plus(86_400) },
        expires_at: AT.plus(900),
        relays: vec!["wss://relay.example".into()],
        gateways: vec![],
        regions: vec!["DE".into()],
        payment: PaymentTerms::free(),
        operator: None,
        accepts_self_dispatch: true,
        routers: vec![],
        software: "fedai-node-agent/0.1.0".into(),
    }
}

pub(crate) fn price() -> Price {
    Price {
        input: MsatPerMtok::new(20_000).unwrap(),
        cached_input: MsatPerMtok::new(5_000),
        output: MsatPerMtok::new(50_000).unwrap(),
        request: Msat::new(1).unwrap(),
    }
}

pub(crate) fn offer() -> ModelOffer {
    ModelOffer {
        slug: "smollm2-135m".into(),
        node: "attic".into(),
        model: "smollm2-135m".into(),
        quantization: Some("q4_1".into()),
        digest: Some("b179c952".into()),
        tokenizer: None,
        price: price(),
        context_tokens: Tokens::saturating(2_048),
        max_output_tokens: Tokens::saturating(1_024),
        slots: 2,
        tokens_per_second: Some(40),
        modalities: vec!["text".into()],
        features: vec!["logprobs".into()],
        payment: vec![PaymentMethod::Ticket],
    }
}

pub(crate) fn profile() -> RouterProfile {
    RouterProfile {
        name: "lobby".into(),
        fee: RouterFee { flat: Msat::new(2).unwrap(), ppm: 10_000 },
        session: keys().router.public_key(),
        relays: vec!["wss://relay.example".into()],
        expires_at: AT.plus(900),
        nodes: 3,
        models: vec!["smollm2-135m".into()],
        peers: vec![],
        software: "fedai-router-agent/0.1.0".into(),
    }
}

pub(crate) fn ping() -> LoadPing {
    LoadPing { node: "attic".into(), load_permille: 500, running: 1, queued: 0, slots: 2, wait_ms: 0 }
}

pub(crate) fn open_request() -> QuoteRequest {
    QuoteRequest {
        router: None,
        wanted: ModelWanted { model: Some("smollm2-135m".into()), ..ModelWanted::default() },
        prompt_tokens: Tokens::saturating(256),
        max_output_tokens: Tokens::saturating(256),
        max_cost: Msat::new(1_000),
        mode: Mode::Balanced,
        constraints: Constraints {
            payment: vec![PaymentMethod::Ticket, PaymentMethod::Free],
            ..Constraints::default()
        },
        uses: 4,
        accept_auto: true,
        previous_node: None,
        expires_at: AT.plus(30),
    }
}

pub(crate) fn request_id() -> EventId {
    sign(&open_request(), &keys().ticket).id()
}

pub(crate) fn dispatch() -> Dispatch {
    Dispatch {
        request: request_id(),
        client: keys().ticket.public_key(),
        nodes: vec![DispatchedNode {
            node: keys().node.public_key(),
            offer: sign(&offer(), &keys().node).id(),
            max_cost: price().ceiling(Tokens::saturating(256), Tokens::saturating(256)).unwrap(),
        }],
        model: "smollm2-135m".into(),
        max_input_tokens: Tokens::saturating(256),
        max_output_tokens: Tokens::saturating(256),
        payment: PaymentMethod::Ticket,
        uses: 4,
        expires_at: AT.plus(900),
    }
}

pub(crate) fn record() -> DecisionRecord {
    let (node, offer) = (keys().node.public_key(), sign(&offer(), &keys().node).id());
    let (ttft_ms, total_ms, utility_msat) = (321.5, 1_900.0, 40.5);
    let alternative = Alternative { node, offer, cost_msat: 18.92, ttft_ms, total_ms, utility_msat };
    DecisionRecord {
        request: request_id(),
        at: AT.micros(),
        mode: Mode::Balanced,
        strategy: "weighted-two-choice/v1".into(),
        seed: 7,
        candidates: vec![Candidate {
            node,
            offer,
            verdict: Verdict::Chosen,
            code: None,
            terms: Some(Terms { cost_msat: 18.92, ttft_ms: 321.5, share: 1.0, ..Terms::default() }),
        }],
        considered: 1,
        relaxed: vec![],
        draw: Some(DrawRecord {
            number: 0.75,
            exploration: 0.01,
            drawn: vec![DrawnCandidate { number: 0.5, node, offer }],
            explored: None,
            kept_previous: false,
        }),
        counterfactual: Some(Counterfactual { best: alternative, drawn: Some(alternative), runner_up: None }),
        regret_msat: 0.0,
        ceiling: Msat::new(22).unwrap(),
    }
}

pub(crate) fn quote_reply() -> QuoteReply {
    let keys = keys();
    let max_cost = price().ceiling(Tokens::saturating(256), Tokens::saturating(256)).unwrap();
    let quote = Quote {
        nodes: vec![QuotedNode {
            offer: sign(&offer(), &keys.node),
            descriptor: sign(&descriptor(), &keys.node),
            max_cost,
            expected_ttft_ms: 320,
            expected_total_ms: 2_000,
            patience_ms: Some(350),
        }],
        model: "smollm2-135m".into(),
        prompt_tokens: Tokens::saturating(256),
        max_output_tokens: Tokens::saturating(256),
        fee: Msat::new(3).unwrap(),
        ceiling: Msat::new(22).unwrap(),
        decision: record().digest(),
        record: Some(Box::new(record())),
        dispatch: Some(sign(&dispatch(), &keys.router)),
        hedge_after_ms: Some(900),
        expires_at: AT.plus(60),
    };
    QuoteReply {
        request: request_id(),
        client: keys.ticket.public_key(),
        outcome: QuoteOutcome::Quote(Box::new(quote)),
        peers: vec![],
        expires_at: AT.plus(60),
    }
}

pub(crate) fn refusal_reply() -> QuoteReply {
    let refusal = Refusal::new(RefusalCode::NoNode, "no live node offers this model").retry_after(5_000);
    QuoteReply { outcome: QuoteOutcome::Refusal(refusal), ..quote_reply() }
}

pub(crate) fn busy_reply() -> QuoteReply {
    let refusal = Refusal::new(RefusalCode::Busy, "every node that fits is full").retry_after(900);
    let peer = PeerRouter {
        router: keys().node_session.public_key(),
        relay: Some("wss://other-relay.example".into()),
    };
    QuoteReply { outcome: QuoteOutcome::Refusal(refusal), peers: vec![peer], ..quote_reply() }
}

pub(crate) fn standing() -> NodeStanding {
    let rank =
        |place, own, median, best| Some(FleetRank { place, of: 12, own, median, best, is_measured: true });
    let usual =
        UsualJob { prompt_tokens: Tokens::saturating(256), max_output_tokens: Tokens::saturating(512) };
    NodeStanding {
        node: keys().node.public_key(),
        since: AT.minus(60),
        at: AT,
        lease_until: Some(AT.plus(700)),
        trust_permille: 610,
        dimensions: assertion().dimensions,
        receipts: 12,
        heard: vec![HeardOn {
            relay: "wss://relay.example".into(),
            load_ping: Some(AT.minus(190)),
            descriptor: Some(AT.minus(200)),
        }],
        offers: vec![OfferStanding {
            slug: "smollm2-135m".into(),
            model: "smollm2-135m".into(),
            decisions: 40,
            looked_at: 40,
            filtered: [("stale".to_owned(), 37)].into(),
            not_drawn: 1,
            lost_pair: 1,
            chosen: 1,
            fallback: 0,
            now: Some("stale".into()),
            usual,
            price: rank(9, 240, 140, 90),
            first_token: rank(2, 320, 400, 300),
            per_token: rank(3, 25_000, 50_000, 20_000),
            breaker: BreakerWord::Closed,
            breaker_until: None,
            learned_cap: None,
            in_flight: 0,
            load_ping_at: Some(AT.minus(190)),
        }],
        expires_at: AT.plus(43_200),
    }
}

pub(crate) fn job_open() -> JobOpen {
    JobOpen {
        dispatch: sign(&dispatch(), &keys().router),
        endpoint: JobEndpoint::Chat,
        request: RequestBody::Inline(REQUEST.into()),
        request_hash: hex::encode(request_hash(REQUEST.as_bytes())),
        session: keys().session.public_key(),
        nonce: hex::encode([9; 32]),
        relays: vec!["wss://relay.example".into()],
        payment: Payment { method: PaymentMethod::Ticket, tokens: vec!["cashuB...".into()] },
        expires_at: AT.plus(120),
        patience_ms: Some(350),
    }
}

pub(crate) fn job_id() -> JobId {
    let keys = keys();
    let inbox = keys.inbox.public_key();
    job_open().wrap(&keys.ticket, &inbox, AT, AT, &mut CountingEntropy(99)).unwrap().job
}

pub(crate) fn usage() -> Usage {
    Usage {
        input_tokens: Tokens::saturating(37),
        cached_tokens: Tokens::saturating(5),
        output_tokens: Tokens::saturating(12),
        reasoning_tokens: Tokens::ZERO,
        input_bytes: REQUEST.len() as u64,
        output_bytes: 30,
    }
}

pub(crate) fn receipt() -> Receipt {
    let keys = keys();
    Receipt {
        job: job_id(),
        dispatch: sign(&dispatch(), &keys.router).id(),
        router: keys.router.public_key(),
        client: keys.session.public_key(),
        offer: sign(&offer(), &keys.node).id(),
        offer_address: offer().address(&keys.node.public_key()),
        model: "smollm2-135m".into(),
        model_digest: Some("b179c952".into()),
        usage: usage(),
        ttft_ms: 320,
        wall_ms: 1_900,
        outcome: Outcome::Complete,
        amount: price().amount(&usage()).unwrap(),
        payment: ReceiptPayment {
            method: PaymentMethod::Ticket,
            cumulative: Balance { due: Msat::new(3).unwrap(), paid: Msat::new(4).unwrap() },
            tickets: vec!["02ab".into()],
            released: vec![],
        },
        commitment: commitment(&hex::encode([9; 32]), &job_open().request_hash, &hex::encode([8; 32])),
        frames: 3,
        seq: 0,
        prev: EventId::all_zeros(),
    }
}

pub(crate) fn ack() -> ReceiptAck {
    ReceiptAck {
        receipt: sign(&receipt(), &keys().node),
        verdict: AckVerdict::Accepted,
        rating: Some(90),
        observed_ttft_ms: Some(330),
        observed_total_ms: Some(1_950),
        turned_away: vec![keys().inbox.public_key()],
        ticket_proof: Some(ticket_proof()),
    }
}

fn ticket_proof() -> String {
    let (keys, receipt) = (keys(), sign(&receipt(), &keys().node).id());
    let router = keys.router.public_key();
    ticket_proof::seal(&keys.ticket, &keys.session, &router, &receipt, &mut CountingEntropy(5)).unwrap()
}

pub(crate) fn summary() -> UsageSummary {
    UsageSummary {
        node: keys().node.public_key(),
        epoch: AT,
        epoch_seconds: 3_600,
        models: vec![ModelTotals {
            model: "smollm2-135m".into(),
            count: 1,
            input_tokens: 37,
            output_tokens: 12,
            amount: Msat::new(3).unwrap(),
            ttft_p50_ms: 330,
            ttft_p95_ms: 330,
        }],
        acknowledged: 1,
        disputed: 0,
        root: receipts_root(&[sign(&receipt(), &keys().node).id()]),
    }
}

pub(crate) fn assertion() -> TrustAssertion {
    TrustAssertion {
        node: keys().node.public_key(),
        rank: 61,
        dimensions: TrustDimensions {
            delivery_permille: 610,
            metering_permille: 900,
            price_permille: 950,
            identity_permille: Some(720),
        },
        evidence: Some(TrustEvidence {
            delivery: EvidenceWeights { good_milli: 8_200, bad_milli: 400 },
            identity: EvidenceWeights { good_milli: 0, bad_milli: 1_000 },
            ..TrustEvidence::default()
        }),
        receipts: 12,
    }
}

pub(crate) fn frames() -> Vec<(&'static str, SessionFrame)> {
    let keys = keys();
    let (sn, sc) = (keys.node_session.public_key(), keys.session.public_key());
    let sig = keys.node.sign_digest(accept_digest(job_id(), &sn, &sc), &mut CountingEntropy(8)).to_string();
    let to_client = |s, body| SessionFrame { job: job_id(), dir: Direction::ToClient, s, body };
    let to_node = |s, body| SessionFrame { job: job_id(), dir: Direction::ToNode, s, body };
    let balance = Balance { due: Msat::new(1).unwrap(), paid: Msat::new(4).unwrap() };
    let chunk = Chunk { data: "{\"index\":0,\"delta\":{\"content\":\"Red\"}}\n".into(), balance };
    let end = Final {
        usage: usage(),
        finish_reason: "stop".into(),
        output_sha256: hex::encode([8; 32]),
        receipt: sign(&receipt(), &keys.node),
    };
    let failure = Failure {
        refusal: Refusal::new(RefusalCode::Busy, "all slots are taken").retry_after(900),
        receipt: None,
    };
    let ack = Ack {
        below: 2,
        payment: Some(Payment { method: PaymentMethod::Ticket, tokens: vec!["cashuB...".into()] }),
    };
    vec![
        (
            "accept",
            to_client(
                0,
                FrameBody::Accept(Accept { node: keys.node.public_key(), sig, queue_ms: 0, balance }),
            ),
        ),
        ("chunk", to_client(1, FrameBody::Chunk(chunk))),
        ("ping", to_client(2, FrameBody::Ping)),
        ("pong", to_node(0, FrameBody::Pong)),
        ("cancel", to_node(0, FrameBody::Cancel)),
        ("error", to_client(0, FrameBody::Error(failure))),
        ("resume", to_node(0, FrameBody::Resume { from: 1 })),
        ("ack", to_node(0, FrameBody::Ack(ack))),
        ("final", to_client(2, FrameBody::Final(Box::new(end)))),
    ]
}
