//! The pool against relays that drop, duplicate, go away, end subscriptions, forge, and lie.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fedai_protocol::event_kinds::{LOAD_PING, RECEIPT, SESSION_FRAME};
use fedai_protocol::limits::{RELAY_SHARED_SUBSCRIPTIONS_MAX, SUBSCRIPTION_EVENTS_MAX};
use fedai_protocol::{SigningKey, VerifiedEvent};
use fedai_relay_bridge::connection::{Connector, OpenRequest, RelayConnection};
use fedai_relay_bridge::memory_connection::MemoryConnection;
use fedai_relay_bridge::{
    AddRelayError, DevRelay, DevRelayLimits, DevRelayOptions, Faults, MemoryRelay, PoolOptions, RelayList,
    RelayPool, RelayRole, Subscription, filters, wall_clock,
};
use futures_util::{SinkExt, StreamExt};
use support::{PATIENCE, event, event_at, eventually, eventually_within, in_time, key, tagged_to};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

const A: &str = "ws://relay-a";
const B: &str = "ws://relay-b";

/// Connects to nothing, and notes how it was to connect.
#[derive(Default)]
struct Noting(Mutex<Vec<OpenRequest>>);

impl Connector for Noting {
    fn open(&self, request: OpenRequest) -> Arc<dyn RelayConnection> {
        self.0.lock().unwrap().push(request.clone());
        Arc::new(MemoryConnection::new(None))
    }
}

fn pool(relays: &[(&str, &MemoryRelay)]) -> RelayPool {
    let urls: Vec<String> = relays.iter().map(|(url, _)| (*url).to_owned()).collect();
    RelayPool::connect(RelayList::from_urls(&urls).unwrap(), PoolOptions::memory(relays))
}

#[tokio::test]
async fn one_event_from_two_relays_comes_once_and_one_relay_is_enough() {
    let (a, b) = (MemoryRelay::new(), MemoryRelay::new());
    let (one, two) = (pool(&[(A, &a), (B, &b)]), pool(&[(A, &a), (B, &b)]));
    let (author, reader) = (key(), key());
    let mut frames =
        two.subscribe(RelayRole::Stream, vec![filters::of_kinds_to(&[SESSION_FRAME], [reader.public_key()])]);
    eventually("both live", || one.connected(RelayRole::Stream) == 2 && frames.live_relays() == 2).await;
    a.set_faults(Faults { duplicate: 2, ..Faults::default() });
    for n in 0..20 {
        if n == 10 {
            b.set_down(true);
            eventually("b is gone", || one.connected(RelayRole::Stream) == 1).await;
        }
        assert!(
            one.publish_ephemeral(
                tagged_to(&author, SESSION_FRAME, &reader, &n.to_string()),
                RelayRole::Stream
            ) > 0
        );
        assert_eq!(in_time("frame", frames.recv()).await.unwrap().content(), n.to_string());
    }
    eventually("duplicates are counted", || two.drops().replay >= 40 + 9).await;
    assert!(frames.try_recv().is_none());
}

#[tokio::test]
async fn what_was_stored_while_away_is_caught_up_and_ephemerals_are_not_kept_for_later() {
    let relay = MemoryRelay::new();
    let (one, two) = (pool(&[(A, &relay)]), pool(&[(A, &relay)]));
    let author = key();
    let mut receipts =
        two.subscribe(RelayRole::Discovery, vec![filters::of_author(RECEIPT, author.public_key())]);
    assert_eq!(receipts.ready(PATIENCE).await, 1);
    one.wait_ready(RelayRole::Discovery, PATIENCE).await.unwrap();
    assert!(one.publish_stored(event(&author, RECEIPT, &[], "before")).await.is_durable());
    assert_eq!(in_time("before", receipts.recv()).await.unwrap().content(), "before");
    relay.set_down(true);
    eventually("both are cut off", || {
        one.connected(RelayRole::Stream) + two.connected(RelayRole::Discovery) == 0
    })
    .await;
    assert_eq!(one.publish_ephemeral(event(&author, LOAD_PING, &[], "lost"), RelayRole::Control), 0);
    let writer = one.clone();
    let meanwhile = event(&author, RECEIPT, &[], "meanwhile");
    let published = tokio::spawn(async move { writer.publish_stored(meanwhile).await });
    relay.set_down(false);
    assert!(in_time("published", published).await.unwrap().is_durable());
    assert_eq!(in_time("caught up", receipts.recv()).await.unwrap().content(), "meanwhile");
    assert!(relay.seen().iter().all(|event| event.kind() != LOAD_PING), "a stale event was sent late");
}

