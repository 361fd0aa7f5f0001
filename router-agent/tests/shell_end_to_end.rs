//! The whole router over a relay in memory: announcements in, a sealed quote out, receipts counted, clean stop, and the
//! same state after a restart.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use std::path::Path;
use std::time::Duration;

use fedai_protocol::event_kinds::{QUOTE, QUOTE_REQUEST, ROUTER_PROFILE, TRUST_ASSERTION, USAGE_SUMMARY};
use fedai_protocol::limits::EPHEMERAL_AGE_SECONDS_MAX;
use fedai_protocol::message::{Draft, Message, body_json};
use fedai_protocol::quote::QuoteOutcome;
use fedai_protocol::quote_request::Mode;
use fedai_protocol::receipt_ack::AckVerdict;
use fedai_protocol::sealed_session::Conversation;
use fedai_protocol::trust_assertion::{EvidenceWeights, TrustDimensions, TrustEvidence};
use fedai_protocol::{
    Dispatch, EventId, PublicKey, QuoteReply, QuoteRequest, RefusalCode, RouterProfile, SigningKey,
    TrustAssertion, UnixSeconds, UsageSummary, VerifiedEvent, ticket_proof,
};
use fedai_relay_bridge::{
    MemoryRelay, PoolOptions, RelayList, RelayPool, RelayRole, SystemEntropy, filters, wall_clock,
};
use fedai_router_agent::shell::data_files::{Heartbeat, StatusFile, heartbeat_path, read, status_path};
use fedai_router_agent::shell::decision_log;
use fedai_router_agent::{RouterConfig, RouterReady, RunError, run_with};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use world::{Node, ack_with, key, receipt, request, sign};

const RELAY: &str = "ws://relay.test";
const WAIT: Duration = Duration::from_secs(20);

struct Running {
    ready: RouterReady,
    stop: CancellationToken,
    task: JoinHandle<Result<(), RunError>>,
}

async fn start(data: &Path, relay: &MemoryRelay) -> Running {
    let mut config = RouterConfig::new(data.to_owned(), RelayList::single(RELAY).unwrap());
    config.settings.summary_seconds = 1;
    config.settings.follow = [(key(60).public_key(), 1.0)].into();
    config.metrics_file = Some(data.join("metrics.txt"));
    let stop = CancellationToken::new();
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let options = PoolOptions::memory(&[(RELAY, relay)]);
    let task = tokio::spawn(run_with(config, options, stop.clone(), ready));
    let ready = tokio::time::timeout(WAIT, is_ready).await.unwrap().unwrap();
    Running { ready, stop, task }
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(WAIT, self.task).await.unwrap().unwrap().unwrap();
    }
}

fn pool(relay: &MemoryRelay) -> RelayPool {
    RelayPool::connect(RelayList::single(RELAY).unwrap(), PoolOptions::memory(&[(RELAY, relay)]))
}

/// A node whose announcements are fresh by the real clock.
fn node(n: u64, now: UnixSeconds) -> Node {
    let key = key(n);
    let name = format!("node-{n}");
    let descriptor = sign(&world::descriptor(&name, now.plus(900)), &key, now);
    let offer = sign(&world::offer(&name, fedai_protocol::Price::FREE), &key, now);
    Node { key, descriptor, offer }
}

async fn profile(pool: &RelayPool, router: &RouterReady) -> RouterProfile {
    let mut profiles =
        pool.subscribe(RelayRole::Discovery, vec![filters::of_author(ROUTER_PROFILE, router.public_key)]);
    loop {
        let event = tokio::time::timeout(WAIT, profiles.recv()).await.unwrap().unwrap();
        let profile = RouterProfile::parse(&event).unwrap().message;
        if profile.nodes > 0 {
            return profile;
        }
    }
}

