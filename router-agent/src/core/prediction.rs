//! What a job would take and cost at a candidate: time in milliseconds, money in millisatoshi, one utility in money.
//!
//! Queue depth is an input to time only, so there is one scale and no mixing of units. Announced load loses its weight
//! with age; own jobs are exact. A server that batches is slower for each job the more jobs run beside it, long before
//! it is full: the time per output token grows by a measured amount with each.

use fedai_protocol::decision_record::Terms;
use fedai_protocol::quote_request::QuoteRequest;
use fedai_protocol::{PublicKey, UnixMicros};

use super::candidate::{CandidateView, Fleet};
use super::columns::{Block, Numbers};
use super::lanes::{LANES, Lanes, Number};
use super::policy::{ModePolicy, Policy};

/// Time constants after which announced load has no weight left.
const FADE_TAUS: f64 = 8.0;

/// What a refusal and a second open cost, in milliseconds.
const WAY_BACK_MS: f64 = 100.0;
/// No client waits longer than this for a slot when there is somewhere else to go.
const PATIENCE_MS_MAX: f64 = 3_600_000.0;

/// A request prepared for predicting it at many candidates of one fleet.
#[derive(Clone, Debug)]
pub struct Prediction<'a> {
    now_micros: f64,
    policy: &'a Policy,
    previous: Option<PublicKey>,
    prompt: f32,
    output: f32,
    value_msat: f32,
    msat_per_ms: f32,
    price_weight: f32,
    first_token_share: f32,
    risk: f32,
    caution: f32,
    unproven: f32,
    least_at_risk_msat: f32,
    fade_per_micro: f64,
    steepness: i32,
}

/// What comes out for one candidate, or for eight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Predicted<N> {
    pub(super) cost_msat: N,
    pub(super) ttft_ms: N,
    pub(super) total_ms: N,
    pub(super) wait_ms: N,
    pub(super) utility_msat: N,
    /// Jobs of this kind that it finishes per second.
    pub(super) capacity: N,
}

impl<'a> Prediction<'a> {
    /// Prepares a request.
    #[must_use]
    pub fn new(now: UnixMicros, request: &QuoteRequest, policy: &'a Policy, fleet: &Fleet) -> Self {
        let (mode, prior): (&ModePolicy, _) = (policy.of(request.mode), fleet.prior());
        let prompt = request.prompt_tokens.get() as f64;
        let output = prior.output_tokens.clamp(1.0, request.max_output_tokens.get().max(1) as f64);
        let median_cost = prior.input_price * prompt + prior.output_price * output;
        let median_ms = prior.rtt_ms + prior.prefill_ms * prompt + prior.decode_ms * output;
        let value_msat = median_cost.max(policy.job_value_min_msat);
        Self {
            now_micros: now.0 as f64,
            policy,
            previous: request.previous_node,
            prompt: prompt as f32,
            output: output as f32,
            value_msat: value_msat as f32,
            msat_per_ms: (mode.time_value * value_msat / median_ms.max(1.0)) as f32,
            price_weight: mode.price_weight as f32,
            first_token_share: mode.first_token_share as f32,
            risk: mode.risk as f32,
            caution: mode.caution as f32,
            // Where nobody is proven, nobody is worse for it.
            unproven: ((1.0 - policy.unproven_p_ok) * prior.maturity) as f32,
            least_at_risk_msat: (policy.job_value_min_msat * 0.1) as f32,
            fade_per_micro: 1e-3 / (policy.load_tau_ms * FADE_TAUS).max(1e-3),
            steepness: mode.gamma,
        }
    }

    /// Jobs that a candidate is expected to have: own ones exactly, announced ones by their age.
    #[must_use]
    pub fn jobs(&self, row: &CandidateView) -> f64 {
        f64::from(self.jobs_of(&Numbers::from(row), self.fade(row.load_at.0 as f64)))
    }

    /// All terms of a candidate that is expected to have `jobs` jobs. `share` and `load_age_ms` are left at 0.
    #[must_use]
    pub fn terms(&self, row: &CandidateView, jobs: f64) -> Terms {
        let numbers = Numbers::from(row);
        let predicted = self.predict(&numbers, jobs as f32, self.fresh_prompt(row, jobs));
        Terms {
            cost_msat: f64::from(predicted.cost_msat),
            ttft_ms: f64::from(predicted.ttft_ms),
            total_ms: f64::from(predicted.total_ms),
            wait_ms: f64::from(predicted.wait_ms),
            p_ok: row.p_ok,
            trust: row.trust,
            utility_msat: f64::from(predicted.utility_msat),
            share: 0.0,
            load_age_ms: 0.0,
        }
    }

    /// The wait for a slot at which a candidate with these terms costs as much as the next one, and what going there
    /// costs: a refusal comes back within about the time that the network takes.
    #[must_use]
    pub fn patience_ms(&self, terms: &Terms, next: &Terms) -> u64 {
        let dearer = (next.utility_msat - terms.utility_msat) / f64::from(self.msat_per_ms).max(1e-9);
        (terms.wait_ms + dearer + WAY_BACK_MS).clamp(0.0, PATIENCE_MS_MAX) as u64
    }

    /// Age of the announced load, in milliseconds; 0 when there is none.
    #[must_use]
    pub fn load_age_ms(&self, row: &CandidateView) -> f64 {
        if row.load_at.0 == 0 { 0.0 } else { ((self.now_micros - row.load_at.0 as f64) / 1e3).max(0.0) }
    }

