//! The table of signatures, verifications and key agreements in docs/protocol.md, counted: a whole network in one
//! process, each party on threads of its own, and a count for each party around the cryptographic functions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod network;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use fedai_client::core::direct_way::DirectWish;
use fedai_client::shell::buyer::{Buyer, HeldTicket, RouterContact};
use fedai_client::shell::config::RouterWish;
use fedai_node_agent::shell::config::{GatewayChoice, runner_choice};
use fedai_node_agent::{NodeConfig, NodeReady};
use fedai_protocol::crypto_counts::{self, CryptoCounts, CryptoStep};
use fedai_protocol::event_kinds::{
    DISPATCH, EPHEMERAL_GIFT_WRAP, MODEL_OFFER, NODE_DESCRIPTOR, QUOTE, QUOTE_REQUEST, RECEIPT, RECEIPT_ACK,
    SEAL, SESSION_FRAME,
};
use fedai_relay_bridge::{DevRelay, DevRelayOptions, RelayList};
use fedai_router_agent::{RouterConfig, RouterReady};
use network::purchase::{Text, job};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);
/// Kinds of one job. What parties do besides, such as load pings, is not part of it.
const KINDS: [u16; 10] = [
    SEAL,
    EPHEMERAL_GIFT_WRAP,
    SESSION_FRAME,
    QUOTE_REQUEST,
    QUOTE,
    DISPATCH,
    RECEIPT,
    RECEIPT_ACK,
    NODE_DESCRIPTOR,
    MODEL_OFFER,
];

/// Threads that work for one party.
fn party(name: &'static str) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().on_thread_start(move || crypto_counts::work_for(name));
    builder.build().unwrap()
}

/// Runs this on the party's threads and waits for it.
fn wait<T: Send + 'static>(runtime: &Runtime, work: impl Future<Output = T> + Send + 'static) -> T {
    let task = runtime.spawn(work);
    runtime.block_on(task).unwrap()
}

/// One job's steps of one party: signatures, verifications, agreements, seals, openings.
fn steps(counts: &CryptoCounts, party: &str) -> [u64; 5] {
    let mut sums = [0; 5];
    for ((who, step), count) in counts.iter().filter(|((who, _), _)| *who == party) {
        let is_of_job = |kind: &Option<u16>| kind.is_none_or(|kind| KINDS.contains(&kind));
        let at = match step {
            CryptoStep::Sign(kind) if is_of_job(kind) => 0,
            CryptoStep::Verify(kind) if is_of_job(kind) => 1,
            CryptoStep::Agree => 2,
            CryptoStep::Seal => 3,
            CryptoStep::Open => 4,
            _ => continue,
        };
        assert_eq!(*who, party);
        sums[at] += count;
    }
    sums
}

struct Counted {
    counts: CryptoCounts,
    /// Frames of output.
    output: u64,
    held: HeldTicket,
}

/// One job, and all that it cost anybody.
fn count(
    client: &Runtime,
    buyer: &Buyer,
    contacts: &[RouterContact],
    held: Option<HeldTicket>,
    prompt: &'static str,
) -> Counted {
    drop(crypto_counts::take());
    let (buyer, contacts) = (buyer.clone(), contacts.to_vec());
    let bought = wait(client, async move {
        let (spec, cancel) = (job(prompt, 4, &contacts), CancellationToken::new());
        buyer.run(spec, &contacts, held, &mut Text::default(), &cancel).await.unwrap()
    });
    let mut counts = CryptoCounts::new();
    // The router reads receipt and acknowledgement after the job: it is counted when it has opened the proof.
    network::wait_for("the router's last step", || {
        for (key, count) in crypto_counts::take() {
            *counts.entry(key).or_insert(0) += count;
        }
        let of_router = |step| counts.get(&("router", step)).copied().unwrap_or(0);
        (of_router(CryptoStep::Verify(None)) >= 1).then_some(())
    });
    let frames = counts[&("node", CryptoStep::Sign(Some(SESSION_FRAME)))];
    Counted { counts, output: frames - 2, held: bought.held }
}

