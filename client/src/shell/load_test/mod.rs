//! Load on OpenAI-compatible endpoints, measured so that a stalled server cannot hide: a request of an open loop is
//! due at its time whether or not earlier ones have been answered, and its latency counts from then.
//!
//! Several targets take turns in short blocks of one run, so that what else the machine does falls on all of them, and
//! no target's block competes with another's.

mod arrivals;
mod closed_loop;
mod exchange;
mod open_loop;
mod prompt;
mod tally;
mod target;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::exchange::ExchangeError;
pub use self::tally::{Quantiles, Tally};
pub use self::target::{Target, TargetError};

/// First number of the prompts of the warm-up: they are none of those that count.
const WARM_UP: u64 = 1 << 40;

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many at once: the next one when one has been answered.
    Closed(u16),
    /// So many a second, at random times, whatever becomes of them.
    Open(f64),
}

/// What is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadPlan {
    /// Model.
    pub model: String,
    /// Requests to each target that count.
    pub requests: u32,
    /// Requests to each target before those; at least one is sent.
    pub warm_up: u32,
    /// When.
    pub pace: Pace,
    /// Whether answers are streamed.
    pub is_streamed: bool,
    /// Size of a prompt, about.
    pub prompt_tokens: u32,
    /// Most output tokens of an answer.
    pub max_tokens: u32,
    /// Of arrivals and prompts.
    pub seed: u64,
    /// Time for one request.
    pub timeout: Duration,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Measured {
    /// One for each target, in their order.
    pub tallies: Vec<Tally>,
    /// False when the run was stopped: then the tallies are of what was answered until then.
    pub is_whole: bool,
}

/// Loads the targets in turns, until all is sent and answered, or until `stop`. `on_answer` is called after every
/// request.
///
/// A target that does not answer its first request ends the run before anything is measured.
pub async fn run(
    plan: Arc<LoadPlan>,
    targets: &[Arc<Target>],
    stop: &CancellationToken,
    on_answer: impl Fn() + Send + Sync,
) -> Result<Measured, TargetError> {
    let tallies = tokio::select! {
        warm = warm_up(&plan, targets) => {
            warm?;
            match plan.pace {
                Pace::Closed(at_once) => closed_loop::run(&plan, targets, at_once, stop, &on_answer).await,
                Pace::Open(per_second) => open_loop::run(&plan, targets, per_second, stop, &on_answer).await,
            }
        }
        () = stop.cancelled() => targets.iter().map(|_| Tally::default()).collect(),
    };
    Ok(Measured { tallies, is_whole: !stop.is_cancelled() })
}

async fn warm_up(plan: &LoadPlan, targets: &[Arc<Target>]) -> Result<(), TargetError> {
    for target in targets {
        target.check(plan).await?;
    }
    for target in targets {
        for number in 1..u64::from(plan.warm_up) {
            // What is wrong with an endpoint shows in what is measured.
            drop(target.exchange(plan, WARM_UP | number, Instant::now()).await);
        }
    }
    Ok(())
}

/// Which target comes at which step of a turn: everybody is first now and then.
const fn place(turn: usize, step: usize, targets: usize) -> usize {
    turn.wrapping_add(step) % targets
}
