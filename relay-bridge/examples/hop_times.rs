//! Measures one hop (publish to receive) through a relay, and events a second, and prints them. Not a test: timings
//! are never asserted. `cargo run --release --example hop_times [-- URL]`; without a URL it starts a dev relay.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::time::Duration;

use fedai_protocol::event_kinds::SESSION_FRAME;
use fedai_protocol::message::Draft;
use fedai_protocol::{SigningKey, VerifiedEvent};
use fedai_relay_bridge::{
    DevRelay, DevRelayOptions, PoolOptions, RelayList, RelayPool, RelayRole, SystemEntropy, filters,
    wall_clock,
};
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() {
    let relay = DevRelay::start(DevRelayOptions::on("127.0.0.1:0".parse().unwrap())).await.unwrap();
    let url = std::env::args().nth(1).unwrap_or_else(|| relay.url().to_owned());
    println!("relay {url}");
    for role in [RelayRole::Stream, RelayRole::Discovery] {
        let pool = || RelayPool::connect(RelayList::single(&url).unwrap(), PoolOptions::default());
        let (one, two) = (pool(), pool());
        one.wait_ready(role, PATIENCE).await.unwrap();
        two.wait_ready(role, PATIENCE).await.unwrap();
        let (author, reader) = (key(), key());
        let filter = filters::of_kinds_to(&[SESSION_FRAME], [reader.public_key()]);
        let mut frames = two.subscribe(role, vec![filter]);
        frames.ready(PATIENCE).await;
        let mut micros = Vec::new();
        for number in 0..1_000 {
            let frame = frame(&author, &reader, number);
            let started = Instant::now();
            one.publish_ephemeral(frame, role);
            if tokio::time::timeout(PATIENCE, frames.recv()).await.is_err() {
                println!("a frame was lost: {:?} {:?}", two.drops(), two.status());
                return;
            }
            micros.push(started.elapsed().as_micros());
        }
        micros.sort_unstable();
        let library =
            one.status().iter().find(|status| status.roles.contains(&role)).map(|s| s.library).unwrap();
        println!("{library}: one hop p50 {} p95 {} p99 {} us", micros[500], micros[950], micros[990]);
        let ready: Vec<VerifiedEvent> =
            (1_000..11_000).map(|number| frame(&author, &reader, number)).collect();
        let started = Instant::now();
        let sender = tokio::spawn(async move {
            for frame in ready {
                while one.publish_ephemeral(frame.clone(), role) == 0 {
                    tokio::task::yield_now().await;
                }
            }
            one
        });
        for _ in 0..10_000 {
            if tokio::time::timeout(PATIENCE, frames.recv()).await.is_err() {
                println!("{library}: some of 10,000 were lost, {:?}", two.drops());
                break;
            }
        }
        sender.await.unwrap().shutdown().await;
        println!(
            "{library}: {:.0} events a second, gaps {}",
            10_000.0 / started.elapsed().as_secs_f64(),
            frames.gaps()
        );
    }
    relay.shutdown().await;
}

fn key() -> SigningKey {
    SigningKey::generate(&mut SystemEntropy)
}

fn frame(author: &SigningKey, reader: &SigningKey, number: usize) -> VerifiedEvent {
    let tags = vec![vec!["p".to_owned(), reader.public_key().to_hex()]];
    let draft = Draft::new(SESSION_FRAME, tags, format!("{number:0300}"), wall_clock::now_seconds());
    author.sign(draft, &mut SystemEntropy)
}
