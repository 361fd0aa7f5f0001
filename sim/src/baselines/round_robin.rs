//! One node after the other, in the order of their keys. Every router begins at a place of its own.

use fedai_protocol::PublicKey;
use fedai_router_agent::core::scheduler::{Case, Decision, NoCandidate, Scheduler, Scratch};

use super::order::decide;

/// The strategy.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobin {
    last: Option<PublicKey>,
}

impl Scheduler for RoundRobin {
    fn plan(&mut self, case: &Case<'_>, scratch: &mut Scratch) -> Result<Decision, NoCandidate> {
        let last = self.last;
        let decision = decide(case, "round-robin", scratch, |seats, _| {
            // Before the first decision the random order says where to begin.
            let after = last.or_else(|| seats.first().map(|seat| seat.row.node));
            seats.sort_by_key(|seat| (after.is_some_and(|after| seat.row.node <= after), seat.row.node));
        })?;
        self.last = decision.choices.first().map(|choice| choice.node);
        Ok(decision)
    }
}
