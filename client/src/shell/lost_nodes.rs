//! Nodes that have just gone or broken: for a minute, whoever can be served elsewhere is. Routers and announcements
//! need about as long to know it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fedai_protocol::limits::CLIENT_LOST_NODES_MAX;
use fedai_protocol::{PublicKey, RefusalCode};
use tokio::time::Instant;

use crate::core::job_ending::AttemptNote;

/// How long a node is passed over.
const LOST_FOR: Duration = Duration::from_secs(60);

/// All of them. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct LostNodes(Arc<Mutex<BTreeMap<PublicKey, Instant>>>);

impl LostNodes {
    /// This node has gone.
    pub(crate) fn lose(&self, node: PublicKey) {
        let mut lost = self.nodes();
        lost.retain(|_, at| at.elapsed() < LOST_FOR);
        lost.insert(node, Instant::now());
        if lost.len() > CLIENT_LOST_NODES_MAX
            && let Some(oldest) = lost.iter().min_by_key(|(_, at)| **at).map(|(node, _)| *node)
        {
            lost.remove(&oldest);
        }
    }

    /// It is there.
    pub(crate) fn find(&self, node: &PublicKey) {
        self.nodes().remove(node);
    }

    /// What the attempts of a job say: who broke, and who answered after all.
    pub(crate) fn learn(&self, attempts: &[AttemptNote]) {
        let broken = [RefusalCode::RunnerFailed, RefusalCode::RunnerInterrupted, RefusalCode::Stalled];
        for AttemptNote { node, outcome, .. } in attempts {
            if outcome == "complete" {
                self.find(node);
            } else if broken.iter().any(|code| code.as_str() == *outcome) {
                self.lose(*node);
            }
        }
    }

    /// Those of the last minute.
    pub(crate) fn all(&self) -> Vec<PublicKey> {
        self.nodes().iter().filter(|(_, at)| at.elapsed() < LOST_FOR).map(|(node, _)| *node).collect()
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<PublicKey, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use fedai_protocol::SigningKey;
    use fedai_relay_bridge::SystemEntropy;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_node_that_broke_is_passed_over_for_a_minute_or_until_it_answers() {
        let lost = LostNodes::default();
        let node = SigningKey::generate(&mut SystemEntropy).public_key();
        let tried =
            |outcome: &str| vec![AttemptNote { outcome: outcome.to_owned(), ..AttemptNote::new(node, node) }];
        for outcome in ["busy", "cancelled", "open", "complete"] {
            lost.learn(&tried(outcome));
            assert!(lost.all().is_empty(), "{outcome}");
        }
        for outcome in ["runner_failed", "runner_interrupted", "stalled"] {
            lost.learn(&tried(outcome));
            assert_eq!(lost.all(), [node], "{outcome}");
            lost.learn(&tried("complete"));
            assert!(lost.all().is_empty());
        }
        lost.lose(node);
        for _ in 0..CLIENT_LOST_NODES_MAX {
            tokio::time::advance(Duration::from_millis(1)).await;
            lost.lose(SigningKey::generate(&mut SystemEntropy).public_key());
        }
        let all = lost.all();
        assert_eq!((all.len(), all.contains(&node)), (CLIENT_LOST_NODES_MAX, false), "the oldest makes room");
        tokio::time::advance(LOST_FOR).await;
        assert!(lost.all().is_empty());
    }
}
