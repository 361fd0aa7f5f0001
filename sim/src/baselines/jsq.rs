//! The bound: a scheduler that sees every queue as it is, not as it was announced, and joins the one in which the
//! request will be done first. All routers share one view, so each knows at once what the others have sent. Nobody can
//! have it; it says how good a decision could be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use fedai_protocol::{PublicKey, UnixMicros};
use fedai_router_agent::core::scheduler::{Case, Decision, NoCandidate, Scheduler, Scratch};

use super::order::{decide, sort_by_key};
use crate::comparison::capacity;
use crate::hooks::{OracleHandle, Truth};

/// The strategy.
#[derive(Clone, Debug)]
pub struct Jsq {
    oracle: OracleHandle,
    sent: Sent,
    /// Tokens of a mean answer.
    output_tokens: f64,
}

/// What was sent and is not on a runner yet, by node, shared by all routers.
pub type Sent = Arc<Mutex<BTreeMap<PublicKey, Vec<UnixMicros>>>>;

impl Jsq {
    /// The strategy of one router.
    #[must_use]
    pub const fn new(oracle: OracleHandle, sent: Sent, output_tokens: f64) -> Self {
        Self { oracle, sent, output_tokens }
    }

    /// When the request would be done at a node, in seconds from now.
    fn done_seconds(&self, now: UnixMicros, truth: &Truth, on_the_way: usize, prompt_tokens: f64) -> f64 {
        if !truth.is_up {
            return f64::MAX;
        }
        let slots = f64::from(truth.profile.slots.max(1));
        let jobs = f64::from(truth.running) + f64::from(truth.queued) + on_the_way as f64;
        let batch = (jobs + 1.0).min(slots);
        let own = capacity::seconds(&truth.profile, prompt_tokens, self.output_tokens, batch);
        let passed = now.since(truth.at) as f64 / 1e6;
        // What waits at the node and what is on the way is not on the runner yet.
        let outside = f64::from(truth.queued) + on_the_way as f64;
        let ahead = (truth.remaining_micros as f64 / 1e6 - passed).max(0.0) + outside * own / slots;
        // All slots work on what is ahead, and a request waits for as many ends as there are requests too many.
        let beyond = (jobs + 1.0 - slots).max(0.0);
        own + if jobs > 0.0 { ahead * (beyond / jobs).min(1.0) } else { 0.0 }
    }
}

impl Scheduler for Jsq {
    fn plan(&mut self, case: &Case<'_>, scratch: &mut Scratch) -> Result<Decision, NoCandidate> {
        let prompt = case.asked.request.prompt_tokens.get() as f64;
        let oracle = self.oracle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let decision = decide(case, "jsq", scratch, |seats, _| {
            sort_by_key(seats, |row| {
                let Some(truth) = oracle.of(&row.node) else { return f64::MAX };
                let on_the_way = sent.get_mut(&row.node).map_or(0, |times| {
                    times.retain(|time| case.now.since(*time) < WAY_MICROS);
                    times.len()
                });
                self.done_seconds(case.now, truth, on_the_way, prompt)
            });
        })?;
        if let Some(first) = decision.choices.first() {
            sent.entry(first.node).or_default().push(case.now);
        }
        Ok(decision)
    }
}

/// From a decision to the node's runner: the quote's way to the client, and the job's way to the node.
const WAY_MICROS: u64 = 110_000;
