//! All runs of an experiment, over as many threads as there are; the results are in one fixed order.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::contender::Contender;
use super::experiment::{Draw, Experiment};
use super::measures::Measures;
use crate::hooks::Hooks;
use crate::invariants::Violation;
use crate::world::World;

/// Results by policy and seed, in the order in which they were asked for.
pub type Results = Vec<Vec<Measures>>;

/// Where a thread puts what came of its task.
type Slot = Mutex<Option<Result<Measures, Box<Violation>>>>;

/// One run under way or to come.
struct Task<'a> {
    contender: Contender,
    draw: &'a Draw,
}

/// Runs every policy on every draw. `progress` hears, from any thread, how many are done.
///
/// With a broken invariant, the first one in the order of tasks is given, whichever thread was first.
pub fn run_all(
    experiment: &Experiment,
    draws: &[Draw],
    contenders: &[Contender],
    jobs: NonZeroUsize,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Results, Box<Violation>> {
    let tasks: Vec<Task<'_>> = contenders
        .iter()
        .flat_map(|contender| draws.iter().map(move |draw| Task { contender: *contender, draw }))
        .collect();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results: Vec<Slot> = tasks.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..jobs.get().min(tasks.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(task), Some(slot)) = (tasks.get(at), results.get(at)) else { break };
                    let measured = run_one(experiment, task);
                    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(measured);
                    progress(done.fetch_add(1, Ordering::Relaxed).saturating_add(1));
                }
            });
        }
    });
    let mut in_order = results.into_iter();
    let mut by_policy = Vec::with_capacity(contenders.len());
    for _ in contenders {
        let of_policy = in_order.by_ref().take(draws.len()).map(|slot| {
            slot.into_inner()
                .unwrap_or_else(PoisonError::into_inner)
                .unwrap_or_else(|| Ok(Measures::default()))
        });
        by_policy.push(of_policy.collect::<Result<Vec<Measures>, Box<Violation>>>()?);
    }
    Ok(by_policy)
}

fn run_one(experiment: &Experiment, task: &Task<'_>) -> Result<Measures, Box<Violation>> {
    let Task { contender, draw } = task;
    let hooks = Hooks {
        scheduler: contender.scheduler(draw.knowledge()),
        wants_oracle: matches!(contender, Contender::Jsq | Contender::FedaiTs),
        nodes: draw.conducts(),
        ..Hooks::default()
    };
    let log = World::with(draw.scenario.clone(), hooks).run(&mut |_| {}).map_err(Box::new)?;
    Ok(Measures::of(&log, experiment.warm_up()))
}
