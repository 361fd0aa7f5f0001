//! Two nodes drawn evenly, the one with less announced load: two choices as they are usually told, blind to how unequal
//! nodes are.

use fedai_router_agent::core::scheduler::{Case, Decision, NoCandidate, Scheduler, Scratch};

use super::order::{announced_load, decide};

/// The strategy.
#[derive(Clone, Copy, Debug, Default)]
pub struct UniformP2c;

impl Scheduler for UniformP2c {
    fn plan(&mut self, case: &Case<'_>, scratch: &mut Scratch) -> Result<Decision, NoCandidate> {
        decide(case, "p2c", scratch, |seats, _| {
            if let [first, second, ..] = seats.as_mut_slice()
                && announced_load(second.row) < announced_load(first.row)
            {
                core::mem::swap(first, second);
            }
        })
    }
}
