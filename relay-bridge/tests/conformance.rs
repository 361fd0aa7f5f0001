//! One suite for every connection and every relay: memory, our own client and nostr-sdk against the dev relay, and
//! both clients against the stock relay of nostr-relay-builder, which is not ours and therefore an outside anchor.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use fedai_protocol::event_kinds::{MODEL_OFFER, RECEIPT, SESSION_FRAME};
use fedai_protocol::limits::RELAY_SUBSCRIPTIONS_ALONE_MAX;
use fedai_relay_bridge::connection::{Connector, OpenRequest, RelayConnection};
use fedai_relay_bridge::sdk_connection::SdkConnection;
use fedai_relay_bridge::stream_connection::StreamConnection;
use fedai_relay_bridge::{
    Filter, MemoryRelay, PoolOptions, RelayList, RelayPool, RelayRole, filters, newest_per_address,
    wall_clock,
};
use nostr_relay_builder::builder::RateLimit;
use nostr_relay_builder::{LocalRelay, RelayBuilder};
use support::{PATIENCE, event, event_at, in_time, key, tagged_to};

struct Only(fn(OpenRequest) -> Arc<dyn RelayConnection>);

impl Connector for Only {
    fn open(&self, request: OpenRequest) -> Arc<dyn RelayConnection> {
        (self.0)(request)
    }
}

fn over(client: fn(OpenRequest) -> Arc<dyn RelayConnection>) -> PoolOptions {
    PoolOptions { connector: Some(Arc::new(Only(client))), ..PoolOptions::default() }
}

fn stream(request: OpenRequest) -> Arc<dyn RelayConnection> {
    Arc::new(StreamConnection::new(request))
}

fn sdk(request: OpenRequest) -> Arc<dyn RelayConnection> {
    Arc::new(SdkConnection::new(request))
}

async fn suite(url: &str, options: impl Fn() -> PoolOptions) {
    let pool = || RelayPool::connect(RelayList::single(url).unwrap(), options());
    let (one, two) = (pool(), pool());
    for role in RelayRole::ALL {
        one.wait_ready(role, PATIENCE).await.unwrap();
        two.wait_ready(role, PATIENCE).await.unwrap();
    }
    ephemeral_events_reach_who_asked(&one, &two).await;
    stored_events_are_found_by_tag_and_replaced(&one, &two).await;
    an_update_adds_a_key_without_losing_another(&one, &two).await;
    those_who_share_a_subscription_hear_their_own(&one, &two).await;
    a_question_is_answered(&one, &two).await;
    a_duplicate_comes_once(&one, &two).await;
    more_than_a_relay_gives_at_once_is_fetched(&one, &two).await;
    let kept_out = two.drops();
    assert_eq!((kept_out.bad_signature, kept_out.stale, kept_out.slow_consumer), (0, 0, 0), "{kept_out:?}");
    one.shutdown().await;
    two.shutdown().await;
}

async fn ephemeral_events_reach_who_asked(one: &RelayPool, two: &RelayPool) {
    let (author, reader, stranger) = (key(), key(), key());
    let mut frames =
        two.subscribe(RelayRole::Stream, vec![filters::of_kinds_to(&[SESSION_FRAME], [reader.public_key()])]);
    assert_eq!(frames.ready(PATIENCE).await, 1);
    let for_stranger = tagged_to(&author, SESSION_FRAME, &stranger, "not for you");
    assert_eq!(one.publish_ephemeral(for_stranger, RelayRole::Stream), 1);
    for n in 0..50 {
        one.publish_ephemeral(tagged_to(&author, SESSION_FRAME, &reader, &n.to_string()), RelayRole::Stream);
    }
    for n in 0..50 {
        let frame = in_time("frame", frames.recv()).await.unwrap();
        assert_eq!(frame.content(), n.to_string());
    }
    assert!(frames.try_recv().is_none());
    assert_eq!(frames.gaps(), 0);
}