/// Asks as a client does: sealed to the router's session key, from a fresh key.
async fn ask(
    pool: &RelayPool,
    router: &RouterReady,
    profile: &RouterProfile,
    ticket: &SigningKey,
    request: QuoteRequest,
) -> (VerifiedEvent, QuoteReply) {
    let now = wall_clock::now_seconds();
    let request = QuoteRequest { router: Some(router.public_key), expires_at: now.plus(30), ..request };
    let conversation = Conversation::derive(ticket, &profile.session).unwrap();
    let content = conversation.seal(&body_json(&request).unwrap(), &mut SystemEntropy).unwrap();
    let tags = request.tags(&ticket.public_key());
    let draft = Draft::new(QUOTE_REQUEST, tags, content, now);
    let event = ticket.sign(draft, &mut SystemEntropy);
    let filter = filters::of_kinds_to(&[QUOTE], [ticket.public_key()]);
    let mut replies = pool.ask(RelayRole::Control, event, filter, WAIT).await;
    let reply = replies.next().await.expect("a reply in time");
    assert_eq!(reply.author(), router.public_key);
    let body = conversation.open(reply.content()).unwrap();
    let parsed = QuoteReply::parse_body(&reply, &body).unwrap().message;
    (reply, parsed)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let mut again = tokio::time::interval(Duration::from_millis(50));
    let waited = tokio::time::timeout(WAIT, async {
        while !holds() {
            again.tick().await;
        }
    });
    assert!(waited.await.is_ok(), "in vain: {what}");
}

