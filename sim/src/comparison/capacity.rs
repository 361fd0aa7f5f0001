//! What a fleet can do of a workload. The load of a comparison is offered work over this.
//!
//! The definition: a node's capacity is the rate at which it ends requests of this mix when all its slots are always
//! busy, computed from its runner's profile; a fleet's is the sum. Nothing can do more; a scheduler that leaves slots
//! idle while requests wait elsewhere does less.

use crate::runner::{KvCapacity, RunnerProfile};
use crate::workload::trace::Recorded;

/// Requests a second of one node.
#[must_use]
pub fn requests_per_second(profile: &RunnerProfile, requests: &[Recorded]) -> f64 {
    let slots = batch_max(profile, requests);
    let each = |request: &Recorded| {
        seconds(profile, f64::from(request.input_tokens), f64::from(request.output_tokens), slots)
    };
    let all: f64 = requests.iter().map(each).sum();
    slots * requests.len() as f64 / all.max(1e-9)
}

/// Requests that run at once: as many as there are slots, or as fit the memory.
fn batch_max(profile: &RunnerProfile, requests: &[Recorded]) -> f64 {
    let slots = f64::from(profile.slots.max(1));
    let KvCapacity::Blocks(_) = profile.kv else { return slots };
    let tokens =
        |request: &Recorded| f64::from(request.input_tokens) + f64::from(request.output_tokens) / 2.0;
    let mean = requests.iter().map(tokens).sum::<f64>() / requests.len().max(1) as f64;
    slots.min((profile.context_max() as f64 / mean.max(1.0)).floor().max(1.0))
}

/// Seconds that one request takes in a batch of so many like it: its own prompt and those of the others, which hold
/// everybody up, and its tokens, each with a step of the batch.
#[must_use]
pub fn seconds(profile: &RunnerProfile, input: f64, output: f64, batch: f64) -> f64 {
    let cost = &profile.cost;
    let chunks = (input / f64::from(profile.step_tokens.max(1))).ceil();
    // Where something decodes beside it, a prompt pays only what its base is larger.
    let base = if batch > 1.0 { cost.prefill_step.saturating_sub(cost.step) } else { cost.prefill_step };
    let prompt = base as f64 * chunks
        + cost.prefill_token as f64 * input
        + cost.prefill_pair as f64 * input * input / 2.0;
    let context = input + output / 2.0;
    let step = cost.step as f64 + batch * (cost.sequence as f64 + cost.context_token as f64 * context);
    batch.mul_add(prompt, step * output) / 1e15
}
