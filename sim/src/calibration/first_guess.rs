//! Where the search for a runner's numbers begins: what single requests say of them, taken by itself.
//!
//! While a request is answered, each of its tokens is one step, and who else was in those steps is known from the times
//! of the others, nearly. So the time of an answer is a sum of known counts by unknown costs, and least squares gives
//! these.

use super::least_squares::fit;
use super::observation::{Observations, ObservedRequest};

/// The costs of a step in the order of [`crate::runner::StepCost`], and the overhead; in microseconds.
pub(super) type Numbers = [f64; NUMBERS];

/// How many there are.
pub(super) const NUMBERS: usize = 7;

/// A guess from the requests that are marked.
pub(super) fn guess(observations: &Observations, marks: &[bool]) -> Numbers {
    let (mut answers, mut answer_times) = (Vec::new(), Vec::new());
    let (mut prompts, mut prompt_times) = (Vec::new(), Vec::new());
    let mut marks = marks.iter();
    for run in observations.runs() {
        for (request, _) in run.iter().zip(marks.by_ref()).filter(|(_, mark)| **mark) {
            let alive = Alive::of(run, request);
            if request.output_tokens > MANY_TOKENS {
                answers.push(alive.answer_terms(request));
                answer_times.push(request.total_us.saturating_sub(request.ttft_us).max(1) as f64);
            }
            if alive.at_arrival < f64::from(observations.runner.slots) {
                prompts.push([1.0, new_tokens(request)]);
                prompt_times.push(request.ttft_us.max(1) as f64);
            }
        }
    }
    let [step, sequence, context, taken_in] = fit(&answers, &answer_times).unwrap_or([1e4, 1e3, 1.0, 1e3]);
    let [base, token] = fit(&prompts, &prompt_times).unwrap_or([1e4, 1e3]);
    let prefill_token = if taken_in > 0.0 { (taken_in + token) / 2.0 } else { token };
    let some = |value: f64, least: f64| value.max(least);
    let step = some(step, token / 10.0);
    [
        step,
        some(sequence, step / 20.0),
        some(context, step / 1e5),
        some(base / 2.0, step / 4.0),
        prefill_token,
        prefill_token / 2_000.0,
        1_000.0,
    ]
}

/// Who else was there.
struct Alive {
    /// Mean number of requests that decode while this one does, with it.
    batch: f64,
    /// Mean of the tokens in their contexts.
    contexts: f64,
    /// Prompt tokens of others that were taken in meanwhile.
    taken_in: f64,
    /// Requests under way when this one came.
    at_arrival: f64,
}

impl Alive {
    fn of(run: &[ObservedRequest], request: &ObservedRequest) -> Self {
        let (first, end) = answer_of(request);
        let length = (end - first).max(1.0);
        let mut alive = Self { batch: 0.0, contexts: 0.0, taken_in: 0.0, at_arrival: 0.0 };
        for other in run {
            let (other_first, other_end) = answer_of(other);
            let shared = (end.min(other_end) - first.max(other_first)).max(0.0) / length;
            alive.batch += shared;
            alive.contexts += shared * (other.prompt_tokens as f64 + other.output_tokens as f64 / 2.0);
            if other_first > first && other_first <= end {
                alive.taken_in += new_tokens(other);
            }
            let (came, other_came) = (request.arrival_us, other.arrival_us);
            if other_came < came && other_end > came as f64 {
                alive.at_arrival += 1.0;
            }
        }
        alive
    }

    fn answer_terms(&self, request: &ObservedRequest) -> [f64; 4] {
        let steps = request.output_tokens.saturating_sub(1) as f64;
        [steps, steps * self.batch, steps * self.contexts, self.taken_in]
    }
}

/// From its first token to its end.
fn answer_of(request: &ObservedRequest) -> (f64, f64) {
    let after = |time: u64| request.arrival_us.saturating_add(time) as f64;
    (after(request.ttft_us), after(request.total_us))
}

fn new_tokens(request: &ObservedRequest) -> f64 {
    request.prompt_tokens.saturating_sub(request.cached_tokens).max(1) as f64
}

/// Fewer say little about a step.
const MANY_TOKENS: u64 = 4;
