//! `fedai doctor` on networks whose ailments are known.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod network;

use std::time::Duration;

use fedai_protocol::message::Message;
use fedai_protocol::{LoadPing, SigningKey, UnixSeconds};
use fedai_relay_bridge::{PoolOptions, RelayList, RelayPool, RelayRole, SystemEntropy, wall_clock};
use network::{World, json};
use serde_json::Value;

/// More than nobody has to care about, and less than a relay refuses by its own clock, in seconds.
const DIFFERENCE: u64 = 45;

/// The row of a check.
fn row(report: &Value, check: &str) -> (String, String) {
    let rows = report["checks"].as_array().unwrap();
    let row = rows.iter().find(|row| row["check"] == check).unwrap();
    (row["status"].as_str().unwrap().to_owned(), row["detail"].as_str().unwrap().to_owned())
}

/// Nobody changes this machine's clock for a test: here it is everybody else's that is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_differs_is_seen_also_where_every_announcement_seems_to_be_over() {
    let mut world = World::new();
    let relay = world.relay("relay");
    let pool = RelayPool::connect(RelayList::single(&relay).unwrap(), PoolOptions::default());
    pool.wait_ready(RelayRole::Control, Duration::from_secs(10)).await.unwrap();
    let mut doctor = world.client(&[&relay], &["doctor", "--json"]);
    let mut report = tokio::task::spawn_blocking(move || doctor.output().unwrap());
    let key = SigningKey::generate(&mut SystemEntropy);
    let output = loop {
        let ping =
            LoadPing { node: "late".into(), load_permille: 0, running: 0, queued: 0, slots: 1, wait_ms: 0 };
        let there = UnixSeconds(wall_clock::now_seconds().0 - DIFFERENCE);
        let draft = ping.draft(&key.public_key(), there).unwrap();
        pool.publish_ephemeral(key.sign(draft, &mut SystemEntropy), RelayRole::Control);
        if let Ok(output) = tokio::time::timeout(Duration::from_millis(1_100), &mut report).await {
            break output.unwrap();
        }
    };
    pool.shutdown().await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    network::schema::validate("doctor", &report);
    let (status, detail) = row(&report, "clock");
    assert_eq!(status, "warn", "{report}");
    assert!(detail.starts_with("this clock is 4") && detail.contains("s ahead of"), "{detail}");
    assert_eq!(output.status.code(), Some(5), "and nobody is announced");
}

#[test]
fn routers_are_asked_and_their_clock_is_known_at_once() {
    let mut world = World::new();
    let relay = world.relay("relay");
    world.router(&[&relay]);
    world.node("node", &[&relay], "mock://local?tokens=4&token_ms=1&prefill_ms=1&slots=2");
    world.wait_for_nodes(&[&relay], 1);
    let report = json(&world.client(&[&relay], &["doctor", "--json"]).output().unwrap());
    let (status, detail) = row(&report, "clock");
    assert!(status == "pass" && detail.contains("s apart from the only one that was heard"), "{detail}");
    assert_eq!(row(&report, "routers").0, "pass");
    world.signal("router", "-STOP");
    let output = world.client(&[&relay], &["doctor", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (status, detail) = row(&report, "routers");
    assert_eq!((status.as_str(), output.status.code()), ("fail", Some(124)), "{report}");
    assert!(detail.contains("did not answer in 4 s"), "{detail}");
}
