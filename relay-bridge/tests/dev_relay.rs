//! The dev relay: semantics, load, stalled readers, hostile bytes, persistence, its description.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;
mod talk;

use std::time::Duration;

use fedai_protocol::event_kinds::{MODEL_OFFER, RECEIPT, SESSION_FRAME};
use fedai_protocol::message::Draft;
use fedai_protocol::{SigningKey, VerifiedEvent};
use fedai_relay_bridge::{
    DevRelay, DevRelayLimits, DevRelayOptions, PoolOptions, RelayList, RelayPool, RelayRole, SystemEntropy,
    filters, wall_clock,
};
use futures_util::{SinkExt, StreamExt};
use support::{PATIENCE, dev_relay, event, event_at, eventually, in_time, key, tagged_to};
use talk::Talk;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

/// Contents of what is stored, in order.
async fn ask(talk: &mut Talk, filters: &str) -> Vec<String> {
    talk.say(format!("[\"REQ\",\"q\",{filters}]")).await;
    let mut contents = Vec::new();
    loop {
        let text = talk.hear().await;
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        match value[0].as_str().unwrap() {
            "EVENT" if value[1] == "q" => contents.push(value[2]["content"].as_str().unwrap().to_owned()),
            "EOSE" => break,
            "CLOSED" => return vec![text],
            _ => {}
        }
    }
    talk.say("[\"CLOSE\",\"q\"]").await;
    contents
}

#[tokio::test]
async fn replacing_deleting_and_expiring_follow_the_nips() {
    let relay = dev_relay().await;
    let mut talk = Talk::with(relay.url()).await;
    let author = key();
    let now = wall_clock::now_seconds();
    let offer =
        |d: &str, content: &str, ago| event_at(&author, MODEL_OFFER, &[&["d", d]], content, now.minus(ago));
    assert_eq!(talk.publish(&offer("a", "new", 5)).await, "true,\"\"");
    assert!(talk.publish(&offer("a", "old", 9)).await.starts_with("false,\"replaced:"));
    assert_eq!(talk.publish(&offer("b", "other", 5)).await, "true,\"\"");
    assert_eq!(ask(&mut talk, "{\"kinds\":[31435]}").await.len(), 2);
    let mut same_second = [offer("a", "x", 3), offer("a", "y", 3)];
    same_second.sort_by_key(VerifiedEvent::id);
    assert_eq!(talk.publish(&same_second[1]).await, "true,\"\"");
    assert_eq!(talk.publish(&same_second[0]).await, "true,\"\"", "the lower id wins");
    assert!(talk.publish(&same_second[1]).await.starts_with("false"));
    assert_eq!(ask(&mut talk, "{\"#d\":[\"a\"]}").await, [same_second[0].content()]);
    assert!(talk.publish(&same_second[0]).await.starts_with("true,\"duplicate:"));
    let receipt = event(&author, RECEIPT, &[], "receipt");
    talk.publish(&receipt).await;
    let delete = |by: &SigningKey| event(by, 5, &[&["e", &receipt.id().to_hex()]], "");
    assert!(talk.publish(&delete(&key())).await.starts_with("false"), "somebody else's event");
    assert_eq!(ask(&mut talk, "{\"kinds\":[1434]}").await, ["receipt"]);
    assert_eq!(talk.publish(&delete(&author)).await, "true,\"\"");
    assert!(ask(&mut talk, "{\"kinds\":[1434]}").await.is_empty());
    assert!(talk.publish(&receipt).await.starts_with("false,\"blocked: event was deleted"));
    let address = format!("31435:{}:b", author.public_key().to_hex());
    let delete_address = |by: &SigningKey| event(by, 5, &[&["a", &address]], "");
    assert!(talk.publish(&delete_address(&key())).await.starts_with("false"), "somebody else's address");
    assert_eq!(talk.publish(&delete_address(&author)).await, "true,\"\"");
    assert!(ask(&mut talk, "{\"#d\":[\"b\"]}").await.is_empty());
    assert!(talk.publish(&offer("b", "again", 1)).await.starts_with("false,\"blocked"));
    let expiring = |at: u64| event(&author, RECEIPT, &[&["expiration", &at.to_string()]], "short-lived");
    assert!(talk.publish(&expiring(now.minus(1).0)).await.starts_with("false,\"invalid: event has expired"));
    let soon = wall_clock::now_seconds().plus(3);
    assert_eq!(talk.publish(&expiring(soon.0)).await, "true,\"\"");
    in_time("it expires", async {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        while !ask(&mut talk, "{\"kinds\":[1434]}").await.is_empty() {
            tick.tick().await;
        }
    })
    .await;
    let future = event_at(&author, RECEIPT, &[], "", now.plus(10_000));
    assert!(talk.publish(&future).await.contains("created_at is too far in the future"));
    let stale = event_at(&author, SESSION_FRAME, &[], "", now.minus(100));
    assert!(talk.publish(&stale).await.contains("ephemeral event expired"));
}

