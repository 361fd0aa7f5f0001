//! Many small worlds, each with its own faults: what no single scenario would think of. A failure is one seed and one
//! command that replays it.

use std::collections::BTreeMap;

use crate::faults::table::FAULTS;
use crate::faults::{FaultKind, Selection};
use crate::invariants::Violation;
use crate::run_log::RunLog;
use crate::scenario::Scenario;
use crate::world::World;

/// A seed whose world broke an invariant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "seed {seed}: {violation}\nhint: replay it with `fedai-sim swarm --first-seed {seed} --seeds 1{}`",
    .selection.options()
)]
pub struct SwarmFailure {
    /// Seed.
    pub seed: u64,
    /// The part of its faults and jobs that was run.
    pub selection: Selection,
    /// What did not hold.
    pub violation: Violation,
}

/// What one kind of fault did in a swarm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindSums {
    /// Worlds that it was planned for.
    pub worlds: u64,
    /// Single faults.
    pub faults: u64,
    /// What they did: events lost, processes killed, receipts bent.
    pub fired: u64,
}

/// What the worlds of a swarm did, together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SwarmSums {
    /// Worlds that kept every invariant.
    pub worlds: u64,
    /// Jobs that came.
    pub jobs: u64,
    /// Jobs that ended well in spite of all.
    pub done: u64,
    /// Turns of actors, after each of which the invariants were checked.
    pub events: u64,
    /// Made-up events that no door let in.
    pub injected: u64,
    /// What nodes were accused of by routers, by code.
    pub evidence: BTreeMap<&'static str, u64>,
    /// What clients said of receipts, by code.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// By kind of fault.
    pub kinds: BTreeMap<FaultKind, KindSums>,
}

/// Runs one world of the swarm.
pub fn run_seed(seed: u64) -> Result<RunLog, SwarmFailure> {
    run_part(seed, &Selection::default())
}

/// Runs one world of the swarm with a part of its faults and jobs.
pub fn run_part(seed: u64, selection: &Selection) -> Result<RunLog, SwarmFailure> {
    let scenario = Scenario::swarm(seed).keeping(selection);
    let failed = |violation| SwarmFailure { seed, selection: selection.clone(), violation };
    World::new(scenario).run(&mut |_| {}).map_err(failed)
}

impl SwarmSums {
    /// Adds a world.
    pub fn add(&mut self, log: &RunLog) {
        let done = log.jobs.iter().filter(|job| job.is_done());
        self.worlds += 1;
        self.jobs += log.jobs.len() as u64;
        self.done += done.count() as u64;
        self.events += log.events;
        self.injected += log.injected;
        for (_, code) in &log.evidence {
            *self.evidence.entry(code).or_default() += 1;
        }
        for (code, count) in &log.verdicts {
            *self.verdicts.entry(code).or_default() += count;
        }
        for row in &FAULTS {
            let planned =
                log.scenario.faults.faults.iter().filter(|fault| fault.kind == row.kind).count() as u64;
            let sums = self.kinds.entry(row.kind).or_default();
            sums.worlds += u64::from(planned > 0);
            sums.faults += planned;
            sums.fired += log.fired.get(&row.kind).copied().unwrap_or(0);
        }
    }

    /// Adds another part of the same swarm.
    pub fn merge(&mut self, other: &Self) {
        self.worlds += other.worlds;
        self.jobs += other.jobs;
        self.done += other.done;
        self.events += other.events;
        self.injected += other.injected;
        for (mine, theirs) in [(&mut self.evidence, &other.evidence), (&mut self.verdicts, &other.verdicts)] {
            for (code, count) in theirs {
                *mine.entry(code).or_default() += count;
            }
        }
        for (kind, theirs) in &other.kinds {
            let mine = self.kinds.entry(*kind).or_default();
            mine.worlds += theirs.worlds;
            mine.faults += theirs.faults;
            mine.fired += theirs.fired;
        }
    }

    /// Kinds of faults that never did anything.
    #[must_use]
    pub fn idle_kinds(&self) -> Vec<&'static str> {
        let did = |kind: FaultKind| self.kinds.get(&kind).is_some_and(|sums| sums.fired > 0);
        FAULTS.iter().filter(|row| !did(row.kind)).map(|row| row.name).collect()
    }
}

impl core::fmt::Display for SwarmSums {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { worlds, jobs, done, events, injected, .. } = self;
        writeln!(f, "{worlds} worlds kept every invariant over {events} events: {done} of {jobs} jobs done")?;
        writeln!(f, "{injected} made-up events were let in by no door\n")?;
        writeln!(f, "{:<22} {:>8} {:>8} {:>10}", "fault", "worlds", "faults", "did")?;
        for row in &FAULTS {
            let KindSums { worlds, faults, fired } = self.kinds.get(&row.kind).copied().unwrap_or_default();
            writeln!(f, "{:<22} {worlds:>8} {faults:>8} {fired:>10}", row.name)?;
        }
        for (title, counts) in [("receipts", &self.verdicts), ("evidence", &self.evidence)] {
            let counts: Vec<String> = counts.iter().map(|(code, count)| format!("{code} {count}")).collect();
            writeln!(
                f,
                "\n{title}: {}",
                if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
            )?;
        }
        Ok(())
    }
}
