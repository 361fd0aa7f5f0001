//! Load by a plan: at the times of a Poisson process, whatever the server does, or always so many at once.
//!
//! The first requests of all warm the server up and are not counted.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use fedai_protocol::UnixMicros;
use fedai_relay_bridge::wall_clock;
use serde_json::Value;

use super::http_stream::{Server, StreamError, StreamedAnswer};
use super::prompts;
use crate::calibration::observation::ObservedRequest;
use crate::chance::{Chance, Stream};
use crate::statistics::quantile::{nearest_rank, sorted};

/// What is asked of a server.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadPlan {
    /// Model.
    pub model: String,
    /// Requests that count.
    pub requests: usize,
    /// How they come.
    pub pace: LoadPace,
    /// Requests before them that do not.
    pub warm_up: usize,
    /// Tokens of an answer: between 4 and so many.
    pub output_tokens_max: u64,
    /// Sentences of a prompt: up to so many.
    pub sentences_max: u64,
    /// Seed of all of that.
    pub seed: u64,
    /// Number of the run.
    pub run: u32,
}

/// How requests come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LoadPace {
    /// So many a second, with exponential gaps.
    Rate(f64),
    /// So many at once.
    Concurrency(usize),
}

struct Asked {
    offset: Duration,
    body: Value,
}

/// Runs the plan. `progress` hears how many are done.
pub fn run(
    server: &Server,
    plan: &LoadPlan,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Vec<ObservedRequest>, StreamError> {
    let mut chance = Chance::new(plan.seed, Stream::Workload);
    for number in 0..plan.warm_up {
        server.chat(&body(plan, &mut chance, &format!("{} w{number}", plan.seed)))?;
    }
    let mut offset = 0_u64;
    let asked: Vec<Asked> = (0..plan.requests)
        .map(|number| {
            let body = body(plan, &mut chance, &format!("{} {number}", plan.seed));
            if let LoadPace::Rate(rate) = plan.pace {
                offset = offset.saturating_add(chance.exponential(1e6 / rate.max(1e-6)));
            }
            Asked { offset: Duration::from_micros(offset), body }
        })
        .collect();
    let (began, done) = (wall_clock::now(), AtomicUsize::new(0));
    let seen: Mutex<Vec<Result<ObservedRequest, StreamError>>> = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    let ask = |asked: &Asked| {
        let sent = wall_clock::now();
        let outcome = server.chat(&asked.body);
        let outcome = outcome.map(|answer| observed(plan.run, began, sent, wall_clock::now(), &answer));
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
        progress(done.fetch_add(1, Ordering::Relaxed).saturating_add(1));
    };
    std::thread::scope(|scope| match plan.pace {
        LoadPace::Rate(_) => {
            for asked in &asked {
                wait_until(began, asked.offset);
                scope.spawn(|| ask(asked));
            }
        }
        LoadPace::Concurrency(at_once) => {
            let (asked, ask, next) = (&asked, &ask, &next);
            for _ in 0..at_once.max(1) {
                scope.spawn(move || {
                    while let Some(one) = asked.get(next.fetch_add(1, Ordering::Relaxed)) {
                        ask(one);
                    }
                });
            }
        }
    });
    let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut requests: Vec<ObservedRequest> = seen.into_iter().collect::<Result<_, _>>()?;
    requests.sort_by_key(|request| request.arrival_us);
    Ok(requests)
}

fn body(plan: &LoadPlan, chance: &mut Chance, name: &str) -> Value {
    let content = prompts::draw(chance, name, plan.sentences_max);
    let max_tokens = chance.between(4, plan.output_tokens_max.max(4));
    serde_json::json!({
        "model": plan.model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": true,
        "stream_options": {"include_usage": true},
    })
}

fn observed(
    run: u32,
    began: UnixMicros,
    sent: UnixMicros,
    ended: UnixMicros,
    answer: &StreamedAnswer,
) -> ObservedRequest {
    let first = answer.pieces.first().copied().unwrap_or(ended);
    let gaps = answer.pieces.iter().zip(answer.pieces.iter().skip(1)).map(|(a, b)| b.since(*a) as f64);
    let gaps = sorted(gaps.collect());
    let gap = |permille| nearest_rank(&gaps, permille).map_or(0, |gap| gap as u64);
    ObservedRequest {
        run,
        arrival_us: sent.since(began),
        prompt_tokens: answer.prompt_tokens,
        cached_tokens: answer.cached_tokens,
        output_tokens: answer.output_tokens,
        ttft_us: first.since(sent),
        total_us: ended.since(sent),
        gap_p50_us: gap(500),
        gap_p95_us: gap(950),
        gap_max_us: gap(1_000),
    }
}

/// Waits on a channel that nobody sends on: a thread that has nothing else to do.
fn wait_until(began: UnixMicros, offset: Duration) {
    let (sender, silence) = mpsc::channel::<()>();
    let passed = Duration::from_micros(wall_clock::now().since(began));
    let _ = silence.recv_timeout(offset.saturating_sub(passed));
    drop(sender);
}
