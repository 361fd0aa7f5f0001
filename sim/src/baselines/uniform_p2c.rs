//! Two nodes drawn evenly, the one with less announced load: two choices as they are usually told, blind to how unequal
//! nodes are.

use fedai_protocol::UnixMicros;
use fedai_router_agent::core::candidate::Fleet;
use fedai_router_agent::core::policy::Policy;
use fedai_router_agent::core::scheduler::{Asked, Decision, NoCandidate, Scheduler, Scratch};

use super::order::{Sat, announced_load};

/// The strategy.
#[derive(Clone, Copy, Debug, Default)]
pub struct UniformP2c;

impl Scheduler for UniformP2c {
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
        request.decide("p2c", scratch, |seats, _| {
            if let [first, second, ..] = seats.as_mut_slice()
                && announced_load(second.row) < announced_load(first.row)
            {
                core::mem::swap(first, second);
            }
        })
    }
}
