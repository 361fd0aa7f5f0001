//! What a job would take and cost at a candidate: time in milliseconds, money in millisatoshi, one utility in money.
//!
//! Queue depth is an input to time only, so there is one scale and no mixing of units. Announced load loses its weight
//! with age; own jobs are exact.

use fedai_protocol::decision_record::Terms;
use fedai_protocol::quote_request::QuoteRequest;
use fedai_protocol::{PublicKey, UnixMicros};

use super::candidate::{CandidateView, Fleet};
use super::policy::{ModePolicy, Policy};

/// A request prepared for predicting it at many candidates of one fleet.
#[derive(Clone, Debug)]
pub struct Prediction<'a> {
    now: UnixMicros,
    mode: &'a ModePolicy,
    policy: &'a Policy,
    previous: Option<PublicKey>,
    prompt: f64,
    output: f64,
    value_msat: f64,
    msat_per_ms: f64,
}

impl<'a> Prediction<'a> {
    /// Prepares a request.
    #[must_use]
    pub fn new(now: UnixMicros, request: &QuoteRequest, policy: &'a Policy, fleet: &Fleet) -> Self {
        let (mode, prior) = (policy.of(request.mode), fleet.prior());
        let prompt = request.prompt_tokens.get() as f64;
        let output = prior.output_tokens.clamp(1.0, request.max_output_tokens.get().max(1) as f64);
        let median_cost = prior.input_price.mul_add(prompt, prior.output_price * output);
        let median_ms = prior.rtt_ms + prior.prefill_ms.mul_add(prompt, prior.decode_ms * output);
        let value_msat = median_cost.max(policy.job_value_min_msat);
        Self {
            now,
            mode,
            policy,
            previous: request.previous_node,
            prompt,
            output,
            value_msat,
            msat_per_ms: mode.time_value * value_msat / median_ms.max(1.0),
        }
    }

    /// Jobs that a candidate is expected to have: own ones exactly, announced ones by their age.
    #[must_use]
    pub fn jobs(&self, row: &CandidateView) -> f64 {
        let own = f64::from(row.in_flight);
        let age_ms = self.load_age_ms(row);
        if row.load_at.0 == 0 || age_ms > self.policy.load_tau_ms * 8.0 {
            return own;
        }
        let weight = (-age_ms / self.policy.load_tau_ms).exp();
        let announced = f64::from(row.load_jobs) + f64::from(row.sent_since_load);
        own.max(weight.mul_add(announced, (1.0 - weight) * own))
    }

    /// All terms of a candidate that is expected to have `jobs` jobs. `share` is left at 0.
    #[must_use]
    #[inline]
    pub fn terms(&self, row: &CandidateView, jobs: f64) -> Terms {
        let caution = self.mode.caution;
        let prefill = caution.mul_add(row.prefill_sd_ms, row.prefill_ms);
        let decode = caution.mul_add(row.decode_sd_ms, row.decode_ms);
        let fresh = match self.previous {
            Some(node) if node == row.node => self.prompt * (1.0 - self.prefix_credit(row, jobs)),
            _ => self.prompt,
        };
        let (first, rest) = (prefill * fresh, decode * self.output);
        let wait = if jobs < row.slots {
            0.0
        } else {
            (jobs - row.slots + 1.0) / row.slots.max(1.0) * (first + rest)
        };
        let ttft = row.rtt_ms + wait + first;
        let total = ttft + rest;
        let cost =
            row.input_price.mul_add(self.prompt, row.output_price.mul_add(self.output, row.request_price));
        let alpha = self.mode.first_token_share;
        let time = self.msat_per_ms * ttft.mul_add(alpha, total * (1.0 - alpha));
        let loss = (1.0 - row.p_ok) * (self.value_msat + cost);
        let risk = self.mode.risk * (1.0 - row.trust) * cost.max(self.policy.job_value_min_msat * 0.1);
        let utility = (self.mode.price_weight.mul_add(cost, time) + loss + risk).max(1e-3);
        Terms {
            cost_msat: cost,
            ttft_ms: ttft,
            total_ms: total,
            wait_ms: wait,
            p_ok: row.p_ok,
            trust: row.trust,
            utility_msat: if utility.is_finite() { utility } else { f64::MAX },
            share: 0.0,
            load_age_ms: 0.0,
        }
    }

    /// Jobs of this kind that a candidate finishes per second: its weight in the draw.
    #[must_use]
    pub fn capacity(&self, row: &CandidateView) -> f64 {
        let service = row.prefill_ms.mul_add(self.prompt, row.decode_ms * self.output) + row.rtt_ms;
        1_000.0 * row.slots.max(1.0) / service.max(1.0)
    }

    /// Age of the announced load, in milliseconds; 0 when there is none.
    #[must_use]
    pub fn load_age_ms(&self, row: &CandidateView) -> f64 {
        if row.load_at.0 == 0 { 0.0 } else { self.now.since(row.load_at) as f64 / 1e3 }
    }

    /// Share of the prompt that a warm cache saves at the node of the previous turn.
    #[must_use]
    pub fn prefix_credit(&self, row: &CandidateView, jobs: f64) -> f64 {
        let excess = (jobs - row.slots).max(0.0) / row.slots.max(1.0);
        (self.policy.prefix_hit / self.policy.prefix_excess_weight.mul_add(excess, 1.0)).clamp(0.0, 1.0)
    }
}
