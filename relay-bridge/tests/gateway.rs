//! A node's own relay: who may write and read what, in which order, how much of it, and what it says of itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;
mod talk;

use std::time::Duration;

use fedai_protocol::event_kinds::{EPHEMERAL_GIFT_WRAP, MODEL_OFFER, RECEIPT, SESSION_FRAME};
use fedai_protocol::limits::GATEWAY_QUEUE_BYTES_MAX;
use fedai_protocol::{SigningKey, VerifiedEvent};
use fedai_relay_bridge::{GatewayOptions, GatewayRelay, Handed};
use futures_util::{SinkExt, StreamExt};
use support::{event, eventually, in_time, key, tagged_to};
use talk::Talk;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

async fn gateway(change: impl FnOnce(&mut GatewayOptions)) -> (GatewayRelay, mpsc::Receiver<VerifiedEvent>) {
    let mut options =
        GatewayOptions::new("127.0.0.1:0".parse().unwrap(), key().public_key(), "node-a".into());
    change(&mut options);
    GatewayRelay::start(options).await.unwrap()
}

fn frames_of(key: &SigningKey) -> String {
    format!("{{\"kinds\":[21438],\"#p\":[\"{}\"]}}", key.public_key().to_hex())
}

#[tokio::test]
async fn a_client_may_subscribe_and_publish_in_one_breath_and_only_it_gets_the_answer() {
    let (gateway, mut written) = gateway(|_| {}).await;
    let (inbox, session, other, node_session) = (key(), key(), key(), key());
    gateway.listen_for(inbox.public_key());
    let (mut client, mut bystander) = (Talk::with(gateway.url()).await, Talk::with(gateway.url()).await);
    bystander.say(format!("[\"REQ\",\"b\",{},{{}}]", frames_of(&other))).await;
    assert_eq!(bystander.hear().await, "[\"EOSE\",\"b\"]");
    client.say(format!("[\"REQ\",\"s\",{}]", frames_of(&session))).await;
    let open = tagged_to(&key(), EPHEMERAL_GIFT_WRAP, &inbox, "a sealed job");
    client.say(format!("[\"EVENT\",{}]", open.to_json())).await;
    let got = in_time("the open", written.recv()).await.unwrap();
    assert_eq!(got.id(), open.id());
    // The open is handled, so the subscription before it is.
    assert!(gateway.is_asked_for(&session.public_key()));
    let frame = tagged_to(&node_session, SESSION_FRAME, &session, "a frame");
    assert_eq!(gateway.hand_over(&frame), Handed::Queued);
    assert_eq!(gateway.hand_over(&tagged_to(&node_session, SESSION_FRAME, &key(), "x")), Handed::Nobody);
    assert_eq!(client.hear().await, "[\"EOSE\",\"s\"]");
    let answers = [client.hear().await, client.hear().await];
    assert!(answers.iter().any(|text| text.starts_with("[\"EVENT\",\"s\"") && text.contains("a frame")));
    assert!(answers.iter().any(|text| text.starts_with("[\"OK\"") && text.contains("true")));
    bystander.say("[\"REQ\",\"q\",{\"kinds\":[1434]}]").await;
    assert_eq!(bystander.hear().await, "[\"EOSE\",\"q\"]", "nothing before it: the frame was not broadcast");
}

#[tokio::test]
async fn what_is_not_for_this_node_is_refused_with_a_reason() {
    let (gateway, mut written) = gateway(|_| {}).await;
    let inbox = key();
    gateway.listen_for(inbox.public_key());
    let mut client = Talk::with(gateway.url()).await;
    let genuine = tagged_to(&key(), EPHEMERAL_GIFT_WRAP, &inbox, "genuine");
    let forged = genuine.to_json().replace("genuine", "altered");
    client.say(format!("[\"EVENT\",{forged}]")).await;
    assert!(client.hear().await.contains("false,\"invalid: event id does not match"));
    for (event, reason) in [
        (tagged_to(&key(), SESSION_FRAME, &key(), "x"), "blocked: not addressed"),
        (event(&key(), SESSION_FRAME, &[], "x"), "invalid: exactly one p tag"),
        (event(&key(), RECEIPT, &[], "x"), "blocked: this relay takes jobs"),
        (event(&key(), 1, &[], "x"), "blocked: this relay takes jobs"),
    ] {
        let answer = client.publish(&event).await;
        assert!(answer.contains(&format!("false,\"{reason}")), "{answer}");
    }
    client.say("[\"REQ\",\"all\",{\"kinds\":[21438]}]").await;
    assert!(client.hear().await.starts_with("[\"CLOSED\",\"all\",\"restricted: "));
    gateway.forget(&inbox.public_key());
    assert!(client.publish(&genuine).await.contains("false,\"blocked: not addressed"));
    assert!(written.try_recv().is_err(), "none of it reached the node");
}

