//! Any node, all alike.

use fedai_router_agent::core::scheduler::{Case, Decision, NoCandidate, Scheduler, Scratch};

use super::order::decide;

/// The strategy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

impl Scheduler for Random {
    fn plan(&mut self, case: &Case<'_>, scratch: &mut Scratch) -> Result<Decision, NoCandidate> {
        decide(case, "random", scratch, |_, _| {})
    }
}
