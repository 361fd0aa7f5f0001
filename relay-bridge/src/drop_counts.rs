//! Counts what was kept out, by reason: nothing is dropped without a number that says so.

use std::sync::atomic::{AtomicU64, Ordering};

/// Events kept out since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DropCounts {
    /// Id or signature did not hold.
    pub bad_signature: u64,
    /// Expired (NIP-40).
    pub expired: u64,
    /// Too old for its class, or from the future.
    pub stale: u64,
    /// Seen before by the same subscription (also: the same event from a second relay).
    pub replay: u64,
    /// Larger than the limit, or unreadable.
    pub oversize: u64,
    /// Not what was asked for.
    pub not_matching: u64,
    /// The consumer was too slow.
    pub slow_consumer: u64,
}

/// A reason to keep an event out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropReason {
    BadSignature,
    Expired,
    Stale,
    Replay,
    Oversize,
    NotMatching,
    SlowConsumer,
}

/// The counters behind [`DropCounts`].
#[derive(Debug, Default)]
pub(crate) struct DropCounters {
    bad_signature: AtomicU64,
    expired: AtomicU64,
    stale: AtomicU64,
    replay: AtomicU64,
    oversize: AtomicU64,
    not_matching: AtomicU64,
    slow_consumer: AtomicU64,
}

impl DropCounters {
    pub(crate) fn count(&self, reason: DropReason) {
        let counter = match reason {
            DropReason::BadSignature => &self.bad_signature,
            DropReason::Expired => &self.expired,
            DropReason::Stale => &self.stale,
            DropReason::Replay => &self.replay,
            DropReason::Oversize => &self.oversize,
            DropReason::NotMatching => &self.not_matching,
            DropReason::SlowConsumer => &self.slow_consumer,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> DropCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DropCounts {
            bad_signature: read(&self.bad_signature),
            expired: read(&self.expired),
            stale: read(&self.stale),
            replay: read(&self.replay),
            oversize: read(&self.oversize),
            not_matching: read(&self.not_matching),
            slow_consumer: read(&self.slow_consumer),
        }
    }
}
