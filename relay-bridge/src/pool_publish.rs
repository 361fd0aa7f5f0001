//! Publishing stored events: k of n relays, and what is still owed after a restart.
//!
//! A relay's OK is believed only as far as "it took the event": delivery is proved by the peer's own signed answer.
//! "duplicate" and "replaced" are as good as OK, "rate-limited" means later, anything else is a refusal.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use fedai_protocol::VerifiedEvent;
use nostr::EventId;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::lock::lock;
use crate::pool_inbox::Ack;
use crate::pool_link::{Link, Withheld};
use crate::publish_outbox::{OwedEvent, PublishOutbox};
use crate::relay_list::RelayRole;
use crate::relay_pool::{PoolInner, PublishOutcome, RelayPool};
use crate::wall_clock;

/// How often a relay that is not up, or out of budget, is looked at again within one attempt.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How often the outbox is looked through, and written.
const OUTBOX_TICK: Duration = Duration::from_secs(1);
/// Waits between attempts for one event double up to this.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// What one attempt achieved.
struct Attempt {
    acked: BTreeSet<String>,
    rejected: Vec<(String, String)>,
}

impl RelayPool {
    /// Publishes a stored event on the discovery relays and waits until enough of them took it.
    ///
    /// With an outbox it is on disk before anything is sent, and is sent again (also after a restart) until enough
    /// relays took it or it expires; without one this is a single attempt.
    pub async fn publish_stored(&self, event: VerifiedEvent) -> PublishOutcome {
        let inner = Arc::clone(self.inner());
        let mut owed = OwedEvent::new(event);
        if let Some(outbox) = &inner.outbox
            && let Err(error) = outbox.owe(&owed).await
        {
            tracing::error!(%error, "outbox cannot be written; publishing without it");
        }
        let attempt = inner.attempt(&owed).await;
        inner.settle(&mut owed, attempt).await
    }

    /// [`RelayPool::publish_stored`] without waiting for it.
    pub fn publish_stored_in_background(&self, event: VerifiedEvent) {
        let pool = self.clone();
        self.inner().runtime.spawn(async move {
            let id = event.id();
            warn_of(id, &pool.publish_stored(event).await);
        });
    }

    /// The same for an event that its author keeps on disk, and publishes again at its next start when it is of the
    /// last [`WRITTEN_WITHIN`]: it is sent at once, and is in the outbox on disk only when relays do not take it soon.
    pub fn publish_kept_in_background(&self, event: VerifiedEvent) {
        let inner = Arc::clone(self.inner());
        let mut owed = OwedEvent::new(event);
        if let Some(outbox) = &inner.outbox {
            outbox.owe_kept(&owed);
        }
        self.inner().runtime.spawn(async move {
            let attempt = inner.attempt(&owed).await;
            warn_of(owed.event.id(), &inner.settle(&mut owed, attempt).await);
        });
    }
}

/// What is owed for so long is in the outbox on disk.
pub const WRITTEN_WITHIN: Duration = Duration::from_secs(5);

fn warn_of(id: EventId, outcome: &PublishOutcome) {
    if !outcome.is_durable() {
        let PublishOutcome { acks, wanted, queued, .. } = outcome;
        tracing::warn!(%id, acks, wanted, queued, "not enough relays took an event");
    }
}

impl PoolInner {
    fn publish_links(&self) -> Vec<Arc<Link>> {
        self.links_where(|link| link.write && link.roles.contains(&RelayRole::Discovery))
    }

    async fn attempt(&self, owed: &OwedEvent) -> Attempt {
        let id = owed.event.id();
        let (sender, mut acks) = mpsc::unbounded_channel();
        lock(&self.acks).entry(id).or_default().push(sender.clone());
        let attempt = self.attempt_until_enough(owed, &mut acks).await;
        let mut waiting = lock(&self.acks);
        if let Some(list) = waiting.get_mut(&id) {
            list.retain(|other| !other.same_channel(&sender));
            if list.is_empty() {
                waiting.remove(&id);
            }
        }
        attempt
    }

