//! More jobs at once than a relay allows subscriptions. Router and node are processes, relay and client are in this
//! one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod network;

use fedai_client::core::direct_way::DirectWish;
use fedai_protocol::event_kinds::QUOTE;
use fedai_protocol::{RefusalCode, SigningKey};
use fedai_relay_bridge::{
    DevRelay, DevRelayLimits, DevRelayOptions, RelayRole, Subscription, SystemEntropy, filters,
};
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

    // What is too many is refused at once, and only as long as it is.
    let own = SigningKey::generate(&mut SystemEntropy).public_key();
    let listen = || buyer.pool().subscribe(RelayRole::Control, vec![filters::of_kinds_to(&[QUOTE], [own])]);
    let mut others = vec![listen()];
    while others.last().is_some_and(Subscription::has_place) {
        others.push(listen());
    }
    for (others, code) in [(others, Some(RefusalCode::RateLimited)), (Vec::new(), None)] {
        let (mut text, cancel) = (Text::default(), CancellationToken::new());
        let bought = buyer.run(job("more", 1, &contacts), &contacts, None, &mut text, &cancel).await;
        assert_eq!(bought.err().map(|failure| failure.refusal.code), code);
        drop(others);
    }
    buyer.close().await;
    relay.shutdown().await;
}