#[tokio::test]
async fn a_consumer_that_sleeps_sees_everything_up_to_the_limit_and_a_count_beyond() {
    let relay = MemoryRelay::new();
    // So many are signed and verified here that the first would be too old on a slow machine.
    let options = PoolOptions { check_time: false, ..PoolOptions::memory(&[(A, &relay)]) };
    let two = RelayPool::connect(RelayList::single(A).unwrap(), options);
    let author = key();
    let mut pings =
        two.subscribe(RelayRole::Control, vec![filters::of_author(LOAD_PING, author.public_key())]);
    assert_eq!(pings.ready(PATIENCE).await, 1);
    let beyond = 37;
    for n in 0..SUBSCRIPTION_EVENTS_MAX + beyond {
        relay.inject(&event(&author, LOAD_PING, &[], &n.to_string())).await;
    }
    let limit = Duration::from_secs(120);
    eventually_within(limit, "the gap is counted", || pings.gaps() == beyond as u64).await;
    assert_eq!(two.drops().slow_consumer, beyond as u64);
    for n in 0..SUBSCRIPTION_EVENTS_MAX {
        assert_eq!(pings.recv().await.unwrap().content(), n.to_string());
    }
    relay.inject(&event(&author, LOAD_PING, &[], "after")).await;
    assert_eq!(in_time("after", pings.recv()).await.unwrap().content(), "after");
}

#[tokio::test]
async fn expired_old_and_future_events_are_kept_out() {
    let relay = MemoryRelay::new();
    let two = pool(&[(A, &relay)]);
    let author = key();
    let mut pings =
        two.subscribe(RelayRole::Control, vec![filters::of_author(LOAD_PING, author.public_key())]);
    assert_eq!(pings.ready(PATIENCE).await, 1);
    let now = wall_clock::now_seconds();
    let past = now.minus(1).to_string();
    relay.inject(&event(&author, LOAD_PING, &[&["expiration", &past]], "expired")).await;
    relay.inject(&event_at(&author, LOAD_PING, &[], "future", now.plus(1_000))).await;
    relay.inject(&event_at(&author, LOAD_PING, &[], "old", now.minus(100))).await;
    relay.inject(&event(&author, LOAD_PING, &[], "good")).await;
    assert_eq!(in_time("good", pings.recv()).await.unwrap().content(), "good");
    let drops = two.drops();
    assert_eq!((drops.expired, drops.stale), (1, 2), "{drops:?}");
}

#[tokio::test]
async fn a_budget_holds_back_and_a_large_event_is_not_sent() {
    let relay = MemoryRelay::new();
    let mut list = RelayList::single(A).unwrap();
    list.relays[0].events_per_minute = Some(30);
    list.relays[0].max_event_bytes = 2_048;
    let one = RelayPool::connect(list, PoolOptions::memory(&[(A, &relay)]));
    one.wait_ready(RelayRole::Control, PATIENCE).await.unwrap();
    let author = key();
    // Signed first: signing takes long enough for the budget to grow meanwhile.
    let pings: Vec<VerifiedEvent> = (0..20).map(|n| event(&author, LOAD_PING, &[], &n.to_string())).collect();
    let sent: usize = pings.into_iter().map(|ping| one.publish_ephemeral(ping, RelayRole::Control)).sum();
    assert_eq!(sent, 5, "ten seconds' worth");
    let large = event(&author, RECEIPT, &[], &"x".repeat(2_048));
    let outcome = one.publish_stored(large).await;
    assert_eq!((outcome.acks, outcome.rejected.len()), (0, 1), "{outcome:?}");
    assert_eq!(one.status().iter().map(|status| status.over_budget).sum::<u64>(), 15);
}

#[tokio::test]
async fn a_relay_that_strangers_name_twice_is_no_relay_of_the_user() {
    let noting = Arc::new(Noting::default());
    let options = PoolOptions { connector: Some(noting.clone()), ..PoolOptions::default() };
    let mut own = RelayList::single("wss://own.example").unwrap();
    own.relays[0].roles = [RelayRole::Discovery].into();
    let pool = RelayPool::connect(own, options);
    for role in [RelayRole::Discovery, RelayRole::Control, RelayRole::Stream] {
        assert_eq!(pool.add_relay("wss://evil.example", &[role]), Ok(true));
    }
    assert_eq!(pool.add_relay("wss://own.example", &[RelayRole::Stream]), Ok(true));
    for request in noting.0.lock().unwrap().iter() {
        assert_eq!(request.public_only, request.address.host() == "evil.example", "{request:?}");
    }
}

