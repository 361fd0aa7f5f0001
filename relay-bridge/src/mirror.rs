//! Copies this network's stored events from one relay to another: a new relay filled, or a lost one refilled. Events
//! are signed by their authors, so a copy is as good as the original.

use std::time::Duration;

use fedai_protocol::event_kinds::STORED;
use fedai_protocol::{UnixSeconds, VerifiedEvent};
use futures_util::{StreamExt, stream};
use serde::Serialize;

use crate::filters;
use crate::relay_list::RelayRole;
use crate::relay_pool::RelayPool;
use crate::subscription::Subscription;

/// Events on their way at once.
const IN_FLIGHT_MAX: usize = 32;
/// Longest time to read all stored events of a relay.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MirrorCounts {
    /// Events found at the source.
    pub found: u64,
    /// Events that the target has now.
    pub copied: u64,
    /// Events that the target refused.
    pub refused: u64,
    /// Events without an answer.
    pub unanswered: u64,
}

/// Copies what is stored, oldest first.
pub async fn copy(from: &RelayPool, to: &RelayPool, since: Option<UnixSeconds>) -> MirrorCounts {
    let mut filter = filters::of_kinds(&STORED);
    if let Some(since) = since {
        filter = filters::since(filter, since);
    }
    let mut events = from.fetch(RelayRole::Discovery, vec![filter], READ_TIMEOUT).await;
    events.sort_by_key(|event| (event.created_at(), event.id()));
    let mut counts = MirrorCounts { found: events.len() as u64, ..MirrorCounts::default() };
    let mut outcomes = stream::iter(events).map(|event| send(to, event)).buffered(IN_FLIGHT_MAX);
    while let Some(outcome) = outcomes.next().await {
        counts.note(outcome);
    }
    counts
}

/// Subscribes to what is published at the source from now on.
#[must_use]
pub fn follow(from: &RelayPool, since: UnixSeconds) -> Subscription {
    from.subscribe(RelayRole::Discovery, vec![filters::since(filters::of_kinds(&STORED), since)])
}

/// Copies one event.
pub async fn copy_one(to: &RelayPool, event: VerifiedEvent, counts: &mut MirrorCounts) {
    counts.found = counts.found.saturating_add(1);
    counts.note(send(to, event).await);
}

enum Outcome {
    Copied,
    Refused,
    Unanswered,
}

async fn send(to: &RelayPool, event: VerifiedEvent) -> Outcome {
    let id = event.id();
    let outcome = to.publish_stored(event).await;
    if outcome.is_durable() {
        return Outcome::Copied;
    }
    if let Some((_, reason)) = outcome.rejected.first() {
        tracing::debug!(%id, ?reason, "refused");
        return Outcome::Refused;
    }
    Outcome::Unanswered
}

impl MirrorCounts {
    fn note(&mut self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Copied => &mut self.copied,
            Outcome::Refused => &mut self.refused,
            Outcome::Unanswered => &mut self.unanswered,
        };
        *counter = counter.saturating_add(1);
    }
}
