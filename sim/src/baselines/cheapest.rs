//! The node whose price for the request is least, as far as it can be known before; any of those that ask the same.

use fedai_router_agent::core::scheduler::{Case, Decision, NoCandidate, Scheduler, Scratch};

use super::order::{decide, sort_by_key};

/// The strategy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cheapest;

impl Scheduler for Cheapest {
    fn plan(&mut self, case: &Case<'_>, scratch: &mut Scratch) -> Result<Decision, NoCandidate> {
        let prompt = case.asked.request.prompt_tokens.get() as f64;
        let output = case.asked.request.max_output_tokens.get() as f64;
        decide(case, "cheapest", scratch, |seats, _| {
            sort_by_key(seats, |row| {
                row.input_price.mul_add(prompt, row.output_price.mul_add(output, row.request_price))
            });
        })
    }
}