async fn stored_events_are_found_by_tag_and_replaced(one: &RelayPool, two: &RelayPool) {
    let author = key();
    let now = wall_clock::now_seconds();
    let offer = |content: &str, ago, price: &str| {
        event_at(&author, MODEL_OFFER, &[&["d", "m"], &["b", price], &["m", "tiny"]], content, now.minus(ago))
    };
    for (content, ago) in [("old", 10), ("new", 5)] {
        let outcome = one.publish_stored(offer(content, ago, "out<=5")).await;
        assert_eq!((outcome.acks, outcome.wanted), (1, 1), "{outcome:?}");
    }
    one.publish_stored(offer("late and old", 20, "out<=5")).await;
    let cheap = filters::with_tag(filters::of_author(MODEL_OFFER, author.public_key()), 'b', ["out<=5"]);
    let found = two.fetch(RelayRole::Discovery, vec![cheap.clone()], PATIENCE).await;
    let found = newest_per_address(found);
    assert_eq!(found.iter().map(|event| event.content()).collect::<Vec<_>>(), ["new"]);
    let dear = filters::with_tag(filters::of_author(MODEL_OFFER, author.public_key()), 'b', ["out<=1"]);
    assert!(two.fetch(RelayRole::Discovery, vec![dear], PATIENCE).await.is_empty());
    let mut live = two.subscribe(RelayRole::Discovery, vec![cheap]);
    assert_eq!(in_time("stored", live.recv()).await.unwrap().content(), "new");
    one.publish_stored(offer("newest", 0, "out<=5")).await;
    assert_eq!(in_time("live", live.recv()).await.unwrap().content(), "newest");
}

async fn an_update_adds_a_key_without_losing_another(one: &RelayPool, two: &RelayPool) {
    let (author, first, second) = (key(), key(), key());
    let to = |keys: &[&fedai_protocol::SigningKey]| {
        vec![filters::of_kinds_to(&[SESSION_FRAME], keys.iter().map(|key| key.public_key()))]
    };
    let mut frames = two.subscribe(RelayRole::Stream, to(&[&first]));
    frames.ready(PATIENCE).await;
    one.publish_ephemeral(tagged_to(&author, SESSION_FRAME, &first, "1"), RelayRole::Stream);
    frames.update(to(&[&first, &second]));
    one.publish_ephemeral(tagged_to(&author, SESSION_FRAME, &first, "2"), RelayRole::Stream);
    assert_eq!(frames.ready(PATIENCE).await, 1);
    one.publish_ephemeral(tagged_to(&author, SESSION_FRAME, &second, "3"), RelayRole::Stream);
    for expected in ["1", "2", "3"] {
        assert_eq!(in_time("frame", frames.recv()).await.unwrap().content(), expected);
    }
}

async fn those_who_share_a_subscription_hear_their_own(one: &RelayPool, two: &RelayPool) {
    let author = key();
    let mut all: Vec<_> = (0..2 * RELAY_SUBSCRIPTIONS_ALONE_MAX)
        .map(|_| {
            let reader = key();
            let to_reader = vec![filters::of_kinds_to(&[SESSION_FRAME], [reader.public_key()])];
            (two.subscribe(RelayRole::Stream, to_reader), reader)
        })
        .collect();
    // One of those with an id of their own leaves, and one that shares.
    all.pop();
    all.remove(0);
    for (frames, reader) in &mut all {
        assert_eq!(frames.ready(PATIENCE).await, 1);
        let name = reader.public_key().to_hex();
        one.publish_ephemeral(tagged_to(&author, SESSION_FRAME, reader, &name), RelayRole::Stream);
        assert_eq!(in_time("frame", frames.recv()).await.unwrap().content(), name);
    }
}