fn relay(runtime: &Runtime) -> DevRelay {
    wait(runtime, async {
        DevRelay::start(DevRelayOptions::on("127.0.0.1:0".parse().unwrap())).await.unwrap()
    })
}

fn router(runtime: &Runtime, folder: &Path, relays: RelayList, stop: CancellationToken) {
    let mut config = RouterConfig::new(folder.join("router"), relays);
    config.settings.summary_seconds = 3_600;
    let (tell, ready) = oneshot::channel::<RouterReady>();
    runtime.spawn(async move { fedai_router_agent::run(config, stop, tell).await.unwrap() });
    wait(runtime, async { tokio::time::timeout(PATIENCE, ready).await.unwrap().unwrap() });
}

fn node(runtime: &Runtime, folder: &Path, relays: RelayList, stop: CancellationToken) {
    let runner = runner_choice("mock://local?tokens=4&token_ms=0&prefill_ms=0", None, Vec::new());
    let mut config = NodeConfig::new(folder.join("node"), relays, runner);
    config.allow_private_relays = true;
    config.gateway = Some(GatewayChoice { listen: "127.0.0.1:0".parse().unwrap(), url: None });
    let (tell, ready) = oneshot::channel::<NodeReady>();
    runtime.spawn(async move { fedai_node_agent::run(config, stop, tell).await.unwrap() });
    wait(runtime, async { tokio::time::timeout(PATIENCE, ready).await.unwrap().unwrap() });
}

#[test]
fn the_documented_costs_are_the_counted_ones() {
    let folder = tempfile::tempdir().unwrap();
    let [at_relay, at_router, at_node, at_client] = ["relay", "router", "node", "client"].map(party);
    let stop = CancellationToken::new();
    let relay = relay(&at_relay);
    let relays = RelayList::single(relay.url()).unwrap();
    router(&at_router, folder.path(), relays.clone(), stop.clone());
    node(&at_node, folder.path(), relays.clone(), stop.clone());
    let data = folder.path().join("client");
    let (buyer, contacts) = wait(&at_client, async move {
        let buyer = Buyer::connect(relays, &data, PATIENCE).await.unwrap();
        let contacts = buyer.routers(RouterWish::Any, Duration::from_secs(5)).await;
        (buyer, contacts)
    });
    crypto_counts::begin();
    for wish in [DirectWish::Never, DirectWish::Auto] {
        let buyer = buyer.clone().going(wish);
        drop(count(&at_client, &buyer, &contacts, None, "before"));
        let cold = count(&at_client, &buyer, &contacts, None, "cold");
        let c = cold.output;
        let expected = |rows: [(&'static str, [u64; 5]); 3]| BTreeMap::from(rows);
        let found = |counts: &CryptoCounts| {
            ["client", "router", "node"].map(|party| (party, steps(counts, party))).into_iter().collect()
        };
        let got: BTreeMap<&str, [u64; 5]> = found(&cold.counts);
        let want = expected([
            ("client", [5, 8 + c, 8, 4, 4 + c]),
            ("router", [2, 5, 2, 1, 2]),
            ("node", [4 + c, 3, 3, 2 + c, 2]),
        ]);
        assert_eq!(got, want, "cold, {wish:?}, {c} frames of output: {:#?}", cold.counts);
        let warm = count(&at_client, &buyer, &contacts, Some(cold.held), "warm");
        let c = warm.output;
        let got: BTreeMap<&str, [u64; 5]> = found(&warm.counts);
        let want = expected([
            ("client", [4, 4 + c, 4, 3, 3 + c]),
            ("router", [0, 4, 1, 0, 1]),
            ("node", [4 + c, 2, 2, 2 + c, 2]),
        ]);
        assert_eq!(got, want, "warm, {wish:?}, {c} frames of output: {:#?}", warm.counts);
        let by_relay = steps(&warm.counts, "relay")[1];
        let passed = if wish == DirectWish::Never { 2 + 1 + 2 + c } else { 2 };
        assert_eq!(by_relay, passed, "a relay verifies what passes it, once");
    }
    stop.cancel();
}