    /// Share of the prompt that a warm cache saves at the node of the previous turn.
    #[must_use]
    pub fn prefix_credit(&self, row: &CandidateView, jobs: f64) -> f64 {
        let excess = (jobs - row.slots).max(0.0) / row.slots.max(1.0);
        (self.policy.prefix_hit / (self.policy.prefix_excess_weight * excess + 1.0)).clamp(0.0, 1.0)
    }

    /// Prompt tokens that have to be read: all of them, but for a warm cache.
    pub(super) fn fresh_prompt(&self, row: &CandidateView, jobs: f64) -> f32 {
        match self.previous {
            Some(node) if node == row.node => self.prompt * (1.0 - self.prefix_credit(row, jobs) as f32),
            _ => self.prompt,
        }
    }

    /// The whole prompt.
    pub(super) const fn prompt(&self) -> f32 {
        self.prompt
    }

    /// The jobs of eight candidates.
    #[inline]
    pub(super) fn jobs_of_block(&self, block: &Block) -> Lanes {
        let mut fade = Lanes([0.0; LANES]);
        for (fade, at) in fade.0.iter_mut().zip(&block.load_at) {
            *fade = self.fade(*at);
        }
        self.jobs_of(&block.numbers, fade)
    }

    /// Share that announced load still has, before it is raised to the eighth power; an announcement that never was is
    /// infinitely old.
    #[inline]
    fn fade(&self, load_at: f64) -> f32 {
        (1.0 - (self.now_micros - load_at) * self.fade_per_micro) as f32
    }

    /// Own jobs, what is left of the announced ones, and for the rest those that others usually have there.
    #[inline]
    pub(super) fn jobs_of<N: Number>(&self, numbers: &Numbers<N>, fade: N) -> N {
        let more = (numbers.announced - numbers.in_flight).at_least(N::of(0.0));
        let weight = eighth_power(fade);
        numbers.in_flight + weight * more + (N::of(1.0) - weight) * numbers.others
    }

    /// The formula. `fresh` are the prompt tokens that have to be read.
    #[inline]
    pub(super) fn predict<N: Number>(&self, numbers: &Numbers<N>, jobs: N, fresh: N) -> Predicted<N> {
        let (zero, one) = (N::of(0.0), N::of(1.0));
        let (prompt, output, caution) = (N::of(self.prompt), N::of(self.output), N::of(self.caution));
        let others = numbers.slots - one;
        let decode = numbers.decode_ms + numbers.decode_job_ms * jobs.at_most(others);
        let first = (numbers.prefill_ms + caution * numbers.prefill_sd_ms) * fresh;
        let rest = (decode + caution * numbers.decode_sd_ms) * output;
        // One prompt is read at a time, outputs are written side by side.
        let full = numbers.decode_ms + numbers.decode_job_ms * others;
        let job_ms = (numbers.prefill_ms * prompt + full * output / numbers.slots).at_least(N::of(1e-3));
        let wait = (jobs - others).at_least(zero) * job_ms;
        let ttft = numbers.rtt_ms + wait + first;
        let total = ttft + rest;
        let tokens = numbers.true_input_price * prompt + numbers.true_output_price * output;
        let cost = tokens + numbers.request_price;
        let alpha = self.first_token_share;
        let time = N::of(self.msat_per_ms) * (ttft * N::of(alpha) + total * N::of(1.0 - alpha));
        // What is not proven is assumed to be as good as most newcomers are, never as bad as the bound says.
        let lost = N::of(self.unproven) * (one - numbers.p_ok);
        let loss = lost * (N::of(self.value_msat) + cost);
        let at_risk = cost.at_least(N::of(self.least_at_risk_msat));
        let risk = N::of(self.risk) * (one - numbers.trust) * at_risk;
        let utility = N::of(self.price_weight) * cost + time + loss + risk;
        Predicted {
            cost_msat: cost,
            ttft_ms: ttft,
            total_ms: total,
            wait_ms: wait,
            utility_msat: utility.at_most(N::of(1e30)).at_least(N::of(1e-3)),
            capacity: N::of(1_000.0) / job_ms,
        }
    }

    /// Weight in the draw: capacity by a power of the utility.
    #[inline]
    pub(super) fn weight<N: Number>(&self, predicted: &Predicted<N>) -> N {
        // Only ratios count; the value of the job keeps the power far from both ends of the numbers.
        let ratio = N::of(self.value_msat) / predicted.utility_msat;
        let ratio = ratio.at_least(N::of(1e-6)).at_most(N::of(1e6));
        let squared = ratio * ratio;
        let power = match self.steepness {
            0 => N::of(1.0),
            1 => ratio,
            2 => squared,
            3 => squared * ratio,
            _ => squared * squared,
        };
        (predicted.capacity * power).at_most(N::of(1e30))
    }
}

/// `(1 - age / 8 tau)^8` is close to `exp(-age / tau)`, ends at zero, and is the same on every machine.
#[inline]
fn eighth_power<N: Number>(fade: N) -> N {
    let fade = fade.at_least(N::of(0.0)).at_most(N::of(1.0));
    let squared = fade * fade;
    let fourth = squared * squared;
    fourth * fourth
}

/// Weight of what was announced `age_micros` ago.
pub(super) fn faded(age_micros: f64, tau_ms: f64) -> f32 {
    eighth_power((1.0 - age_micros * 1e-3 / (tau_ms * FADE_TAUS).max(1e-3)) as f32)
}
