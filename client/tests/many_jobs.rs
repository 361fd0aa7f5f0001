//! More jobs at once than a relay allows subscriptions. Router and node are processes, relay and client are in this
//! one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod network;

use fedai_client::core::direct_way::DirectWish;
use fedai_relay_bridge::{DevRelay, DevRelayLimits, DevRelayOptions};
use futures_util::future::join_all;
use network::purchase::{Text, buyer, job};
use network::{World, expected_answer};
use tokio_util::sync::CancellationToken;

const JOBS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn sixty_jobs_at_once_by_a_relay_that_allows_twenty_subscriptions() {
    let limits = DevRelayLimits { subscriptions: 20, ..DevRelayLimits::default() };
    let options = DevRelayOptions { limits, ..DevRelayOptions::on("127.0.0.1:0".parse().unwrap()) };
    let relay = DevRelay::start(options).await.unwrap();
    let mut world = World::new();
    world.router(&[relay.url()]);
    // Long enough for all of them to be under way at once.
    world.node("node-a", &[relay.url()], "mock://local?tokens=40&token_ms=50&slots=64");
    world.wait_for_nodes(&[relay.url()], 1);
    let (buyer, contacts) = buyer(&[relay.url()], &world.path().join("client"), DirectWish::Never).await;
    let jobs = (0..JOBS).map(async |number| {
        let (mut text, cancel) = (Text::default(), CancellationToken::new());
        let prompt = format!("prompt {number}");
        let bought = buyer.run(job(&prompt, 40, &contacts), &contacts, None, &mut text, &cancel).await;
        let bought = bought.unwrap_or_else(|failure| panic!("{number}: {:?}", failure.refusal));
        assert!(bought.answer.settlement.verdict.is_ok(), "{number}");
        assert_eq!(bought.answer.attempts.len(), 1, "{number}");
        assert_eq!(text.0, expected_answer(&prompt, 40));
    });
    join_all(jobs).await;
    buyer.close().await;
    relay.shutdown().await;
}
