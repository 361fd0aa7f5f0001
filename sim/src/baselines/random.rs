//! Any node, all alike.

use fedai_protocol::UnixMicros;
use fedai_router_agent::core::candidate::Fleet;
use fedai_router_agent::core::policy::Policy;
use fedai_router_agent::core::scheduler::{Asked, Decision, NoCandidate, Scheduler, Scratch};

use super::order::Sat;

/// The strategy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

impl Scheduler for Random {
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
        request.decide("random", scratch, |_, _| {})
    }
}
