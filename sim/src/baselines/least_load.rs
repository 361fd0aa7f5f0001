//! The node that announced the least load for its slots, with what this router sent since. Announcements are believed.

use fedai_protocol::UnixMicros;
use fedai_router_agent::core::candidate::Fleet;
use fedai_router_agent::core::policy::Policy;
use fedai_router_agent::core::scheduler::{Asked, Decision, NoCandidate, Scheduler, Scratch};

use super::order::{Sat, announced_load, sort_by_key};

/// The strategy.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastLoad;

impl Scheduler for LeastLoad {
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
        request.decide("least-load", scratch, |seats, _| sort_by_key(seats, announced_load))
    }
}