#[tokio::test]
async fn any_nostr_client_can_browse_the_node() {
    let (gateway, _written) = gateway(|_| {}).await;
    let node = key();
    gateway.show(&event(&node, MODEL_OFFER, &[&["d", "a"]], "an offer")).await;
    let mut reader = Talk::with(gateway.url()).await;
    reader.say("[\"REQ\",\"q\",{}]").await;
    assert!(reader.hear().await.contains("an offer"));
    assert_eq!(reader.hear().await, "[\"EOSE\",\"q\"]");
    gateway.show(&event(&node, RECEIPT, &[], "a receipt")).await;
    assert!(reader.hear().await.contains("a receipt"), "and what comes later");
}

#[tokio::test]
async fn its_document_names_the_node_and_the_limits() {
    let (node, operator) = (key().public_key(), key().public_key());
    let (gateway, _written) = gateway(|options| {
        options.node = node;
        options.operator = Some(operator);
    })
    .await;
    let address = gateway.url().trim_start_matches("ws://").to_owned();
    let mut raw = TcpStream::connect(&address).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nAccept: application/nostr+json\r\n\r\n");
    raw.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    in_time("the document", raw.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("200 OK") && head.contains("application/nostr+json"), "{head}");
    let document: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(document["self"], node.to_hex());
    assert_eq!(document["pubkey"], operator.to_hex());
    assert_eq!(document["name"], "fed_AI node node-a");
    assert_eq!(document["limitation"]["restricted_writes"], true);
    assert_eq!(document["limitation"]["max_message_length"], 131_072);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_read_fills_its_own_queue_and_nobody_elses() {
    let (gateway, _written) = gateway(|_| {}).await;
    let (stuck, quick, author) = (key(), key(), key());
    let mut stalled = Talk::with(gateway.url()).await;
    stalled.say(format!("[\"REQ\",\"s\",{}]", frames_of(&stuck))).await;
    assert_eq!(stalled.hear().await, "[\"EOSE\",\"s\"]");
    let mut reader = Talk::with(gateway.url()).await;
    reader.say(format!("[\"REQ\",\"r\",{}]", frames_of(&quick))).await;
    assert_eq!(reader.hear().await, "[\"EOSE\",\"r\"]");
    let large = tagged_to(&author, SESSION_FRAME, &stuck, &"x".repeat(50_000));
    let mut taken = 0_usize;
    while gateway.hand_over(&large) == Handed::Queued {
        taken += 1;
        assert!(taken * 50_000 < 4 * GATEWAY_QUEUE_BYTES_MAX, "there is an end");
    }
    assert_eq!(gateway.hand_over(&large), Handed::Full);
    for n in 0..200 {
        let frame = tagged_to(&author, SESSION_FRAME, &quick, &format!("frame {n}"));
        assert_eq!(gateway.hand_over(&frame), Handed::Queued);
        assert!(reader.hear().await.contains(&format!("frame {n}\"")));
    }
    // It comes back: everything that was queued is there, in order, and there is room again.
    for _ in 0..taken {
        assert!(stalled.hear().await.starts_with("[\"EVENT\",\"s\""));
    }
    assert_eq!(gateway.hand_over(&large), Handed::Queued);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_waits_for_no_reader_and_one_that_is_full_is_left() {
    let (gateway, _written) = gateway(|_| {}).await;
    let author = key();
    let (mut stuck, mut quick) = (Talk::with(gateway.url()).await, Talk::with(gateway.url()).await);
    for number in 0..32 {
        stuck.say(format!("[\"REQ\",\"{number}\",{{\"kinds\":[1434]}}]")).await;
        assert_eq!(stuck.hear().await, format!("[\"EOSE\",\"{number}\"]"));
    }
    quick.say("[\"REQ\",\"q\",{\"kinds\":[1434]}]").await;
    assert_eq!(quick.hear().await, "[\"EOSE\",\"q\"]");
    let mut shown = 0;
    while gateway.connections() == 2 {
        let receipt = event(&author, RECEIPT, &[], &format!("{shown} {}", "x".repeat(20_000)));
        // A reader would be waited for 5 s.
        tokio::time::timeout(Duration::from_secs(2), gateway.show(&receipt)).await.expect("it never waits");
        assert!(quick.hear().await.contains(&format!("\"{shown} x")), "all others get it");
        shown += 1;
        assert!(shown < 500, "there is an end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_gets_a_frame_once_however_often_it_asked_for_it() {
    let (gateway, _written) = gateway(|_| {}).await;
    let (session, author) = (key(), key());
    let mut reader = Talk::with(gateway.url()).await;
    for number in 0..3 {
        reader.say(format!("[\"REQ\",\"{number}\",{}]", frames_of(&session))).await;
        assert_eq!(reader.hear().await, format!("[\"EOSE\",\"{number}\"]"));
    }
    for text in ["first", "second"] {
        let frame = tagged_to(&author, SESSION_FRAME, &session, text);
        assert_eq!(gateway.hand_over(&frame), Handed::Queued);
        let heard = reader.hear().await;
        assert!(heard.starts_with("[\"EVENT\",\"0\"") && heard.contains(text), "{heard}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_node_is_busy_connections_wait_and_nothing_is_lost() {
    let (gateway, mut written) = gateway(|_| {}).await;
    let inbox = key();
    gateway.listen_for(inbox.public_key());
    let mut client = Talk::with(gateway.url()).await;
    let author = key();
    let events: Vec<VerifiedEvent> =
        (0..1_500).map(|n| tagged_to(&author, SESSION_FRAME, &inbox, &n.to_string())).collect();
    let texts: Vec<String> = events.iter().map(|event| format!("[\"EVENT\",{}]", event.to_json())).collect();
    let (mut write, mut read) = {
        let Talk(socket) = &mut client;
        socket.split()
    };
    let publish = async {
        for text in texts {
            write.send(Message::text(text)).await.unwrap();
        }
    };
    let acknowledged = async {
        let mut count = 0;
        while count < events.len() {
            in_time("an OK", read.next()).await.unwrap().unwrap();
            count += 1;
        }
    };
    let node = async {
        for event in &events {
            let got = in_time("an event", written.recv()).await.unwrap();
            assert_eq!(got.id(), event.id(), "in the order in which it was written");
        }
    };
    tokio::join!(publish, acknowledged, node);
}

#[tokio::test]
async fn silence_and_a_full_house_end_connections() {
    let (gateway, _written) = gateway(|options| {
        options.limits.connections = 2;
        options.limits.silence = Some(Duration::from_millis(300));
    })
    .await;
    let mut silent = Talk::with(gateway.url()).await;
    let mut other = Talk::with(gateway.url()).await;
    assert!(tokio_tungstenite::connect_async(gateway.url()).await.is_err(), "a third connection");
    in_time("the end of the silent ones", async {
        while let Some(Ok(_)) = silent.0.next().await {}
        while let Some(Ok(_)) = other.0.next().await {}
    })
    .await;
    eventually("their places are free", || gateway.connections() == 0).await;
    Talk::with(gateway.url()).await.say("[\"CLOSE\",\"x\"]").await;
}

#[tokio::test]
async fn a_connection_that_says_too_much_is_read_more_slowly_and_refused_nothing() {
    // Two a second, and ten seconds' worth at once.
    let (gateway, _written) = gateway(|options| options.limits.events_per_minute = Some(120)).await;
    let (mut talker, mut other) = (Talk::with(gateway.url()).await, Talk::with(gateway.url()).await);
    let begun = tokio::time::Instant::now();
    for number in 0..23 {
        talker.say(format!("[\"REQ\",\"{number}\",{{\"kinds\":[1434]}}]")).await;
    }
    for number in 0..20 {
        assert_eq!(talker.hear().await, format!("[\"EOSE\",\"{number}\"]"));
    }
    other.say("[\"REQ\",\"q\",{\"kinds\":[1434]}]").await;
    assert_eq!(other.hear().await, "[\"EOSE\",\"q\"]", "nobody else waits for it");
    for number in 20..23 {
        assert_eq!(talker.hear().await, format!("[\"EOSE\",\"{number}\"]"));
    }
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
}
