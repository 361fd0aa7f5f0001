//! One node after the other, in the order of their keys. Every router begins at a place of its own.

use fedai_protocol::{PublicKey, UnixMicros};
use fedai_router_agent::core::candidate::Fleet;
use fedai_router_agent::core::policy::Policy;
use fedai_router_agent::core::scheduler::{Asked, Decision, NoCandidate, Scheduler, Scratch};

use super::order::Sat;

/// The strategy.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobin {
    last: Option<PublicKey>,
}

impl Scheduler for RoundRobin {
    fn plan(
        &mut self,
        now: UnixMicros,
        seed: u64,
        asked: &Asked<'_>,
        policy: &Policy,
        fleets: &[&Fleet],
        scratch: &mut Scratch,
    ) -> Result<Decision, NoCandidate> {
        let request = Sat { now, seed, asked, policy, fleets };
        let last = self.last;
        let decision = request.decide("round-robin", scratch, |seats, _| {
            // Before the first decision the random order says where to begin.
            let after = last.or_else(|| seats.first().map(|seat| seat.row.node));
            seats.sort_by_key(|seat| (after.is_some_and(|after| seat.row.node <= after), seat.row.node));
        })?;
        self.last = decision.choices.first().map(|choice| choice.node);
        Ok(decision)
    }
}
