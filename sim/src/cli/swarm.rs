//! `swarm`: many small worlds with faults; `shrink`: the smallest part of one that still fails.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use clap::Args;

use super::progress::Progress;
use super::{Outcome, say};
use crate::faults::Selection;
use crate::faults::selection::Chosen;
use crate::shrink::{Shrunk, shrink};
use crate::swarm::{SwarmFailure, SwarmSums, run_part};

#[derive(Debug, Args)]
pub(super) struct SwarmArgs {
    /// Worlds.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// Seed of the first one.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// Threads; by default one for each core.
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
    #[command(flatten)]
    part: Part,
}

#[derive(Debug, Args)]
pub(super) struct ShrinkArgs {
    /// Seed of the world that fails.
    #[arg(long)]
    seed: u64,
    #[command(flatten)]
    part: Part,
}

/// A part of each world.
#[derive(Debug, Args)]
struct Part {
    /// Faults to keep: names, or NAME.NUMBER for a single one, separated by commas; `none` for none.
    #[arg(long, value_delimiter = ',', num_args = 1.., value_name = "FAULT", value_parser = fault)]
    only: Option<Vec<String>>,
    /// Jobs to keep, by number, separated by commas; `none` for none.
    #[arg(long, value_delimiter = ',', num_args = 1.., value_name = "NUMBER", value_parser = job)]
    only_jobs: Option<Vec<String>>,
}

/// Said where it is read: a name that is wrong is a mistake of the command line, not of a world.
fn fault(word: &str) -> Result<String, String> {
    match word.parse::<Chosen>() {
        Err(error) if word != NOTHING => Err(format!("{error}; several with commas, `{NOTHING}` for none")),
        _ => Ok(word.to_owned()),
    }
}

fn job(word: &str) -> Result<String, String> {
    match word.parse::<usize>() {
        Err(_) if word != NOTHING => Err(format!(
            "{word:?} is no number of a job; write 3 or 3,17 as a failure names them, `{NOTHING}` for none"
        )),
        _ => Ok(word.to_owned()),
    }
}

/// What keeps none.
const NOTHING: &str = "none";

impl Part {
    fn selection(&self) -> Result<Selection, Box<dyn core::error::Error>> {
        // Its own words say which name or number is wrong.
        Ok(Selection { faults: chosen(self.only.as_deref())?, jobs: chosen(self.only_jobs.as_deref())? })
    }
}

fn chosen<T: Ord + core::str::FromStr>(words: Option<&[String]>) -> Result<Option<BTreeSet<T>>, T::Err> {
    words
        .map(|words| words.iter().filter(|word| *word != NOTHING).map(|word| word.parse()).collect())
        .transpose()
}

/// Runs the worlds, up to the first that breaks an invariant.
pub(super) fn swarm(args: &SwarmArgs) -> Outcome {
    let selection = args.part.selection()?;
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = args.jobs.map_or(cores, NonZeroUsize::get);
    let (progress, state) = (Progress::new(), Shared::default());
    let end = args.first_seed.saturating_add(args.seeds);
    let all = usize::try_from(args.seeds)?;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut sums = SwarmSums::default();
                while !state.failed.load(Ordering::Relaxed) {
                    let seed = args.first_seed.saturating_add(state.taken.fetch_add(1, Ordering::Relaxed));
                    if seed >= end {
                        break;
                    }
                    match run_part(seed, &selection) {
                        Ok(log) => sums.add(&log),
                        Err(failure) => state.fail(failure),
                    }
                    let done = state.done.fetch_add(1, Ordering::Relaxed);
                    progress.show(usize::try_from(done).unwrap_or(all), all);
                }
                locked(&state.sums).merge(&sums);
            });
        }
    });
    progress.clear();
    if let Some(failure) = locked(&state.failure).take() {
        return Err(failure.into());
    }
    say(&locked(&state.sums).to_string())
}

/// Finds the smallest part of a failing world.
pub(super) fn shrink_seed(args: &ShrinkArgs) -> Outcome {
    let progress = Progress::new();
    let mut runs = 0_usize;
    let shrunk = shrink(args.seed, &args.part.selection()?, &mut |seed, selection| {
        runs = runs.saturating_add(1);
        progress.show(runs, runs);
        run_part(seed, selection).err().map(|failure| failure.violation)
    });
    progress.clear();
    let Some(Shrunk { selection, violation }) = shrunk else {
        return say(&format!("seed {} keeps every invariant\n", args.seed));
    };
    Err(format!("after {runs} runs: {}", SwarmFailure { seed: args.seed, selection, violation }).into())
}

/// What the threads share. The failure that is told is that of the smallest seed among those that were under way.
#[derive(Default)]
struct Shared {
    taken: AtomicU64,
    done: AtomicU64,
    failed: AtomicBool,
    sums: Mutex<SwarmSums>,
    failure: Mutex<Option<SwarmFailure>>,
}

impl Shared {
    fn fail(&self, failure: SwarmFailure) {
        self.failed.store(true, Ordering::Relaxed);
        let mut first = locked(&self.failure);
        if first.as_ref().is_none_or(|other| failure.seed < other.seed) {
            *first = Some(failure);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
