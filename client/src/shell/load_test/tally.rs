//! Sums of what was measured of one target. Latencies go into histograms of three digits, so memory does not grow with
//! the number of requests, and percentiles are of all requests, not of samples.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::exchange::{Exchange, ExchangeError};

/// Longest latency that is told apart: ten minutes, in microseconds.
const LATENCY_MICROS_MAX: u64 = 600_000_000;

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// From due to the first output.
    pub first: Quantiles,
    /// From due to the end.
    pub total: Quantiles,
    /// Between two pieces of output.
    pub gaps: Quantiles,
    /// From due to being sent: how late this program was itself.
    pub late: Quantiles,
    /// Errors by code.
    pub errors: BTreeMap<String, u64>,
    /// Output tokens of good answers.
    pub tokens: u64,
    /// Time under load.
    pub time: Duration,
}

impl Tally {
    pub(super) fn record(&mut self, result: Result<Exchange, ExchangeError>) {
        match result {
            Ok(exchange) => {
                self.first.record(exchange.first);
                self.total.record(exchange.total);
                self.late.record(exchange.late);
                exchange.gaps.iter().for_each(|gap| self.gaps.record(*gap));
                self.tokens = self.tokens.saturating_add(exchange.tokens);
            }
            Err(error) => *self.errors.entry(error.code()).or_default() += 1,
        }
    }

    pub(super) fn add_time(&mut self, time: Duration) {
        self.time = self.time.saturating_add(time);
    }

    /// As after answers that took so long.
    #[cfg(test)]
    pub(crate) fn of_totals_ms(times: &[u64]) -> Self {
        let mut tally = Self::default();
        for total in times.iter().copied().map(Duration::from_millis) {
            let (late, gaps) = (Duration::ZERO, Vec::new());
            tally.record(Ok(Exchange { first: total, total, late, gaps, tokens: 1 }));
        }
        tally
    }

    /// Good answers.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.total.count()
    }

    /// Bad ones.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Something counted, by second under load.
    #[must_use]
    pub fn per_second(&self, count: u64) -> f64 {
        if self.time.is_zero() { 0.0 } else { count as f64 / self.time.as_secs_f64() }
    }
}

/// A distribution of times.
#[derive(Clone, Debug)]
pub struct Quantiles(Option<Histogram<u64>>);

impl Default for Quantiles {
    fn default() -> Self {
        // These bounds are always accepted.
        Self(Histogram::new_with_bounds(1, LATENCY_MICROS_MAX, 3).ok())
    }
}

impl Quantiles {
    fn record(&mut self, time: Duration) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// The time within which this share of all lies, in milliseconds; none without any.
    #[must_use]
    pub fn at(&self, share: f64) -> Option<f64> {
        let histogram = self.0.as_ref().filter(|histogram| !histogram.is_empty())?;
        Some(histogram.value_at_quantile(share) as f64 / 1_000.0)
    }

    /// The mean, in milliseconds.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let histogram = self.0.as_ref().filter(|histogram| !histogram.is_empty())?;
        Some(histogram.mean() / 1_000.0)
    }

    /// The longest, in milliseconds.
    #[must_use]
    pub fn max(&self) -> Option<f64> {
        self.at(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_all_requests_and_errors_are_apart() {
        let mut tally = Tally::default();
        assert_eq!((tally.first.at(0.5), tally.answers()), (None, 0));
        for ms in 1..=100 {
            let time = Duration::from_millis(ms);
            let gaps = vec![time];
            tally.record(Ok(Exchange {
                first: time,
                total: 2 * time,
                late: Duration::ZERO,
                gaps,
                tokens: 3,
            }));
        }
        tally.record(Err(ExchangeError::Cut));
        tally.record(Err(ExchangeError::Cut));
        tally.add_time(Duration::from_secs(4));
        let near = |value: Option<f64>, wanted: f64| (value.unwrap() / wanted - 1.0).abs() < 0.002;
        assert!(near(tally.first.at(0.5), 50.0) && near(tally.first.at(0.99), 99.0));
        assert!(near(tally.total.max(), 200.0) && near(tally.gaps.mean(), 50.5));
        assert_eq!((tally.answers(), tally.failures(), tally.tokens), (100, 2, 300));
        assert!((tally.per_second(tally.answers()) - 25.0).abs() < 1e-9);
    }
}
