//! The node whose price for the request is least, as far as it can be known before; any of those that ask the same.

use fedai_protocol::UnixMicros;
use fedai_router_agent::core::candidate::Fleet;
use fedai_router_agent::core::policy::Policy;
use fedai_router_agent::core::scheduler::{Asked, Decision, NoCandidate, Scheduler, Scratch};

use super::order::{Sat, sort_by_key};

/// The strategy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cheapest;

impl Scheduler for Cheapest {
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
        let prompt = asked.request.prompt_tokens.get() as f64;
        let output = asked.request.max_output_tokens.get() as f64;
        request.decide("cheapest", scratch, |seats, _| {
            sort_by_key(seats, |row| {
                row.input_price.mul_add(prompt, row.output_price.mul_add(output, row.request_price))
            });
        })
    }
}