/// The first summary in which a client has acknowledged a receipt.
async fn acknowledged(pool: &RelayPool, router: &RouterReady) -> UsageSummary {
    let mut counted = pool.subscribe(
        RelayRole::Discovery,
        vec![
            filters::of_author(USAGE_SUMMARY, router.public_key),
            filters::of_author(TRUST_ASSERTION, router.public_key),
        ],
    );
    loop {
        let event = tokio::time::timeout(WAIT, counted.recv()).await.unwrap().unwrap();
        if event.kind() == USAGE_SUMMARY {
            let summary = UsageSummary::parse(&event).unwrap().message;
            if summary.acknowledged == 1 {
                return summary;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_request_gets_a_sealed_quote_and_its_receipt_is_counted() {
    let (dir, relay) = (tempfile::tempdir().unwrap(), MemoryRelay::new());
    let router = start(dir.path(), &relay).await;
    let pool = pool(&relay);
    pool.wait_ready(RelayRole::Control, WAIT).await.unwrap();
    let now = wall_clock::now_seconds();
    let node = node(1, now);
    pool.publish_stored(node.descriptor.clone()).await;
    pool.publish_stored(node.offer.clone()).await;
    let profile = profile(&pool, &router.ready).await;
    assert_eq!(profile.models, vec![world::MODEL]);

    let ticket_key = SigningKey::generate(&mut SystemEntropy);
    let (event, reply) = ask(&pool, &router.ready, &profile, &ticket_key, request(Mode::Balanced)).await;
    assert!(!event.content().contains("nodes"), "sealed");
    let QuoteOutcome::Quote(quote) = reply.outcome else { panic!("a quote, not {:?}", reply.outcome) };
    assert_eq!(quote.check_nodes(now).unwrap()[0].node, node.id());
    assert_eq!(quote.decision, quote.record.as_ref().unwrap().digest());
    let ticket = quote.dispatch.clone().unwrap();
    let dispatch = Dispatch::parse(&ticket).unwrap();
    assert_eq!(
        (dispatch.author, dispatch.message.client),
        (router.ready.public_key, ticket_key.public_key())
    );

    let mut unknown = request(Mode::Balanced);
    unknown.wanted.model = Some("nobody-has-it".into());
    let (_, reply) = ask(&pool, &router.ready, &profile, &key(31), unknown).await;
    assert!(
        matches!(reply.outcome, QuoteOutcome::Refusal(refusal) if refusal.code == RefusalCode::UnknownModel)
    );

    let client = SigningKey::generate(&mut SystemEntropy);
    let receipt = receipt(&node, &ticket, client.public_key(), 0, EventId::all_zeros(), now);
    let receipt = sign(&receipt, &node.key, now);
    pool.publish_stored(receipt.clone()).await;
    let proof = ticket_proof::seal(&ticket_key, &client, &profile.session, &receipt.id(), &mut SystemEntropy);
    pool.publish_stored(ack_with(&receipt, &client, AckVerdict::Accepted, now, proof.ok())).await;
    let summary = acknowledged(&pool, &router.ready).await;
    assert_eq!((summary.node, summary.models[0].count), (node.id(), 1));

    let read_status = || read::<StatusFile>(&status_path(dir.path()));
    until("the status shows the receipt", || read_status().is_ok_and(|s| s.router.receipts == 1)).await;
    assert!(read::<Heartbeat>(&heartbeat_path(dir.path())).unwrap().control_relays == 1);
    let public_key = router.ready.public_key;
    router.stop().await;
    let metrics = std::fs::read_to_string(dir.path().join("metrics.txt")).unwrap();
    assert!(
        metrics.contains("fed_router_decisions_total{outcome=\"chosen\",mode=\"balanced\"} 1"),
        "{metrics}"
    );
    let farewell = relay.seen().into_iter().rfind(|event| event.kind() == ROUTER_PROFILE).unwrap();
    let farewell = RouterProfile::parse(&farewell).unwrap().message;
    assert!(farewell.nodes == 0 && farewell.expires_at <= wall_clock::now_seconds().plus(5));
    let (decisions, unreadable) = decision_log::read_all(dir.path()).unwrap();
    assert_eq!((decisions.len(), unreadable), (1, 0));
    assert_eq!(decisions[0].replay(), fedai_router_agent::core::decision_entry::Replayed::Same);

    restarted(dir.path(), &relay, &pool, public_key, &node, &receipt, &ticket).await;
}

/// After a restart: the same key, the ticket and the receipt are known, and a second receipt under the used-up
/// ticket is evidence.
async fn restarted(
    data: &Path,
    relay: &MemoryRelay,
    pool: &RelayPool,
    router: PublicKey,
    node: &Node,
    first: &VerifiedEvent,
    ticket: &VerifiedEvent,
) {
    let read_status = || read::<StatusFile>(&status_path(data));
    let again = start(data, relay).await;
    assert_eq!(again.ready.public_key, router);
    until("the journal is read back", || {
        read_status()
            .is_ok_and(|s| s.router.tickets == 1 && s.router.receipts == 1 && s.router.nodes.len() == 1)
    })
    .await;
    let now = wall_clock::now_seconds();
    let rank = || read_status().map_or(0, |s| s.router.nodes[0].rank);
    let all = EvidenceWeights { good_milli: 50_000, bad_milli: 0 };
    let praise = TrustAssertion {
        node: node.id(),
        rank: 90,
        dimensions: TrustDimensions::default(),
        evidence: Some(TrustEvidence { delivery: all, metering: all, price: all, identity: all }),
        receipts: 50,
    };
    assert!(rank() < 10);
    pool.publish_stored(sign(&praise, &key(61), now)).await;
    pool.publish_stored(sign(&praise, &key(60), now)).await;
    until("the word of a followed reporter counts", || rank() > 40).await;
    let second = receipt(node, ticket, key(32).public_key(), 1, first.id(), now);
    pool.publish_stored(sign(&second, &node.key, now)).await;
    until("the breach is seen", || read_status().is_ok_and(|s| s.router.nodes[0].breaches == 1)).await;
    until("one proof caps the rank, whatever others say", || rank() <= 25).await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_request_gets_a_plain_quote() {
    let (dir, relay) = (tempfile::tempdir().unwrap(), MemoryRelay::new());
    let pool = pool(&relay);
    let now = wall_clock::now_seconds();
    let node = node(2, now);
    pool.wait_ready(RelayRole::Control, WAIT).await.unwrap();
    pool.publish_stored(node.descriptor.clone()).await;
    pool.publish_stored(node.offer.clone()).await;
    let router = start(dir.path(), &relay).await;
    profile(&pool, &router.ready).await;
    let ticket = SigningKey::generate(&mut SystemEntropy);
    let open = QuoteRequest { expires_at: now.plus(EPHEMERAL_AGE_SECONDS_MAX), ..request(Mode::Cheapest) };
    let event = sign(&open, &ticket, now);
    let filter = filters::of_kinds_to(&[QUOTE], [ticket.public_key()]);
    let mut replies = pool.ask(RelayRole::Control, event, filter, WAIT).await;
    let reply = QuoteReply::parse(&replies.next().await.unwrap()).unwrap().message;
    assert!(matches!(reply.outcome, QuoteOutcome::Quote(_)));
    router.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_routers_cannot_share_a_data_directory() {
    let (dir, relay) = (tempfile::tempdir().unwrap(), MemoryRelay::new());
    let first = start(dir.path(), &relay).await;
    let config = RouterConfig::new(dir.path().to_owned(), RelayList::single(RELAY).unwrap());
    let (ready, _) = tokio::sync::oneshot::channel();
    let options = PoolOptions::memory(&[(RELAY, &relay)]);
    let error = run_with(config, options, CancellationToken::new(), ready).await.unwrap_err();
    assert_eq!(error.exit_code(), 3);
    first.stop().await;
}
