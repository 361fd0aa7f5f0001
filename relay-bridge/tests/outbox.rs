//! The durable outbox: k of n relays, one of them down or lying, and a restart in between.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fedai_protocol::event_kinds::{NODE_DESCRIPTOR, RECEIPT};
use fedai_relay_bridge::{Faults, MemoryRelay, PoolOptions, PublishOutbox, RelayList, RelayPool, wall_clock};
use support::{event, event_at, eventually, in_time, key};

const URLS: [&str; 3] = ["ws://relay-a", "ws://relay-b", "ws://relay-c"];

/// Time for an attempt that is to succeed.
const AMPLE: Duration = Duration::from_secs(10);

fn pool(
    relays: &[MemoryRelay; 3],
    min_acks: usize,
    outbox: Option<&Path>,
    publish_timeout: Duration,
) -> (RelayPool, Option<Arc<PublishOutbox>>) {
    let mut list = RelayList::from_urls(&URLS.map(str::to_owned)).unwrap();
    list.policy.min_acks = min_acks;
    list.policy.publish_timeout = publish_timeout;
    let named: Vec<(&str, &MemoryRelay)> = URLS.into_iter().zip(relays).collect();
    let outbox = outbox.map(|dir| Arc::new(PublishOutbox::open(dir).unwrap()));
    let options = PoolOptions { outbox: outbox.clone(), ..PoolOptions::memory(&named) };
    (RelayPool::connect(list, options), outbox)
}

fn relays() -> [MemoryRelay; 3] {
    [MemoryRelay::new(), MemoryRelay::new(), MemoryRelay::new()]
}

#[tokio::test]
async fn two_of_three_are_enough_while_one_loses_everything() {
    let relays = relays();
    relays[0].set_faults(Faults { drop_every: Some(1), ..Faults::default() });
    let (pool, _) = pool(&relays, 2, None, AMPLE);
    for n in 0..20 {
        let outcome =
            in_time("published", pool.publish_stored(event(&key(), RECEIPT, &[], &n.to_string()))).await;
        assert!(outcome.is_durable() && outcome.acks == 2, "{outcome:?}");
    }
    assert_eq!((relays[1].events().await.len(), relays[2].events().await.len()), (20, 20));
}

#[tokio::test]
async fn what_one_relay_too_few_took_is_finished_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let relays = relays();
    relays[1].set_down(true);
    relays[2].set_down(true);
    let receipt = event(&key(), RECEIPT, &[], "owed");
    // Time for one relay to take it, and over before the outbox sends it again.
    let (first, outbox) = pool(&relays, 2, Some(dir.path()), Duration::from_secs(1));
    let outcome = in_time("first attempt", first.publish_stored(receipt.clone())).await;
    assert_eq!((outcome.acks, outcome.wanted, outcome.queued), (1, 2, true));
    assert_eq!(outbox.unwrap().len(), 1);
    first.shutdown().await;
    drop(first);
    relays[2].set_down(false);
    let (second, outbox) = pool(&relays, 2, Some(dir.path()), AMPLE);
    let outbox = outbox.unwrap();
    eventually("the second acknowledgement", || outbox.is_empty()).await;
    assert_eq!(relays[2].events().await, std::slice::from_ref(&receipt));
    assert_eq!(relays[0].seen().len(), 1, "a relay that took it is not asked again");
    second.shutdown().await;
    drop((second, outbox));
    eventually("settled on disk", || PublishOutbox::open(dir.path()).unwrap().is_empty()).await;
}

#[tokio::test]
async fn what_its_author_keeps_is_written_only_while_it_is_owed_and_goes_out_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let journal_bytes = || {
        let files = std::fs::read_dir(dir.path()).unwrap().flatten();
        files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum::<u64>()
    };
    let relays = relays();
    let (first, outbox) = pool(&relays, 2, Some(dir.path()), Duration::from_secs(1));
    let outbox = outbox.unwrap();
    let empty = journal_bytes();
    first.publish_kept_in_background(event(&key(), RECEIPT, &[], "taken at once"));
    eventually("two relays have it", || outbox.is_empty()).await;
    assert_eq!(journal_bytes(), empty);
    relays.iter().for_each(|relay| relay.set_down(true));
    let receipt = event(&key(), RECEIPT, &[], "owed");
    first.publish_kept_in_background(receipt.clone());
    eventually("written", || journal_bytes() > empty).await;
    // As after a kill: nothing more is written.
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap().flatten() {
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    first.shutdown().await;
    relays.iter().for_each(|relay| relay.set_down(false));
    let (second, outbox) = pool(&relays, 2, Some(copy.path()), AMPLE);
    let outbox = outbox.unwrap();
    eventually("two relays have it", || outbox.is_empty()).await;
    let mut having = 0;
    for relay in &relays {
        having += usize::from(relay.events().await.contains(&receipt));
    }
    assert!(having >= 2);
    second.shutdown().await;
}

#[tokio::test]
async fn an_event_that_expires_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let relays = relays();
    relays.iter().for_each(|relay| relay.set_down(true));
    let (pool, outbox) = pool(&relays, 1, Some(dir.path()), Duration::from_millis(300));
    let outbox = outbox.unwrap();
    let now = wall_clock::now_seconds();
    let lease = event(&key(), NODE_DESCRIPTOR, &[&["d", "a"], &["expiration", &now.plus(1).to_string()]], "");
    let outcome = pool.publish_stored(lease).await;
    assert_eq!((outcome.acks, outcome.queued, outbox.len()), (0, true, 1));
    eventually("given up", || outbox.is_empty()).await;
}

#[tokio::test]
async fn refusals_are_told_from_what_is_as_good_as_ok() {
    let relays = relays();
    let (pool, _) = pool(&relays, 3, None, AMPLE);
    let author = key();
    let now = wall_clock::now_seconds();
    let version =
        |ago, content: &str| event_at(&author, NODE_DESCRIPTOR, &[&["d", "a"]], content, now.minus(ago));
    let newer = version(1, "newer");
    assert_eq!(pool.publish_stored(newer.clone()).await.acks, 3);
    assert_eq!(pool.publish_stored(newer).await.acks, 3, "duplicate");
    assert_eq!(pool.publish_stored(version(5, "older")).await.acks, 3, "replaced");
    let future = event_at(&author, RECEIPT, &[], "", now.plus(100_000));
    let outcome = pool.publish_stored(future).await;
    assert_eq!((outcome.acks, outcome.rejected.len()), (0, 3));
    assert!(outcome.rejected[0].1.contains("future"), "{outcome:?}");
    assert_eq!(pool.clock_skew().refusals, 3);
}

#[tokio::test]
async fn a_relay_that_says_ok_and_loses_it_is_outvoted_only_by_more_relays() {
    let relays = relays();
    relays[0].set_faults(Faults { drop_every: Some(1), lying_ok: true, ..Faults::default() });
    let (pool, _) = pool(&relays, 2, None, AMPLE);
    pool.wait_ready(fedai_relay_bridge::RelayRole::Discovery, support::PATIENCE).await.unwrap();
    eventually("all are up", || pool.connected(fedai_relay_bridge::RelayRole::Discovery) == 3).await;
    let receipt = event(&key(), RECEIPT, &[], "x");
    assert!(pool.publish_stored(receipt.clone()).await.is_durable());
    in_time("an honest relay has it", async {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        while relays[1].events().await != [receipt.clone()] || relays[2].events().await != [receipt.clone()] {
            tick.tick().await;
        }
    })
    .await;
    assert!(relays[0].events().await.is_empty());
}
