//! Nodes that were left before they had answered: one that takes the job all the same is told to stop, or it would work
//! to the end for nobody. Before its `accept` there is no key to say it to.

use std::time::Duration;

use fedai_protocol::VerifiedEvent;
use fedai_protocol::session_frame::FrameBody;
use fedai_relay_bridge::{RelayPool, RelayRole, SystemEntropy, wall_clock};

use crate::shell::buyer::Buyer;
use crate::shell::job_ears::{Heard, JobEars};
use crate::shell::session_way::OpenSession;

/// Jobs whose nodes are waited for at once: each takes a subscription.
const LATE_JOBS_MAX: usize = 16;

/// The sessions that nobody has answered yet.
#[derive(Default)]
pub(super) struct LateAccepts(Vec<OpenSession>);

impl Extend<OpenSession> for LateAccepts {
    fn extend<T: IntoIterator<Item = OpenSession>>(&mut self, sessions: T) {
        self.0.extend(sessions.into_iter().filter(|session| session.door.is_unanswered()));
    }
}

impl LateAccepts {
    /// All of them.
    pub(super) fn sessions(&mut self) -> impl Iterator<Item = &mut OpenSession> {
        self.0.iter_mut()
    }

    /// Takes a frame to one of them, and cancels what it accepts.
    pub(super) fn hear(&mut self, event: &VerifiedEvent, pool: &RelayPool) {
        let Some(addressed) = event.tag("p") else { return };
        let Some(at) = self.0.iter().position(|session| session.is_addressed(addressed)) else { return };
        let Some(session) = self.0.get_mut(at) else { return };
        drop(session.door.open(event));
        if session.door.is_unanswered() {
            return;
        }
        let session = self.0.swap_remove(at);
        let cancel = session.door.seal(0, FrameBody::Cancel, wall_clock::now_seconds(), &mut SystemEntropy);
        if let Some(Ok(cancel)) = cancel {
            tracing::debug!("a node that was left took the job: cancelled");
            if session.way.publish(&cancel) == 0 {
                pool.publish_ephemeral(cancel, RelayRole::Stream);
            }
        }
    }

    /// Goes on listening for as long as a node is waited for, while the job has ended.
    pub(super) fn wait_beside(mut self, buyer: &Buyer, ears: &mut JobEars) {
        if self.0.is_empty() || buyer.late_jobs.len() >= LATE_JOBS_MAX {
            return;
        }
        let pool = buyer.pool.clone();
        let mut ears = core::mem::replace(ears, JobEars::new(pool.clone()));
        let wait = Duration::from_millis(buyer.accept_times.wait_ms(&buyer.timing).saturating_mul(2));
        buyer.late_jobs.spawn(tokio::time::timeout(wait, async move {
            while !self.0.is_empty() {
                let ways = self.sessions().map(|session| &mut session.way);
                if let Heard::Frame(event) = ears.hear(ways).await {
                    self.hear(&event, &pool);
                }
            }
        }));
    }
}
