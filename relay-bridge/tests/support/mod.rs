//! Keys, events and waiting, for the tests of this crate.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::future::Future;
use std::time::Duration;

use fedai_protocol::message::Draft;
use fedai_protocol::{SigningKey, UnixSeconds, VerifiedEvent};
use fedai_relay_bridge::{DevRelay, DevRelayOptions, SystemEntropy, wall_clock};

/// Longest wait for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn key() -> SigningKey {
    SigningKey::generate(&mut SystemEntropy)
}

pub(crate) fn event(key: &SigningKey, kind: u16, tags: &[&[&str]], content: &str) -> VerifiedEvent {
    event_at(key, kind, tags, content, wall_clock::now_seconds())
}

pub(crate) fn event_at(
    key: &SigningKey,
    kind: u16,
    tags: &[&[&str]],
    content: &str,
    at: UnixSeconds,
) -> VerifiedEvent {
    let tags = tags.iter().map(|tag| tag.iter().map(|part| (*part).to_owned()).collect()).collect();
    key.sign(Draft::new(kind, tags, content.to_owned(), at), &mut SystemEntropy)
}

pub(crate) fn tagged_to(key: &SigningKey, kind: u16, to: &SigningKey, content: &str) -> VerifiedEvent {
    event(key, kind, &[&["p", &to.public_key().to_hex()]], content)
}

pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: did not happen within {PATIENCE:?}"))
}

/// Looks again and again until it holds.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    eventually_within(PATIENCE, what, holds).await;
}

/// [`eventually`], with a limit of its own for what is much work.
pub(crate) async fn eventually_within(limit: Duration, what: &str, holds: impl Fn() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let seen = tokio::time::timeout(limit, async {
        while !holds() {
            tick.tick().await;
        }
    });
    seen.await.unwrap_or_else(|_| panic!("{what}: did not happen within {limit:?}"));
}

pub(crate) async fn dev_relay() -> DevRelay {
    DevRelay::start(DevRelayOptions::on("127.0.0.1:0".parse().unwrap())).await.unwrap()
}
