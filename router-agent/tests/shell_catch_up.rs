//! A relay answers a question with one page: the router knows the nodes of all pages nevertheless.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use std::time::Duration;

use fedai_protocol::Price;
use fedai_relay_bridge::{
    DevRelay, DevRelayLimits, DevRelayOptions, PoolOptions, RelayList, RelayPool, RelayRole, wall_clock,
};
use fedai_router_agent::shell::data_files::{StatusFile, read, status_path};
use fedai_router_agent::{RouterConfig, run_with};
use tokio_util::sync::CancellationToken;
use world::{key, sign};

const WAIT: Duration = Duration::from_secs(30);
/// More than one page of the relay below.
const NODES: u64 = 130;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_beyond_the_first_page_of_a_relay_are_known() {
    let limits = DevRelayLimits { query_events: 100, ..DevRelayLimits::default() };
    let listen = "127.0.0.1:0".parse().unwrap();
    let relay = DevRelay::start(DevRelayOptions { limits, ..DevRelayOptions::on(listen) }).await.unwrap();
    let pool = RelayPool::connect(RelayList::single(relay.url()).unwrap(), PoolOptions::default());
    pool.wait_ready(RelayRole::Discovery, WAIT).await.unwrap();
    let now = wall_clock::now_seconds();
    for n in 0..NODES {
        let (key, name, at) = (key(n + 1), format!("node-{n}"), now.minus(n));
        pool.publish_stored(sign(&world::descriptor(&name, at.plus(900)), &key, at)).await;
        pool.publish_stored(sign(&world::offer(&name, Price::FREE), &key, at)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = RouterConfig::new(dir.path().to_owned(), RelayList::single(relay.url()).unwrap());
    let stop = CancellationToken::new();
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(run_with(config, PoolOptions::default(), stop.clone(), ready));
    tokio::time::timeout(WAIT, is_ready).await.unwrap().unwrap();
    let mut again = tokio::time::interval(Duration::from_millis(100));
    let mut known = 0;
    let all = tokio::time::timeout(WAIT, async {
        while known < NODES {
            again.tick().await;
            known = read::<StatusFile>(&status_path(dir.path())).map_or(0, |file| file.router.live_nodes);
        }
    });
    assert!(all.await.is_ok(), "only {known} of {NODES} nodes are known");
    stop.cancel();
    tokio::time::timeout(WAIT, task).await.unwrap().unwrap().unwrap();
    pool.shutdown().await;
    relay.shutdown().await;
}
