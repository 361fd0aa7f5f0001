//! How far replayed times are from observed ones: request by request, and as distributions.

use serde::Serialize;

use super::observation::ObservedRequest;
use super::replay::ReplayedRequest;
use crate::statistics::quantile::{nearest_rank, sorted};
use crate::statistics::significant;

/// Of time to first token and total time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    /// Requests compared.
    pub requests: usize,
    /// Time to first token.
    pub ttft_ms: TimeAccuracy,
    /// Total time.
    pub total_ms: TimeAccuracy,
}

/// Of one time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimeAccuracy {
    /// Mean of absolute errors of single requests, in percent of what was observed.
    pub mape_percent: f64,
    /// Pearson's correlation of single requests.
    pub pearson: f64,
    /// The middle of both.
    pub p50: QuantilePair,
    /// 95th percentiles.
    pub p95: QuantilePair,
    /// 99th percentiles.
    pub p99: QuantilePair,
}

/// A quantile of both distributions, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct QuantilePair {
    /// Of what was observed.
    pub observed: f64,
    /// Of what was simulated.
    pub simulated: f64,
    /// How much the simulated one is larger, in percent of the observed one.
    pub error_percent: f64,
}

/// A bound on an error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Gate {
    /// What.
    pub name: &'static str,
    /// Largest error, in percent.
    pub limit_percent: f64,
    /// The error, without its sign.
    pub error_percent: f64,
    /// True when it is within.
    pub passed: bool,
}

impl Accuracy {
    /// Of requests and their replays; none when nothing was replayed.
    #[must_use]
    pub fn of(pairs: &[(&ObservedRequest, ReplayedRequest)]) -> Option<Self> {
        let pairs: Vec<_> = pairs.iter().filter(|(_, replayed)| replayed.total_us > 0).collect();
        let times = |time: fn(&ObservedRequest, &ReplayedRequest) -> (u64, u64)| {
            let of_pair = |(seen, replayed): &&(&ObservedRequest, ReplayedRequest)| {
                let (seen, replayed) = time(seen, replayed);
                (seen as f64 / 1e3, replayed as f64 / 1e3)
            };
            TimeAccuracy::of(&pairs.iter().map(of_pair).collect::<Vec<_>>())
        };
        let ttft_ms = times(|seen, replayed| (seen.ttft_us, replayed.ttft_us))?;
        let total_ms = times(|seen, replayed| (seen.total_us, replayed.total_us))?;
        Some(Self { requests: pairs.len(), ttft_ms, total_ms })
    }

    /// The bounds that a calibration has to keep.
    #[must_use]
    pub fn gates(&self) -> [Gate; 3] {
        [
            ("total_ms.p50", 10.0, self.total_ms.p50),
            ("total_ms.p95", 20.0, self.total_ms.p95),
            ("ttft_ms.p95", 30.0, self.ttft_ms.p95),
        ]
        .map(|(name, limit_percent, pair)| {
            let error_percent = pair.error_percent.abs();
            Gate { name, limit_percent, error_percent, passed: error_percent <= limit_percent }
        })
    }
}

impl TimeAccuracy {
    fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        let count = pairs.len() as f64;
        let (seen, simulated): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
        let (seen_mean, simulated_mean) = (mean(&seen), mean(&simulated));
        let product = |a: &[f64], a_mean: f64, b: &[f64], b_mean: f64| {
            a.iter().zip(b).map(|(a, b)| (a - a_mean) * (b - b_mean)).sum::<f64>()
        };
        let spread = product(&seen, seen_mean, &seen, seen_mean)
            * product(&simulated, simulated_mean, &simulated, simulated_mean);
        let covariance = product(&seen, seen_mean, &simulated, simulated_mean);
        let errors: Vec<f64> = pairs.iter().map(|(seen, value)| 100.0 * (value / seen - 1.0).abs()).collect();
        let (seen, simulated) = (sorted(seen), sorted(simulated));
        let pair = |permille| {
            let (observed, simulated) = (nearest_rank(&seen, permille)?, nearest_rank(&simulated, permille)?);
            let error_percent = significant(100.0 * (simulated / observed - 1.0), 4);
            let (observed, simulated) = (significant(observed, 6), significant(simulated, 6));
            Some(QuantilePair { observed, simulated, error_percent })
        };
        Some(Self {
            mape_percent: significant(mean(&errors), 4),
            pearson: significant(covariance / spread.sqrt(), 4),
            p50: pair(500)?,
            p95: pair(950)?,
            p99: pair(990)?,
        })
    }
}
