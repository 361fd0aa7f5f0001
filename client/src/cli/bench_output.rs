//! What `fedai bench` writes. The schema is in docs/schema/bench.json.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::shell::load_test::{LoadPlan, Pace, Quantiles, Tally};

/// `fedai bench`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BenchOutput {
    /// Version of this form.
    pub v: u64,
    /// What was asked for.
    pub plan: BenchPlan,
    /// What was measured, by URL as it was named.
    pub targets: BTreeMap<String, BenchTarget>,
    /// Good answers a second, all targets together, over the time that each was under load.
    pub requests_per_second: f64,
    /// Requests without a good answer, all targets together.
    pub errors: u64,
    /// True when the run was stopped before its end: the figures are of what was answered until then.
    pub interrupted: bool,
}

/// What was asked for.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BenchPlan {
    /// Model.
    pub model: String,
    /// Requests to each target.
    pub requests: u32,
    /// Requests before those.
    pub warmup: u32,
    /// Requests at once; missing with a rate.
    pub concurrency: Option<u16>,
    /// Requests a second; missing with a number at once.
    pub rate: Option<f64>,
    /// Whether answers were streamed.
    pub stream: bool,
    /// Size of a prompt, about.
    pub prompt_tokens: u32,
    /// Most output tokens of an answer.
    pub max_tokens: u32,
    /// Seed of prompts and arrivals.
    pub seed: u64,
}

/// What was measured of one target.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BenchTarget {
    /// Good answers.
    pub answers: u64,
    /// Requests without one.
    pub errors: u64,
    /// The same by code.
    pub errors_by_code: BTreeMap<String, u64>,
    /// Good answers a second under load.
    pub requests_per_second: f64,
    /// Output tokens a second under load.
    pub output_tokens_per_second: f64,
    /// From when a request was due to the first output; to the whole answer where it is not streamed.
    pub ttft_ms: BenchQuantiles,
    /// From when a request was due to the end of its answer.
    pub total_ms: BenchQuantiles,
    /// Between two pieces of output; empty where answers are not streamed.
    pub itl_ms: BenchQuantiles,
    /// How late this program sent requests; they count from when they were due all the same.
    pub late_ms: BenchQuantiles,
}

/// A distribution, in milliseconds; nothing where nothing was measured.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BenchQuantiles {
    /// Median.
    pub p50: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// Mean.
    pub mean: Option<f64>,
    /// Longest.
    pub max: Option<f64>,
}

impl BenchOutput {
    /// The result of a run.
    pub(crate) fn new(plan: &LoadPlan, measured: &[(&str, &Tally)], interrupted: bool) -> Self {
        let (mut targets, mut answers, mut errors, mut seconds) = (BTreeMap::new(), 0, 0_u64, 0.0);
        for (url, tally) in measured {
            answers += tally.answers();
            errors += tally.failures();
            seconds += tally.time.as_secs_f64();
            targets.insert((*url).to_owned(), BenchTarget::new(tally));
        }
        let (concurrency, rate) = match plan.pace {
            Pace::Closed(at_once) => (Some(at_once), None),
            Pace::Open(per_second) => (None, Some(per_second)),
        };
        let plan = BenchPlan {
            model: plan.model.clone(),
            requests: plan.requests,
            warmup: plan.warm_up,
            concurrency,
            rate,
            stream: plan.is_streamed,
            prompt_tokens: plan.prompt_tokens,
            max_tokens: plan.max_tokens,
            seed: plan.seed,
        };
        let requests_per_second = if seconds > 0.0 { answers as f64 / seconds } else { 0.0 };
        Self { v: 1, plan, targets, requests_per_second, errors, interrupted }
    }
}

impl BenchTarget {
    fn new(tally: &Tally) -> Self {
        Self {
            answers: tally.answers(),
            errors: tally.failures(),
            errors_by_code: tally.errors.clone(),
            requests_per_second: tally.per_second(tally.answers()),
            output_tokens_per_second: tally.per_second(tally.tokens),
            ttft_ms: BenchQuantiles::new(&tally.first),
            total_ms: BenchQuantiles::new(&tally.total),
            itl_ms: BenchQuantiles::new(&tally.gaps),
            late_ms: BenchQuantiles::new(&tally.late),
        }
    }
}

impl BenchQuantiles {
    fn new(times: &Quantiles) -> Self {
        Self {
            p50: times.at(0.50),
            p95: times.at(0.95),
            p99: times.at(0.99),
            mean: times.mean(),
            max: times.max(),
        }
    }
}