#[tokio::test]
async fn announced_relays_may_not_lead_into_private_networks() {
    let relay = MemoryRelay::new();
    let one = pool(&[(A, &relay)]);
    for url in
        ["ws://127.0.0.1:1", "ws://localhost", "wss://10.0.0.1", "ws://[::1]:80", "ws://169.254.169.254"]
    {
        assert!(matches!(one.add_relay(url, &[RelayRole::Stream]), Err(AddRelayError::Private(_))), "{url}");
    }
    assert!(matches!(
        one.add_relay("http://a.example", &[RelayRole::Stream]),
        Err(AddRelayError::Address { .. })
    ));
    assert_eq!(one.add_relay(A, &RelayRole::ALL), Ok(false));
    for n in 0..16 {
        assert_eq!(one.add_relay(&format!("wss://r{n}.example"), &[RelayRole::Stream]), Ok(true));
    }
    assert_eq!(one.add_relay("wss://one-more.example", &[RelayRole::Stream]), Err(AddRelayError::TooMany));
    let here = RelayPool::connect(
        RelayList::single(A).unwrap(),
        PoolOptions {
            allow_private_addresses: true,
            ..PoolOptions::memory(&[(A, &relay), ("ws://127.0.0.1:9", &relay)])
        },
    );
    assert_eq!(here.add_relay("ws://127.0.0.1:9/", &[RelayRole::Stream]), Ok(true));
    eventually("added relay is up", || here.connected(RelayRole::Stream) == 2).await;
    let only_there = tagged_to(&key(), SESSION_FRAME, &key(), "x");
    assert_eq!(here.publish_ephemeral_to(only_there, RelayRole::Stream, &["ws://127.0.0.1:9".into()]), 1);
}

