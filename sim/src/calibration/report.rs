//! What a calibration came to: JSON for programs, Markdown for people, distributions as plots.

use std::fmt::Write as _;

use serde::Serialize;

use super::accuracy::{Accuracy, Gate, TimeAccuracy};
use super::fit::{fit, marked};
use super::observation::{ObservationError, Observations, ObservedRequest};
use super::perf_model::MachineFit;
use super::profile_file::CalibratedRunner;
use super::replay::{ReplayedRequest, replay};
use crate::report::plot::{Axis, LineChart, Mark, Scale, Series};

/// A calibration on observed requests.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CalibrationReport {
    /// Form of this report.
    pub schema_version: u32,
    /// What was fitted.
    pub profile: CalibratedRunner,
    /// On the requests that were fitted.
    pub fitted: Accuracy,
    /// On the others.
    pub held_out: Accuracy,
    /// Bounds, on the others.
    pub gates: Vec<Gate>,
    /// True when all bounds are kept.
    pub passed: bool,
    /// Observed and simulated times of the others, in milliseconds.
    #[serde(skip)]
    times: [Vec<(f64, f64)>; 2],
}

impl CalibrationReport {
    /// Fits on one part of the requests and checks on the other.
    pub fn new(observations: &Observations) -> Result<Self, ObservationError> {
        let marks = observations.split()?;
        let profile = fit(observations, &marks)?;
        let replayed = replay(&profile, observations);
        let (of_fit, others) =
            (marked(observations, &replayed, &marks, true), marked(observations, &replayed, &marks, false));
        let too_few = || ObservationError::TooFew(observations.requests.len());
        let (fitted, held_out) =
            (Accuracy::of(&of_fit).ok_or_else(too_few)?, Accuracy::of(&others).ok_or_else(too_few)?);
        let gates = held_out.gates().to_vec();
        let passed = gates.iter().all(|gate| gate.passed);
        Ok(Self { schema_version: 1, profile, fitted, held_out, gates, passed, times: times(&others) })
    }

    /// The page.
    #[must_use]
    pub fn page(&self) -> String {
        let verdict = if self.passed { "all bounds are kept" } else { "a bound is broken" };
        let CalibratedRunner { model, machine, .. } = &self.profile;
        let mut page = format!("# Calibration of {model} on {machine}: {verdict}\n\n");
        page.push_str(
            "| bound, on requests that were not fitted | error % | limit % | |\n|---|---|---|---|\n",
        );
        for Gate { name, limit_percent, error_percent, passed } in &self.gates {
            let kept = if *passed { "kept" } else { "broken" };
            let _ = writeln!(page, "| {name} | {error_percent} | {limit_percent} | {kept} |");
        }
        page.push_str(&accuracy_table("Held out", &self.held_out));
        page.push_str(&accuracy_table("Fitted", &self.fitted));
        let cost = &self.profile.runner.cost;
        let _ = writeln!(
            page,
            "\n## Costs\n\n| | microseconds |\n|---|---|\n| step | {} |\n| sequence | {} |\n| token of context | {} |\n\
             | step with prompt tokens | {} |\n| prompt token | {} |\n| pair of prompt tokens | {} |\n\
             | overhead of a request | {} |",
            micros(cost.step),
            micros(cost.sequence),
            micros(cost.context_token),
            micros(cost.prefill_step),
            micros(cost.prefill_token),
            micros(cost.prefill_pair),
            self.profile.overhead_us,
        );
        page
    }

    /// Distributions of the held-out times: name of the file, and the plot.
    #[must_use]
    pub fn plots(&self) -> [(&'static str, String); 2] {
        let [ttft, total] = &self.times;
        [
            ("ttft.svg", distribution("Time to first token", ttft)),
            ("total.svg", distribution("Total time", total)),
        ]
    }
}

/// The accuracy of a replay, as a page.
#[must_use]
pub fn accuracy_table(title: &str, accuracy: &Accuracy) -> String {
    let mut page = format!(
        "\n## {title}: {} requests\n\n| | MAPE % | Pearson | p50 observed / simulated ms (error %) | p95 | p99 |\n\
         |---|---|---|---|---|---|\n",
        accuracy.requests
    );
    for (name, time) in [("time to first token", &accuracy.ttft_ms), ("total time", &accuracy.total_ms)] {
        let TimeAccuracy { mape_percent, pearson, p50, p95, p99 } = time;
        let _ = write!(page, "| {name} | {mape_percent} | {pearson} |");
        for pair in [p50, p95, p99] {
            let _ = write!(page, " {} / {} ({}) |", pair.observed, pair.simulated, pair.error_percent);
        }
        page.push('\n');
    }
    page
}

/// The machines of a table of measurements, as a page.
#[must_use]
pub fn machines_page(fits: &[MachineFit]) -> String {
    let mut page = String::from(
        "# Costs of a step\n\nIn microseconds; errors are of configurations that were not fitted: median (nine of ten \
         below), in percent.\n\n| model | hardware | step | sequence | 1000 tokens of context \
         | step with prompt tokens | 1000 prompt tokens | a million pairs | tokens in memory | token time error \
         | prompt time error \
         | token time error, memory full |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for fit in fits {
        let cost = &fit.cost;
        let error = |error: &super::perf_model::RelativeError| {
            format!("{} ({})", error.median_percent, error.p90_percent)
        };
        let limited = fit.kv_limited_decode_error.as_ref().map_or_else(|| "-".to_owned(), error);
        let _ = writeln!(
            page,
            "| {} | {} x {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {limited} |",
            fit.model,
            fit.tensor_parallel,
            fit.hardware,
            micros(cost.step),
            micros(cost.sequence),
            micros(cost.context_token.saturating_mul(1_000)),
            micros(cost.prefill_step),
            micros(cost.prefill_token.saturating_mul(1_000)),
            micros(cost.prefill_pair.saturating_mul(1_000_000)),
            fit.kv_tokens,
            error(&fit.decode_error),
            error(&fit.prefill_error),
        );
    }
    page
}

fn micros(femtos: u64) -> f64 {
    crate::statistics::significant(femtos as f64 / 1e9, 4)
}

fn times(pairs: &[(&ObservedRequest, ReplayedRequest)]) -> [Vec<(f64, f64)>; 2] {
    let of = |time: fn(&ObservedRequest, &ReplayedRequest) -> (u64, u64)| {
        let of_pair = |(seen, replayed): &(&ObservedRequest, ReplayedRequest)| {
            let (seen, replayed) = time(seen, replayed);
            (seen as f64 / 1e3, replayed as f64 / 1e3)
        };
        pairs.iter().map(of_pair).collect()
    };
    [of(|seen, got| (seen.ttft_us, got.ttft_us)), of(|seen, got| (seen.total_us, got.total_us))]
}

fn distribution(title: &str, times: &[(f64, f64)]) -> String {
    let (seen, simulated): (Vec<f64>, Vec<f64>) = times.iter().copied().unzip();
    let series = |style: usize, name: &str, values: Vec<f64>| {
        let values = crate::statistics::quantile::sorted(values);
        let count = values.len().max(1) as f64;
        let points = (1..).zip(values).map(|(rank, value)| (value, f64::from(rank) / count)).collect();
        Series { name: name.to_owned(), style, points }
    };
    let chart = LineChart {
        title: format!("{title}, requests that were not fitted"),
        x: Axis::new("milliseconds", Scale::Log),
        y: Axis::share("share of requests"),
        mark: Mark::Steps,
        series: vec![series(0, "observed", seen), series(1, "simulated", simulated)],
    };
    chart.to_svg()
}
