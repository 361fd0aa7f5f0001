//! A runner's numbers from observed times: the ones whose replay comes closest.
//!
//! Times under load depend on each other through the batch, so there is no formula to solve; the replay itself is the
//! model. One number after another is made a little larger or smaller as long as that helps, with smaller and smaller
//! changes; so are pairs of them against each other. There is no chance in it, so a file gives one answer.

use super::accuracy::Accuracy;
use super::first_guess::{NUMBERS, Numbers, guess};
use super::observation::{ObservationError, Observations, ObservedRequest};
use super::profile_file::{CalibratedRunner, PROFILE_SCHEMA};
use super::replay::{ReplayedRequest, replay};
use crate::runner::{Emit, KvCapacity, RunnerProfile, StepCost};

/// Fits a runner on the requests that are marked.
pub fn fit(observations: &Observations, marks: &[bool]) -> Result<CalibratedRunner, ObservationError> {
    let mut numbers = guess(observations, marks);
    let mut least = distance(&calibrated(observations, &numbers), observations, marks);
    let mut change = FIRST_CHANGE;
    while change > LAST_CHANGE {
        let mut has_helped = false;
        for (larger, smaller) in moves() {
            let mut tried = numbers;
            for (at, number) in tried.iter_mut().enumerate() {
                if Some(at) == larger {
                    *number *= 1.0 + change;
                }
                if Some(at) == smaller {
                    *number /= 1.0 + change;
                }
            }
            let got = distance(&calibrated(observations, &tried), observations, marks);
            if got < least * (1.0 - HELP_MIN) {
                (least, numbers, has_helped) = (got, tried, true);
            }
        }
        if !has_helped {
            change /= 2.0;
        }
    }
    Ok(calibrated(observations, &numbers))
}

/// Which number becomes larger and which one smaller.
fn moves() -> impl Iterator<Item = (Option<usize>, Option<usize>)> {
    let each = || (0..NUMBERS).map(Some).chain([None]);
    each().flat_map(move |larger| each().map(move |smaller| (larger, smaller))).filter(|(a, b)| a != b)
}

fn calibrated(observations: &Observations, numbers: &Numbers) -> CalibratedRunner {
    let [step, sequence, context, prefill_step, prefill_token, prefill_pair, overhead] = *numbers;
    let femtos = |micros: f64| (micros * 1e9).round() as u64;
    let cost = StepCost {
        step: femtos(step),
        sequence: femtos(sequence),
        context_token: femtos(context),
        prefill_step: femtos(prefill_step),
        prefill_token: femtos(prefill_token),
        prefill_pair: femtos(prefill_pair),
    };
    let seen = &observations.runner;
    let runner = RunnerProfile {
        slots: seen.slots,
        queue_max: 4_096,
        step_tokens: STEP_TOKENS,
        cost,
        kv: KvCapacity::PerSlot(seen.context_tokens),
        emit: Emit::Coalesced { max_ms: 60_000 },
    };
    CalibratedRunner {
        schema: PROFILE_SCHEMA.to_owned(),
        model: seen.model.clone(),
        machine: seen.machine.clone(),
        runner,
        overhead_us: overhead.round() as u64,
        instruction_tokens: shared_tokens(&observations.requests),
    }
}

/// What prompts have in common shows in what later ones found in memory: the middle of it.
fn shared_tokens(requests: &[ObservedRequest]) -> u64 {
    let mut cached: Vec<u64> =
        requests.iter().map(|request| request.cached_tokens).filter(|tokens| *tokens > 0).collect();
    cached.sort_unstable();
    cached.get(cached.len() / 2).copied().unwrap_or(0)
}

/// Mean of the logarithms of the ratios, of requests and of the quantiles that the gates are about.
fn distance(runner: &CalibratedRunner, observations: &Observations, marks: &[bool]) -> f64 {
    let pairs = marked(observations, &replay(runner, observations), marks, true);
    let Some(accuracy) = Accuracy::of(&pairs) else { return f64::INFINITY };
    let ratio = |seen: u64, got: u64| libm::log(got.max(1) as f64 / seen.max(1) as f64).abs();
    let of_requests: f64 = pairs
        .iter()
        .map(|(seen, got)| ratio(seen.ttft_us, got.ttft_us) + ratio(seen.total_us, got.total_us))
        .sum::<f64>()
        / (2 * pairs.len()).max(1) as f64;
    let quantiles =
        [accuracy.total_ms.p50, accuracy.total_ms.p95, accuracy.ttft_ms.p50, accuracy.ttft_ms.p95];
    let of_quantiles: f64 =
        quantiles.iter().map(|pair| libm::log(pair.simulated / pair.observed).abs()).sum::<f64>() / 4.0;
    of_requests + of_quantiles / 2.0
}

/// The requests with this mark, beside their replays.
#[must_use]
pub fn marked<'a>(
    observations: &'a Observations,
    replayed: &[ReplayedRequest],
    marks: &[bool],
    wanted: bool,
) -> Vec<(&'a ObservedRequest, ReplayedRequest)> {
    observations
        .requests
        .iter()
        .zip(replayed)
        .zip(marks)
        .filter(|(_, mark)| **mark == wanted)
        .map(|((request, replayed), _)| (request, *replayed))
        .collect()
}

/// Changes of a number, as a share of it.
const FIRST_CHANGE: f64 = 0.4;
const LAST_CHANGE: f64 = 0.004;
/// Less is not worth a step.
const HELP_MIN: f64 = 1e-5;
/// Tokens that llama.cpp takes in at once.
const STEP_TOKENS: u32 = 2_048;