#[tokio::test]
async fn not_ready_says_which_relay_and_why() {
    // Bound but not listening: it refuses, and nobody else can take the port.
    let refusing = TcpSocket::new_v4().unwrap();
    refusing.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("ws://{}", refusing.local_addr().unwrap());
    let one = RelayPool::connect(RelayList::single(&url).unwrap(), PoolOptions::default());
    let error = one.wait_ready(RelayRole::Stream, Duration::from_secs(3)).await.unwrap_err().to_string();
    assert!(error.contains(&url) && error.contains("refused") && error.contains("hint: "), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_restarts_is_found_again_by_both_clients() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        |listen| DevRelayOptions { data_dir: Some(dir.path().to_owned()), ..DevRelayOptions::on(listen) };
    let relay = DevRelay::start(options("127.0.0.1:0".parse().unwrap())).await.unwrap();
    let (address, url) = (relay.address(), relay.url().to_owned());
    let (one, two) = (
        RelayPool::connect(RelayList::single(&url).unwrap(), PoolOptions::default()),
        RelayPool::connect(RelayList::single(&url).unwrap(), PoolOptions::default()),
    );
    let author = key();
    let mut receipts =
        two.subscribe(RelayRole::Discovery, vec![filters::of_author(RECEIPT, author.public_key())]);
    let mut pings =
        two.subscribe(RelayRole::Control, vec![filters::of_author(LOAD_PING, author.public_key())]);
    assert_eq!((receipts.ready(PATIENCE).await, pings.ready(PATIENCE).await), (1, 1));
    one.wait_ready(RelayRole::Discovery, PATIENCE).await.unwrap();
    assert!(one.publish_stored(event(&author, RECEIPT, &[], "1")).await.is_durable());
    relay.shutdown().await;
    eventually("both notice", || {
        RelayRole::ALL.iter().all(|role| one.connected(*role) == 0 && two.connected(*role) == 0)
    })
    .await;
    let relay = started_again(&options(address)).await;
    one.wait_ready(RelayRole::Discovery, PATIENCE).await.unwrap();
    one.wait_ready(RelayRole::Control, PATIENCE).await.unwrap();
    assert!(in_time("published", one.publish_stored(event(&author, RECEIPT, &[], "2"))).await.is_durable());
    for expected in ["1", "2"] {
        assert_eq!(in_time("receipt", receipts.recv()).await.unwrap().content(), expected);
    }
    eventually("live again", || pings.live_relays() == 1).await;
    one.publish_ephemeral(event(&author, LOAD_PING, &[], "again"), RelayRole::Control);
    assert_eq!(in_time("ping", pings.recv()).await.unwrap().content(), "again");
    relay.shutdown().await;
}

async fn started_again(options: &DevRelayOptions) -> DevRelay {
    in_time("port is free again", async {
        loop {
            if let Ok(relay) = DevRelay::start(options.clone()).await {
                return relay;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_hundred_listeners_are_heard_by_a_relay_that_allows_twenty_subscriptions() {
    let limits = DevRelayLimits { subscriptions: 20, ..DevRelayLimits::default() };
    let mut options = DevRelayOptions { limits, ..DevRelayOptions::on("127.0.0.1:0".parse().unwrap()) };
    let relay = DevRelay::start(options.clone()).await.unwrap();
    let connect = || RelayPool::connect(RelayList::single(relay.url()).unwrap(), PoolOptions::default());
    let (one, two) = (connect(), connect());
    two.wait_ready(RelayRole::Stream, PATIENCE).await.unwrap();
    // As jobs do: on several threads, and some leave while others come.
    let listening = (0..300).map(|n| {
        let pool = two.clone();
        let listen = move || -> Listener {
            let (role, reader) = ([RelayRole::Control, RelayRole::Stream][n % 2], key());
            let to_reader = filters::of_kinds_to(&[SESSION_FRAME], [reader.public_key()]);
            (role, pool.subscribe(role, vec![to_reader]), reader)
        };
        tokio::spawn(async move {
            let first = listen();
            if n % 3 == 0 { listen() } else { first }
        })
    });
    let listening: Vec<_> = listening.collect();
    let mut all = Vec::new();
    for listener in listening {
        all.push(listener.await.unwrap());
    }
    each_hears_its_own(&one, &mut all).await;
    let status = two.status();
    assert!(status.iter().all(|relay| relay.last_error.is_none() && relay.dropped == 0), "{status:?}");

    options.listen = relay.address();
    relay.shutdown().await;
    eventually("both notice", || [&one, &two].iter().all(|pool| pool.connected(RelayRole::Stream) == 0))
        .await;
    let relay = started_again(&options).await;
    each_hears_its_own(&one, &mut all).await;
    relay.shutdown().await;
}

type Listener = (RelayRole, Subscription, SigningKey);

async fn each_hears_its_own(publisher: &RelayPool, all: &mut [Listener]) {
    let author = key();
    publisher.wait_ready(RelayRole::Stream, PATIENCE).await.unwrap();
    for (role, frames, reader) in all {
        assert_eq!(in_time("live", frames.ready(PATIENCE)).await, 1);
        let name = reader.public_key().to_hex();
        publisher.publish_ephemeral(tagged_to(&author, SESSION_FRAME, reader, &name), *role);
        assert_eq!(in_time("frame", frames.recv()).await.unwrap().content(), name);
        assert!(frames.try_recv().is_none(), "nobody else's");
    }
}

#[tokio::test]
async fn a_relay_that_ends_a_shared_subscription_is_given_a_pause_whoever_joins() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut list = RelayList::single(&format!("ws://{}", listener.local_addr().unwrap())).unwrap();
    list.relays[0].roles = [RelayRole::Stream].into();
    let pool = RelayPool::connect(list, PoolOptions { subscriptions_alone: 0, ..PoolOptions::default() });
    let listen = || {
        pool.subscribe(RelayRole::Stream, vec![filters::of_kinds_to(&[SESSION_FRAME], [key().public_key()])])
    };
    // All ids there are, ended at once until the pause is two seconds.
    let mut all: Vec<_> = (0..RELAY_SHARED_SUBSCRIPTIONS_MAX).map(|_| listen()).collect();
    let mut socket = accepted(&listener).await;
    let ends = 3 * RELAY_SHARED_SUBSCRIPTIONS_MAX;
    for n in 1..=ends {
        let id = next_request(&mut socket).await;
        say(&mut socket, format!("[\"CLOSED\",\"{id}\",\"rate-limited: number {n}\"]")).await;
    }
    let last = format!("subscription ended: rate-limited: number {ends}");
    eventually("all are ended", || pool.status()[0].last_error.as_ref() == Some(&last)).await;
    all.extend((0..100).map(|_| listen()));
    pool.publish_ephemeral(tagged_to(&key(), SESSION_FRAME, &key(), "behind them"), RelayRole::Stream);
    let mut requests = 0;
    while !in_time("event", socket.next())
        .await
        .unwrap()
        .unwrap()
        .into_text()
        .unwrap()
        .starts_with("[\"EVENT\"")
    {
        requests += 1;
    }
    assert!(requests <= RELAY_SHARED_SUBSCRIPTIONS_MAX, "{requests} for 100 that joined");
    // After the pause all are asked for.
    let text = in_time("request", socket.next()).await.unwrap().unwrap().into_text().unwrap();
    assert!(text.starts_with("[\"REQ\"") && text.matches("\",\"").count() >= 49, "{text}");
}

/// A relay by hand, for what no real one does. Discovery only or prompt roles only, so that one connection comes.
async fn scripted(role: RelayRole) -> (TcpListener, RelayPool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut list = RelayList::single(&format!("ws://{}", listener.local_addr().unwrap())).unwrap();
    list.relays[0].roles = [role].into();
    (listener, RelayPool::connect(list, PoolOptions::default()))
}

async fn accepted(listener: &TcpListener) -> WebSocketStream<TcpStream> {
    let (stream, _) = in_time("connection", listener.accept()).await.unwrap();
    tokio_tungstenite::accept_async(stream).await.unwrap()
}

async fn next_request(socket: &mut WebSocketStream<TcpStream>) -> String {
    loop {
        let message = in_time("request", socket.next()).await.unwrap().unwrap();
        let Message::Text(text) = message else { continue };
        if text.as_str().starts_with("[\"REQ\"") {
            return text.as_str().split('"').nth(3).unwrap().to_owned();
        }
    }
}

async fn say(socket: &mut WebSocketStream<TcpStream>, text: String) {
    socket.send(Message::text(text)).await.unwrap();
}

fn deliver(id: &str, event: &VerifiedEvent) -> String {
    format!("[\"EVENT\",\"{id}\",{}]", event.to_json())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_the_relay_ends_is_asked_for_again() {
    for role in [RelayRole::Discovery, RelayRole::Stream] {
        let (listener, pool) = scripted(role).await;
        let mut receipts = pool.subscribe(role, vec![filters::of_kinds(&[RECEIPT])]);
        let mut socket = accepted(&listener).await;
        for reason in ["error: live event buffer overflow", "blocked: for no reason", ""] {
            let id = next_request(&mut socket).await;
            say(&mut socket, format!("[\"CLOSED\",\"{id}\",\"{reason}\"]")).await;
        }
        let id = next_request(&mut socket).await;
        say(&mut socket, deliver(&id, &event(&key(), RECEIPT, &[], "at last"))).await;
        assert_eq!(in_time("event", receipts.recv()).await.unwrap().content(), "at last");
        assert!(pool.status()[0].last_error.as_deref().unwrap_or_default().contains("subscription ended"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_forged_altered_or_unasked_for_comes_through() {
    for role in [RelayRole::Discovery, RelayRole::Stream] {
        let (listener, pool) = scripted(role).await;
        let author = key();
        let mut receipts = pool.subscribe(role, vec![filters::of_author(RECEIPT, author.public_key())]);
        let mut socket = accepted(&listener).await;
        let id = next_request(&mut socket).await;
        let genuine = event(&author, RECEIPT, &[], "genuine");
        let other = event(&author, RECEIPT, &[], "other");
        let altered = genuine.to_json().replace("genuine", "altered");
        let signature = other.as_event().sig.to_string();
        let forged = genuine.to_json().replace(&genuine.as_event().sig.to_string(), &signature);
        for _ in 0..3 {
            say(&mut socket, format!("[\"EVENT\",\"{id}\",{altered}]")).await;
            say(&mut socket, format!("[\"EVENT\",\"{id}\",{forged}]")).await;
        }
        say(&mut socket, deliver(&id, &event(&key(), RECEIPT, &[], "by a stranger"))).await;
        say(&mut socket, deliver("never-asked", &other)).await;
        for garbage in ["", "{}", "[]", "[\"EVENT\"]", "[\"WHAT\",1]", "null", "[[[[[[", "[\"OK\",1,2,3]"] {
            say(&mut socket, garbage.to_owned()).await;
        }
        socket.send(Message::binary(vec![0xff; 100])).await.unwrap();
        say(&mut socket, format!("[\"EVENT\",\"{id}\",{{\"content\":\"{}\"}}]", "x".repeat(70_000))).await;
        say(&mut socket, deliver(&id, &genuine)).await;
        say(&mut socket, format!("[\"EVENT\",\"{id}\",{altered}]")).await;
        say(&mut socket, deliver(&id, &event(&author, RECEIPT, &[], "end"))).await;
        assert_eq!(in_time("genuine", receipts.recv()).await.unwrap(), genuine);
        assert_eq!(in_time("end", receipts.recv()).await.unwrap().content(), "end");
        assert!(receipts.try_recv().is_none());
    }
}
