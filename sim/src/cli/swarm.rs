//! `swarm`: many small worlds with faults.

use clap::Args;

use super::progress::Progress;
use super::{Outcome, say};
use crate::swarm::{SwarmSums, run_seed};

#[derive(Debug, Args)]
pub(super) struct SwarmArgs {
    /// Worlds.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// Seed of the first one.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
}

/// Runs the worlds, up to the first that breaks an invariant.
pub(super) fn swarm(args: &SwarmArgs) -> Outcome {
    let SwarmArgs { seeds, first_seed: first } = *args;
    let (mut sums, progress) = (SwarmSums::default(), Progress::new());
    for seed in first..first.saturating_add(seeds) {
        let log = run_seed(seed).inspect_err(|_| progress.clear())?;
        sums.add(&log);
        progress.show(usize::try_from(seed.saturating_sub(first))?, usize::try_from(seeds)?);
    }
    progress.clear();
    say(&format!("{sums}\n"))
}
