//! Reads what relays have stored, page by page, beside the loop: a subscription is answered with one page only, and
//! loses events when its reader is slow.
//!
//! Announcements come before receipts, so that a receipt finds its node known. What was read before changes nothing.

use std::time::Duration;

use fedai_protocol::event_kinds::{MODEL_OFFER, NODE_DESCRIPTOR, RECEIPT, RECEIPT_ACK, TRUST_ASSERTION};
use fedai_protocol::{PublicKey, UnixSeconds, VerifiedEvent};
use fedai_relay_bridge::{RelayPool, RelayRole, filters};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How long the pages of one filter may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);
/// A clock that differs by more from what it should show was set.
const CLOCK_SET_SECONDS: u64 = 60;
/// Events read and not yet handed on.
const QUEUE: usize = 256;

/// The reader.
pub(super) struct CatchUp {
    pool: RelayPool,
    followed: Vec<PublicKey>,
    queue: mpsc::Sender<VerifiedEvent>,
    task: Option<JoinHandle<()>>,
    gaps: u64,
    looked_at: Option<UnixSeconds>,
}

impl CatchUp {
    /// A reader that has not begun, and what it will read.
    pub(super) fn new(pool: RelayPool, followed: Vec<PublicKey>) -> (Self, mpsc::Receiver<VerifiedEvent>) {
        let (queue, events) = mpsc::channel(QUEUE);
        (Self { pool, followed, queue, task: None, gaps: 0, looked_at: None }, events)
    }

    /// Reads all announcements, and the receipts since then. Does nothing while it is still reading.
    pub(super) fn begin(&mut self, receipts_since: UnixSeconds) -> bool {
        if self.task.as_ref().is_some_and(|task| !task.is_finished()) {
            return false;
        }
        let announced = filters::of_kinds(&[NODE_DESCRIPTOR, MODEL_OFFER]);
        let proofs = filters::since(filters::of_kinds(&[RECEIPT, RECEIPT_ACK]), receipts_since);
        let mut wanted = vec![announced, proofs];
        if !self.followed.is_empty() {
            wanted.push(filters::of_authors(TRUST_ASSERTION, self.followed.iter().copied()));
        }
        let (pool, queue) = (self.pool.clone(), self.queue.clone());
        self.task = Some(tokio::spawn(async move {
            for filter in wanted {
                let events = pool.fetch(RelayRole::Discovery, vec![filter], FETCH_TIMEOUT).await;
                tracing::debug!(events = events.len(), "stored events read");
                for event in events {
                    if queue.send(event).await.is_err() {
                        return;
                    }
                }
            }
        }));
        true
    }

    /// Reads again when the clock was set since the last look, a second ago: by a wrong clock much was refused.
    pub(super) fn after_set_clock(&mut self, now: UnixSeconds, receipts_since: UnixSeconds) {
        let looked_at = self.looked_at.replace(now).unwrap_or(now);
        if now.0.abs_diff(looked_at.0) > CLOCK_SET_SECONDS && self.begin(receipts_since) {
            tracing::warn!("the clock was set: reading again what relays have stored");
        }
    }

    /// Reads again when the subscriptions have lost more events than before.
    pub(super) fn after_gaps(&mut self, gaps: u64, receipts_since: UnixSeconds) {
        if gaps > self.gaps && self.begin(receipts_since) {
            tracing::info!(
                lost = gaps.saturating_sub(self.gaps),
                "events were lost; stored ones are read again"
            );
            self.gaps = gaps;
        }
    }
}

impl Drop for CatchUp {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use fedai_protocol::SigningKey;
    use fedai_protocol::message::Draft;
    use fedai_relay_bridge::{MemoryRelay, PoolOptions, RelayList, SystemEntropy, wall_clock};

    use super::*;

    const RELAY: &str = "ws://relay.test";
    const WAIT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn what_is_stored_is_read_at_the_start_and_again_after_a_loss() {
        let relay = MemoryRelay::new();
        let options = PoolOptions::memory(&[(RELAY, &relay)]);
        let pool = RelayPool::connect(RelayList::single(RELAY).unwrap(), options);
        pool.wait_ready(RelayRole::Discovery, WAIT).await.unwrap();
        let (key, now) = (SigningKey::generate(&mut SystemEntropy), wall_clock::now_seconds());
        // The receipt is stored first and read last.
        let stored = [(RECEIPT, vec![]), (NODE_DESCRIPTOR, vec![vec!["d".to_owned(), "node".to_owned()]])];
        for (kind, tags) in stored {
            let draft = Draft::new(kind, tags, String::new(), now);
            pool.publish_stored(key.sign(draft, &mut SystemEntropy)).await;
        }
        let (mut catch_up, mut events) = CatchUp::new(pool.clone(), Vec::new());
        let since = now.minus(60);
        assert!(catch_up.begin(since));
        for round in 1..=3 {
            for kind in [NODE_DESCRIPTOR, RECEIPT] {
                let event = tokio::time::timeout(WAIT, events.recv()).await.unwrap().unwrap();
                assert_eq!(event.kind(), kind);
            }
            // It has said all it had; wait until it has ended.
            tokio::time::timeout(WAIT, catch_up.task.as_mut().unwrap()).await.unwrap().unwrap();
            catch_up.task = None;
            catch_up.after_gaps(round - 1, since);
            assert!(catch_up.task.is_none(), "nothing was lost");
            catch_up.after_gaps(round, since);
            assert!(catch_up.task.is_some(), "something was lost");
        }
        pool.shutdown().await;
    }
}
