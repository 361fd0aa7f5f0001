//! LiteLLM's latency rule, as its `lowest_latency.py` computes it (commit 015b9454), with its two slips: of ten kept
//! samples only the last one is ever replaced, and the time to the first token is divided by the tokens of the answer.
//! A deployment that was never seen has latency 0 and is tried first.
//!
//! Around it, its cooldowns: a deployment that says that it is full rests for five seconds, and so does one of whose
//! calls in this minute more than half failed (not on the first).

use std::collections::BTreeMap;

use fedai_protocol::{PublicKey, UnixMicros};
use fedai_router_agent::core::node_view::Observation;
use fedai_router_agent::core::scheduler::{Case, Decision, NoCandidate, Scheduler, Scratch};

use super::order::{decide, sort_by_key};

/// The strategy.
#[derive(Clone, Debug, Default)]
pub struct Litellm {
    deployments: BTreeMap<PublicKey, Deployment>,
}

#[derive(Clone, Debug, Default)]
struct Deployment {
    /// Seconds to the first token for each token of the answer.
    first_token: Vec<f64>,
    minute: u64,
    calls: u32,
    failures: u32,
    rests_until: UnixMicros,
}

impl Deployment {
    fn keep(&mut self, value: f64) {
        if self.first_token.len() >= SAMPLES {
            self.first_token.truncate(SAMPLES - 1);
        }
        self.first_token.push(value);
    }

    fn latency(&self) -> f64 {
        let count = self.first_token.len().max(1) as f64;
        self.first_token.iter().sum::<f64>() / count
    }

    fn count(&mut self, now: UnixMicros, failed: bool) {
        let minute = now.0 / 60_000_000;
        if self.minute != minute {
            (self.minute, self.calls, self.failures) = (minute, 0, 0);
        }
        self.calls = self.calls.saturating_add(1);
        self.failures = self.failures.saturating_add(u32::from(failed));
        if self.calls > 1 && self.failures.saturating_mul(2) > self.calls {
            self.rests_until = now.plus_seconds(COOLDOWN_SECONDS);
        }
    }
}

impl Scheduler for Litellm {
    fn plan(&mut self, case: &Case<'_>, scratch: &mut Scratch) -> Result<Decision, NoCandidate> {
        decide(case, "litellm", scratch, |seats, _| {
            sort_by_key(seats, |row| match self.deployments.get(&row.node) {
                // Those that rest come last: with all at rest it would refuse, and nobody would be served better.
                Some(deployment) if deployment.rests_until > case.now => f64::MAX,
                Some(deployment) => deployment.latency(),
                None => 0.0,
            });
        })
    }

    fn observed(&mut self, now: UnixMicros, node: &PublicKey, _model: &str, seen: &Observation) {
        let tokens = seen.usage.output_tokens.get().max(1) as f64;
        let deployment = self.deployments.entry(*node).or_default();
        deployment.keep(seen.ttft_ms as f64 / 1e3 / tokens);
        deployment.count(now, false);
    }

    fn failed(&mut self, now: UnixMicros, node: &PublicKey, _model: &str, busy: bool) {
        let deployment = self.deployments.entry(*node).or_default();
        deployment.count(now, true);
        if busy {
            deployment.rests_until = now.plus_seconds(COOLDOWN_SECONDS);
        } else {
            deployment.keep(PENALTY_SECONDS);
        }
    }
}

/// Kept for each deployment.
const SAMPLES: usize = 10;
/// What it notes for a call that timed out.
const PENALTY_SECONDS: f64 = 1_000.0;
/// Its default.
const COOLDOWN_SECONDS: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_of_ten_samples_is_replaced() {
        let mut deployment = Deployment::default();
        for value in 1..=12 {
            deployment.keep(f64::from(value));
        }
        assert_eq!(deployment.first_token.len(), 10);
        assert_eq!(deployment.first_token.last(), Some(&12.0));
        assert_eq!(deployment.first_token.first(), Some(&1.0));
    }
}