#[tokio::test]
async fn filters_find_by_every_indexed_tag_with_limits_and_counts() {
    let relay = dev_relay().await;
    let mut talk = Talk::with(relay.url()).await;
    let author = key();
    let now = wall_clock::now_seconds();
    for n in 0..10_u64 {
        let ladder = if n < 4 { "out<=5" } else { "out<=50" };
        let tags: [&[&str]; 3] = [&["d", &n.to_string()], &["b", ladder], &["m", "tiny"]];
        let offer = event_at(&author, MODEL_OFFER, &tags, &n.to_string(), now.minus(n));
        talk.publish(&offer).await;
    }
    assert_eq!(ask(&mut talk, "{\"#b\":[\"out<=5\"],\"#m\":[\"tiny\"]}").await, ["0", "1", "2", "3"]);
    assert_eq!(ask(&mut talk, "{\"#b\":[\"out<=5\"],\"#m\":[\"large\"]}").await, [""; 0]);
    assert_eq!(ask(&mut talk, "{\"kinds\":[31435],\"limit\":2}").await, ["0", "1"]);
    assert_eq!(ask(&mut talk, &format!("{{\"until\":{}}}", now.minus(8).0)).await, ["8", "9"]);
    assert_eq!(
        ask(&mut talk, "{\"#d\":[\"3\"]},{\"#d\":[\"7\"]},{\"#d\":[\"3\",\"4\"]}").await,
        ["3", "4", "7"]
    );
    talk.say("[\"COUNT\",\"c\",{\"kinds\":[31435]}]").await;
    assert_eq!(talk.hear().await, "[\"COUNT\",\"c\",{\"count\":10}]");
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_publishers_lose_nothing_for_a_reader_that_stalls() {
    let relay = dev_relay().await;
    let reader = key();
    let filter = filters::of_kinds_to(&[SESSION_FRAME], [reader.public_key()]);
    let mut stalled = Talk::with(relay.url()).await;
    stalled.say(format!("[\"REQ\",\"s\",{}]", nostr::JsonUtil::as_json(&filter))).await;
    assert_eq!(stalled.hear().await, "[\"EOSE\",\"s\"]");
    let pool = RelayPool::connect(RelayList::single(relay.url()).unwrap(), PoolOptions::default());
    let mut quick = pool.subscribe(RelayRole::Stream, vec![filter]);
    assert_eq!(quick.ready(PATIENCE).await, 1);
    let (publishers, each) = (8, 400);
    let writers: Vec<_> = (0..publishers)
        .map(|_| {
            let (url, reader) = (relay.url().to_owned(), reader.clone());
            tokio::spawn(async move {
                let (author, mut socket) = (key(), tokio_tungstenite::connect_async(url).await.unwrap().0);
                for n in 0..each {
                    let frame =
                        tagged_to(&author, SESSION_FRAME, &reader, &format!("{n} {}", "x".repeat(300)));
                    socket.feed(Message::text(format!("[\"EVENT\",{}]", frame.to_json()))).await.unwrap();
                }
                socket.flush().await.unwrap();
                for _ in 0..each {
                    let answer = in_time("OK", socket.next()).await.unwrap().unwrap();
                    assert!(answer.into_text().unwrap().contains(",true,"));
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    // All 3,200 are published and acknowledged before the stalled reader reads its first.
    for _ in 0..publishers * each {
        assert!(stalled.hear().await.starts_with("[\"EVENT\",\"s\""));
        in_time("frame", quick.recv()).await.unwrap();
    }
    assert_eq!(quick.gaps(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_never_reads_is_disconnected_and_delays_others_only_for_so_long() {
    let limits = DevRelayLimits {
        queue_bytes: 262_144,
        stall: Duration::from_millis(200),
        ..DevRelayLimits::default()
    };
    let listen = "127.0.0.1:0".parse().unwrap();
    let relay = DevRelay::start(DevRelayOptions { limits, ..DevRelayOptions::on(listen) }).await.unwrap();
    let mut stuck = Talk::with(relay.url()).await;
    stuck.say("[\"REQ\",\"s\",{\"kinds\":[21438]}]").await;
    assert_eq!(stuck.hear().await, "[\"EOSE\",\"s\"]");
    let (author, reader) = (key(), key());
    let mut writer = Talk::with(relay.url()).await;
    let large = "x".repeat(60_000);
    for _ in 0..200 {
        let frame = tagged_to(&author, SESSION_FRAME, &reader, &large);
        assert_eq!(writer.publish(&frame).await, "true,\"\"");
    }
    in_time("the end of the connection", async { while let Some(Ok(_)) = stuck.0.next().await {} }).await;
}

#[tokio::test]
async fn hostile_bytes_leave_it_alive() {
    let relay = dev_relay().await;
    let (author, mut talk) = (key(), Talk::with(relay.url()).await);
    let depth = format!("[\"REQ\",\"a\",{}{}]", "[".repeat(20_000), "]".repeat(20_000));
    let long_id = format!("[\"REQ\",\"{}\",{{}}]", "i".repeat(65));
    let many = format!("[\"REQ\",\"a\"{}]", ",{}".repeat(21));
    let texts = [
        "",
        "[]",
        "{}",
        "null",
        "[\"EVENT\"]",
        "[\"EVENT\",{}]",
        "[\"EVENT\",{\"id\":1}]",
        "[\"NEW\",1]",
        "[\"REQ\"]",
        "[\"REQ\",\"a\",{\"kinds\":\"x\"}]",
        "[\"REQ\",\"a\",{\"limit\":-1}]",
        "[\"CLOSE\"]",
        "[\"AUTH\",{}]",
        "[1,2]",
        "\u{0}",
        "[\"EVENT\",{\"content\":\"\u{7f}",
        &depth,
        &long_id,
        &many,
    ];
    for text in texts {
        talk.say(text).await;
        let answer = talk.hear().await;
        assert!(answer.starts_with("[\"NOTICE\"") || answer.starts_with("[\"CLOSED\""), "{text:?}: {answer}");
    }
    let genuine = event(&author, RECEIPT, &[], "genuine");
    talk.say(format!("[\"EVENT\",{}]", genuine.to_json().replace("genuine", "altered"))).await;
    assert!(talk.hear().await.contains("false,\"invalid: event id does not match"));
    let signature = "0".repeat(128);
    let forged = genuine.to_json().replace(&genuine.as_event().sig.to_string(), &signature);
    talk.say(format!("[\"EVENT\",{forged}]")).await;
    assert!(talk.hear().await.contains("false,\"invalid: "));
    talk.0.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert!(talk.hear().await.starts_with("[\"NOTICE\""));
    let over = event(&author, RECEIPT, &[], &"x".repeat(65_536));
    talk.say(format!("[\"EVENT\",{}]", over.to_json())).await;
    assert!(talk.hear().await.contains("false,\"invalid: event is larger"));
    let mut huge = Talk::with(relay.url()).await;
    // The relay may hang up before all of it is written.
    drop(huge.0.send(Message::text("x".repeat(300_000))).await);
    in_time("the end of that connection", async { while let Some(Ok(_)) = huge.0.next().await {} }).await;
    for bytes in
        [&b"\x00\x01\x02\x03\r\n\r\n"[..], b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", &[b'A'; 9_000]]
    {
        let mut raw = TcpStream::connect(relay.address()).await.unwrap();
        raw.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // The relay may reset the connection: only that it ends matters.
        drop(in_time("the end", raw.read_to_end(&mut answer)).await);
    }
    assert_eq!(talk.publish(&genuine).await, "true,\"\"");
    assert_eq!(ask(&mut Talk::with(relay.url()).await, "{\"kinds\":[1434]}").await, ["genuine"]);
}

#[tokio::test]
async fn subscriptions_are_limited_replaced_and_ended() {
    let limits = DevRelayLimits { subscriptions: 2, connections: 2, ..DevRelayLimits::default() };
    let listen = "127.0.0.1:0".parse().unwrap();
    let relay = DevRelay::start(DevRelayOptions { limits, ..DevRelayOptions::on(listen) }).await.unwrap();
    let mut talk = Talk::with(relay.url()).await;
    for (id, answer) in [("a", "EOSE"), ("b", "EOSE"), ("a", "EOSE"), ("c", "CLOSED")] {
        talk.say(format!("[\"REQ\",\"{id}\",{{\"kinds\":[21438]}}]")).await;
        assert!(talk.hear().await.starts_with(&format!("[\"{answer}\",\"{id}\"")));
    }
    talk.say("[\"CLOSE\",\"a\"]").await;
    talk.say("[\"REQ\",\"b\",{\"kinds\":[21434]}]").await;
    assert_eq!(talk.hear().await, "[\"EOSE\",\"b\"]");
    let frame = tagged_to(&key(), SESSION_FRAME, &key(), "nobody asked");
    assert_eq!(talk.publish(&frame).await, "true,\"\"");
    let ping = event(&key(), 21_434, &[], "asked for");
    talk.say(format!("[\"EVENT\",{}]", ping.to_json())).await;
    assert!(talk.hear().await.starts_with("[\"EVENT\",\"b\""), "the event comes before the OK");
    let _second = Talk::with(relay.url()).await;
    assert!(tokio_tungstenite::connect_async(relay.url()).await.is_err(), "a third connection");
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let start = || {
        DevRelay::start(DevRelayOptions {
            data_dir: Some(dir.path().to_owned()),
            ..DevRelayOptions::on(listen)
        })
    };
    let (author, now) = (key(), wall_clock::now_seconds());
    let relay = start().await.unwrap();
    let mut talk = Talk::with(relay.url()).await;
    for n in 0..1_200_u64 {
        let offer = event_at(&author, MODEL_OFFER, &[&["d", "a"]], &n.to_string(), now.minus(2_000 - n));
        talk.say(format!("[\"EVENT\",{}]", offer.to_json())).await;
    }
    let kept = event(&author, RECEIPT, &[], "kept");
    let deleted = event(&author, RECEIPT, &[], "deleted");
    for event in [&kept, &deleted, &event(&author, 5, &[&["e", &deleted.id().to_hex()]], "")] {
        assert_eq!(talk.publish(event).await, "true,\"\"");
    }
    relay.shutdown().await;
    for _ in 0..2 {
        let relay = start().await.unwrap();
        let mut talk = Talk::with(relay.url()).await;
        assert_eq!(ask(&mut talk, "{\"kinds\":[31435]}").await, ["1199"]);
        assert_eq!(ask(&mut talk, "{\"kinds\":[1434]}").await, ["kept"]);
        assert!(talk.publish(&deleted).await.starts_with("false"), "stays deleted");
        relay.shutdown().await;
    }
    let bytes = std::fs::metadata(dir.path().join("events/journal.log")).unwrap().len();
    assert!(bytes < 20_000, "rewritten without what was replaced: {bytes} bytes");
}

#[tokio::test]
async fn it_describes_itself_over_http() {
    let relay = dev_relay().await;
    let get = async |head: &str| {
        let mut raw = TcpStream::connect(relay.address()).await.unwrap();
        raw.write_all(format!("GET / HTTP/1.1\r\nHost: x\r\n{head}\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        in_time("answer", raw.read_to_string(&mut answer)).await.unwrap();
        answer
    };
    let document = get("Accept: application/nostr+json\r\n").await;
    let (head, body) = document.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains("Access-Control-Allow-Origin: *"), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["limitation"]["max_limit"], 5_000);
    assert!(body["supported_nips"].as_array().unwrap().contains(&11.into()));
    assert!(get("").await.contains("This is a Nostr relay"));
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let relay = dev_relay().await;
    let error = DevRelay::start(DevRelayOptions::on(relay.address())).await.unwrap_err().to_string();
    assert!(error.contains(&relay.address().to_string()) && error.contains("hint: "), "{error}");
}

#[tokio::test]
async fn a_session_of_many_keys_is_one_subscription() {
    let relay = dev_relay().await;
    let pool = RelayPool::connect(RelayList::single(relay.url()).unwrap(), PoolOptions::default());
    let keys: Vec<SigningKey> = (0..300).map(|_| key()).collect();
    let filter = filters::of_kinds_to(&[SESSION_FRAME], keys.iter().map(SigningKey::public_key));
    let mut frames = pool.subscribe(RelayRole::Stream, vec![filter]);
    assert_eq!(frames.ready(PATIENCE).await, 1);
    let author = key();
    for reader in &keys {
        pool.publish_ephemeral(tagged_to(&author, SESSION_FRAME, reader, "x"), RelayRole::Stream);
    }
    for _ in &keys {
        in_time("frame", frames.recv()).await.unwrap();
    }
    drop(frames);
    let draft = Draft::new(SESSION_FRAME, vec![], String::new(), wall_clock::now_seconds());
    pool.publish_ephemeral(author.sign(draft, &mut SystemEntropy), RelayRole::Stream);
    eventually("all were sent", || pool.status().iter().map(|status| status.sent).sum::<u64>() == 301).await;
    assert_eq!(pool.drops(), Default::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_handed_over_before_a_shutdown_is_still_written() {
    let relay = dev_relay().await;
    let pool = || RelayPool::connect(RelayList::single(relay.url()).unwrap(), PoolOptions::default());
    let (one, two) = (pool(), pool());
    let (author, reader) = (key(), key());
    let filter = filters::of_kinds_to(&[SESSION_FRAME], [reader.public_key()]);
    let mut frames = two.subscribe(RelayRole::Stream, vec![filter]);
    frames.ready(PATIENCE).await;
    one.wait_ready(RelayRole::Stream, PATIENCE).await.unwrap();
    let ready: Vec<VerifiedEvent> =
        (0..100).map(|n| tagged_to(&author, SESSION_FRAME, &reader, &n.to_string())).collect();
    for frame in ready {
        assert_eq!(one.publish_ephemeral(frame, RelayRole::Stream), 1);
    }
    in_time("shutdown", one.shutdown()).await;
    drop(one);
    for n in 0..100 {
        assert_eq!(in_time("frame", frames.recv()).await.unwrap().content(), n.to_string());
    }
}
