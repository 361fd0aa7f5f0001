//! The node that announced the least load for its slots, with what this router sent since. Announcements are believed.

use fedai_router_agent::core::scheduler::{Case, Decision, NoCandidate, Scheduler, Scratch};

use super::order::{announced_load, decide, sort_by_key};

/// The strategy.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastLoad;

impl Scheduler for LeastLoad {
    fn plan(&mut self, case: &Case<'_>, scratch: &mut Scratch) -> Result<Decision, NoCandidate> {
        decide(case, "least-load", scratch, |seats, _| sort_by_key(seats, announced_load))
    }
}
