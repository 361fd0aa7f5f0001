//! What a relay gets to see of a job: throwaway keys and ciphertext, nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod network;

use std::time::Duration;

use fedai_protocol::event_kinds::{EPHEMERAL_GIFT_WRAP, QUOTE_REQUEST, SESSION_FRAME};
use fedai_relay_bridge::{PoolOptions, RelayList, RelayPool, RelayRole, filters};
use network::{World, expected_answer, json};

const CANARY: &str = "canary-51b0 whispers";

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_on_the_relay_sees_no_plaintext_and_no_identity_in_job_traffic() {
    let mut world = World::new();
    let relay = world.relay("relay");
    world.router(&[&relay]);
    world.node("node-a", &[&relay], "mock://local?tokens=9");
    world.wait_for_nodes(&[&relay], 1);
    let pool = RelayPool::connect(RelayList::single(&relay).unwrap(), PoolOptions::default());
    pool.wait_ready(RelayRole::Stream, Duration::from_secs(10)).await.unwrap();
    let kinds = [EPHEMERAL_GIFT_WRAP, SESSION_FRAME, QUOTE_REQUEST];
    let mut tap = pool.subscribe(RelayRole::Stream, vec![filters::of_kinds(&kinds)]);
    assert!(tap.ready(Duration::from_secs(10)).await > 0);
    let mut chat = world.client(&[&relay], &["chat", "--json", CANARY]);
    let output = tokio::task::spawn_blocking(move || chat.output().unwrap()).await.unwrap();
    let answer = json(&output);
    assert_eq!(answer["output"], expected_answer(CANARY, 9));
    let identities = [&answer["node"], &answer["router"]].map(|key| key.as_str().unwrap().to_owned());
    let mut seen = std::collections::BTreeMap::new();
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_secs(2), tap.recv()).await {
        *seen.entry(event.kind()).or_insert(0_u32) += 1;
        let whole = event.to_json();
        assert!(!whole.contains("canary") && !whole.contains("whispers"), "the prompt passes in the clear");
        for word in expected_answer(CANARY, 9).split_whitespace().filter(|word| word.is_ascii()) {
            assert!(
                !event.content().contains(&format!("{word} ")),
                "a word of the answer passes in the clear"
            );
        }
        if event.kind() != QUOTE_REQUEST {
            // A request may name the router that it is for; a job names nobody.
            for identity in &identities {
                assert!(!whole.contains(identity), "an identity key shows in kind {}", event.kind());
            }
        }
    }
    assert!(seen[&EPHEMERAL_GIFT_WRAP] >= 1 && seen[&SESSION_FRAME] >= 3, "{seen:?}");
    assert!(seen[&QUOTE_REQUEST] >= 1, "{seen:?}");
    pool.shutdown().await;
}
