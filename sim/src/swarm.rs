//! Many small worlds, each with its own fault rates: what no single scenario would think of. A failure is
//! one seed and one command that replays it.

use crate::invariants::Violation;
use crate::run_log::RunLog;
use crate::scenario::Scenario;
use crate::world::World;

/// A seed whose world broke an invariant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}: {violation}\nhint: replay it with `fedai-sim swarm --first-seed {seed} --seeds 1`")]
pub struct SwarmFailure {
    /// Seed.
    pub seed: u64,
    /// What did not hold.
    pub violation: Violation,
}

/// What the worlds of a swarm did, together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwarmSums {
    /// Worlds that kept every invariant.
    pub worlds: u64,
    /// Jobs that came.
    pub jobs: u64,
    /// Jobs that ended well in spite of all.
    pub done: u64,
    /// Turns of actors, after each of which the invariants were checked.
    pub events: u64,
    /// Events that relays lost.
    pub dropped: u64,
    /// Copies that relays added.
    pub duplicated: u64,
    /// Processes killed.
    pub crashes: u64,
    /// Routers killed.
    pub router_crashes: u64,
    /// Runners hung.
    pub hangs: u64,
}

/// Runs one world of the swarm.
pub fn run_seed(seed: u64) -> Result<RunLog, SwarmFailure> {
    World::new(Scenario::swarm(seed)).run(&mut |_| {}).map_err(|violation| SwarmFailure { seed, violation })
}

impl SwarmSums {
    /// Adds a world.
    pub fn add(&mut self, log: &RunLog) {
        let done = log.jobs.iter().filter(|job| job.end.as_ref().is_some_and(|end| end.refusal.is_none()));
        self.worlds += 1;
        self.jobs += log.jobs.len() as u64;
        self.done += done.count() as u64;
        self.events += log.events;
        self.dropped += log.relay.dropped;
        self.duplicated += log.relay.duplicated;
        self.crashes += log.crashes;
        self.router_crashes += log.router_crashes;
        self.hangs += log.hangs;
    }
}

impl core::fmt::Display for SwarmSums {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { worlds, jobs, done, events, dropped, duplicated, crashes, router_crashes, hangs } = self;
        write!(f, "{worlds} worlds kept every invariant over {events} events: {done} of {jobs} jobs done, ")?;
        write!(f, "{dropped} events lost, {duplicated} repeated, ")?;
        write!(f, "{crashes} node and {router_crashes} router crashes, {hangs} hangs")
    }
}