    async fn attempt_until_enough(
        &self,
        owed: &OwedEvent,
        acks: &mut mpsc::UnboundedReceiver<Ack>,
    ) -> Attempt {
        let links = self.publish_links();
        let wanted = self.policy.min_acks.min(links.len());
        let mut attempt = Attempt { acked: owed.acked.clone(), rejected: Vec::new() };
        let mut unsent: Vec<Arc<Link>> =
            links.iter().filter(|link| !owed.acked.contains(&link.url)).cloned().collect();
        let deadline = Instant::now() + self.policy.publish_timeout;
        loop {
            unsent.retain(|link| match link.send_event(&owed.event) {
                Ok(()) => false,
                Err(Withheld::TooLarge) => {
                    attempt.rejected.push((link.url.clone(), Withheld::TooLarge.to_string()));
                    false
                }
                Err(Withheld::Send(_) | Withheld::Budget(_)) => true,
            });
            let still_possible =
                attempt.acked.len().saturating_add(links.len().saturating_sub(attempt.rejected.len()));
            if attempt.acked.len() >= wanted || attempt.rejected.len() >= links.len() || still_possible == 0 {
                return attempt;
            }
            let wait_until =
                if unsent.is_empty() { deadline } else { deadline.min(Instant::now() + LOOK_AGAIN) };
            if let Ok(Some(ack)) = tokio::time::timeout_at(wait_until, acks.recv()).await {
                if let Some(link) = links.iter().find(|link| link.number == ack.link) {
                    attempt.note(&link.url, &ack);
                }
            } else if Instant::now() >= deadline {
                return attempt;
            }
        }
    }

    async fn settle(&self, owed: &mut OwedEvent, attempt: Attempt) -> PublishOutcome {
        let wanted = self.policy.min_acks.min(self.publish_links().len()).max(1);
        let acks = attempt.acked.len();
        let mut queued = false;
        if let Some(outbox) = &self.outbox {
            let settled =
                if acks >= wanted { outbox.settled(owed) } else { outbox.acked(owed, &attempt.acked).await };
            if let Err(error) = settled {
                tracing::error!(%error, "outbox cannot be written");
            }
            queued = acks < wanted;
        }
        owed.acked = attempt.acked;
        PublishOutcome { acks, wanted, queued, rejected: attempt.rejected }
    }
}

impl Attempt {
    fn note(&mut self, url: &str, ack: &Ack) {
        let prefix = ack.message.split(':').next().unwrap_or_default();
        if ack.accepted || prefix == "duplicate" || prefix == "replaced" {
            self.acked.insert(url.to_owned());
        } else if prefix != "rate-limited" && !self.rejected.iter().any(|(known, _)| known == url) {
            self.rejected.push((url.to_owned(), ack.message.clone()));
        }
    }
}

/// Writes what is owed for a while, whatever relays take how long. Ends with the pool.
pub(crate) async fn write_often(pool: Weak<PoolInner>, outbox: Arc<PublishOutbox>) {
    let mut tick = tokio::time::interval(OUTBOX_TICK);
    while pool.strong_count() > 0 {
        tick.tick().await;
        if let Err(error) = outbox.write() {
            tracing::error!(%error, "outbox cannot be written; publishing without it");
        }
    }
}

/// Sends what is owed again and again, until enough relays took it or it expires. Ends with the pool.
pub(crate) async fn work_off(pool: Weak<PoolInner>, outbox: Arc<PublishOutbox>) {
    let mut tick = tokio::time::interval(OUTBOX_TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(pool) = pool.upgrade() else { return };
        for mut owed in outbox.due(Instant::now(), RETRY_MAX) {
            if owed.event.expiration().is_some_and(|at| at < wall_clock::now_seconds()) {
                tracing::warn!(id = %owed.event.id(), "an event expired before enough relays took it");
                drop(outbox.settled(&owed));
                continue;
            }
            let attempt = pool.attempt(&owed).await;
            pool.settle(&mut owed, attempt).await;
        }
    }
}