async fn a_question_is_answered(one: &RelayPool, two: &RelayPool) {
    let (asker, answerer) = (key(), key());
    let mut questions =
        two.subscribe(RelayRole::Control, vec![filters::of_kinds_to(&[21_435], [answerer.public_key()])]);
    questions.ready(PATIENCE).await;
    let reply_filter = filters::of_kinds_to(&[21_436], [asker.public_key()]);
    let question = tagged_to(&asker, 21_435, &answerer, "how much?");
    let mut replies = one.ask(RelayRole::Control, question, reply_filter, PATIENCE).await;
    assert_eq!(replies.asked(), 1);
    assert_eq!(in_time("question", questions.recv()).await.unwrap().content(), "how much?");
    two.publish_ephemeral(tagged_to(&answerer, 21_436, &asker, "nothing"), RelayRole::Control);
    assert_eq!(replies.next().await.unwrap().content(), "nothing");
    let lonely = tagged_to(&asker, 21_435, &key(), "anyone?");
    let nobody = filters::of_kinds_to(&[21_436], [key().public_key()]);
    let mut none = one.ask(RelayRole::Control, lonely, nobody, Duration::from_millis(300)).await;
    assert!(none.next().await.is_none());
}

async fn a_duplicate_comes_once(one: &RelayPool, two: &RelayPool) {
    let (author, reader) = (key(), key());
    let mut frames =
        two.subscribe(RelayRole::Stream, vec![filters::of_kinds_to(&[SESSION_FRAME], [reader.public_key()])]);
    frames.ready(PATIENCE).await;
    let frame = tagged_to(&author, SESSION_FRAME, &reader, "same");
    for _ in 0..3 {
        one.publish_ephemeral(frame.clone(), RelayRole::Stream);
    }
    one.publish_ephemeral(tagged_to(&author, SESSION_FRAME, &reader, "end"), RelayRole::Stream);
    assert_eq!(in_time("frame", frames.recv()).await.unwrap().id(), frame.id());
    assert_eq!(in_time("frame", frames.recv()).await.unwrap().content(), "end");
}

async fn more_than_a_relay_gives_at_once_is_fetched(one: &RelayPool, two: &RelayPool) {
    let author = key();
    let now = wall_clock::now_seconds();
    for n in 0..620_u64 {
        let receipt = event_at(&author, RECEIPT, &[], &n.to_string(), now.minus(n));
        if n % 20 == 0 {
            assert!(one.publish_stored(receipt).await.is_durable());
        } else {
            one.publish_ephemeral(receipt, RelayRole::Discovery);
        }
    }
    let last = event(&author, RECEIPT, &[], "last");
    assert!(one.publish_stored(last).await.is_durable());
    let all = filters::of_author(RECEIPT, author.public_key());
    let found = two.fetch(RelayRole::Discovery, vec![all], PATIENCE).await;
    assert_eq!(found.len(), 621);
    let none = Filter::new().author(key().public_key());
    assert!(two.fetch(RelayRole::Discovery, vec![none], PATIENCE).await.is_empty());
}

async fn stock_relay() -> LocalRelay {
    let generous = RateLimit { max_reqs: 10_000, notes_per_minute: 1_000_000 };
    let relay = LocalRelay::new(RelayBuilder::default().rate_limit(generous));
    relay.run().await.unwrap();
    relay
}

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    let relay = MemoryRelay::new();
    suite("ws://memory", || PoolOptions::memory(&[("ws://memory", &relay)])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn own_client_on_dev_relay() {
    let relay = support::dev_relay().await;
    suite(relay.url(), || over(stream)).await;
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nostr_sdk_on_dev_relay() {
    let relay = support::dev_relay().await;
    suite(relay.url(), || over(sdk)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_as_chosen_by_role_on_dev_relay() {
    let relay = support::dev_relay().await;
    suite(relay.url(), PoolOptions::default).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn own_client_on_stock_relay() {
    let relay = stock_relay().await;
    suite(&relay.url().await.to_string(), || over(stream)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nostr_sdk_on_stock_relay() {
    let relay = stock_relay().await;
    suite(&relay.url().await.to_string(), || over(sdk)).await;
}
