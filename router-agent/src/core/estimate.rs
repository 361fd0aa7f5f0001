//! Estimators fed by what clients saw: a peak-sensitive mean, a forgetting mean with its spread, a rotating histogram.
//!
//! Every one takes the time as an argument and forgets by it. None is ever fed with what a node says of itself alone.

use fedai_protocol::UnixMicros;

/// A mean that jumps to peaks at once and decays from them: what a latency is likely to be now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PeakEwma {
    value: f64,
    at: Option<UnixMicros>,
}

impl PeakEwma {
    /// Takes a sample; decays towards it with the time constant `tau_ms`.
    pub fn observe(&mut self, now: UnixMicros, sample: f64, tau_ms: f64) {
        let Some(before) = self.at else {
            *self = Self { value: sample, at: Some(now) };
            return;
        };
        let elapsed = now.millis_since(before) as f64;
        let keep = if sample > self.value { 0.0 } else { libm::exp(-elapsed / tau_ms.max(1.0)) };
        self.value = sample.mul_add(1.0 - keep, self.value * keep);
        self.at = Some(now);
    }

    /// The estimate, when there was a sample.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        self.at.map(|_| self.value)
    }
}

/// A mean and a spread in which old samples lose half their weight every half-life.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DecayedMean {
    mean: f64,
    squares: f64,
    weight: f64,
    at: UnixMicros,
}

impl DecayedMean {
    /// Takes a sample.
    pub fn observe(&mut self, now: UnixMicros, sample: f64, half_life_seconds: f64) {
        self.observe_weighted(now, sample, 1.0, half_life_seconds);
    }

    /// Takes a sample that says so much.
    pub fn observe_weighted(&mut self, now: UnixMicros, sample: f64, says: f64, half_life_seconds: f64) {
        let keep = half_life_decay(now, self.at, half_life_seconds);
        self.weight = self.weight.mul_add(keep, says);
        self.squares *= keep;
        let delta = sample - self.mean;
        self.mean += delta * says / self.weight;
        self.squares += says * delta * (sample - self.mean);
        self.at = now;
    }

    /// The mean after blending in a prior that weighs as much as `prior_weight` samples.
    #[must_use]
    pub fn blended(&self, prior: f64, prior_weight: f64) -> f64 {
        let weight = self.weight + prior_weight;
        if weight > 0.0 { self.mean.mul_add(self.weight, prior * prior_weight) / weight } else { prior }
    }

    /// Standard deviation; `prior` until there are two samples' worth of weight.
    #[must_use]
    pub fn spread(&self, prior: f64) -> f64 {
        if self.weight < 2.0 { prior } else { (self.squares / self.weight).max(0.0).sqrt() }
    }

    /// The mean, when there were samples.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.weight > 0.0).then_some(self.mean)
    }
}

/// The factor by which something halves every half-life.
#[must_use]
pub fn half_life_decay(now: UnixMicros, before: UnixMicros, half_life_seconds: f64) -> f64 {
    let seconds = now.since(before) as f64 / 1e6;
    libm::exp2(-seconds / half_life_seconds.max(1e-9))
}

/// Number of buckets: 1 ms to two hours in steps of 30 %.
const BUCKETS: usize = 64;
/// Width of a bucket.
const STEP: f64 = 1.3;

/// Counts by size, in logarithmic buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogHistogram {
    counts: [u32; BUCKETS],
    total: u64,
}

impl Default for LogHistogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], total: 0 }
    }
}

impl LogHistogram {
    /// Counts a value in milliseconds.
    pub fn count(&mut self, millis: u64) {
        let bucket = libm::log(millis.max(1) as f64) / libm::log(STEP);
        let bucket = (bucket.ceil().max(0.0) as usize).min(BUCKETS - 1);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(1);
            self.total = self.total.saturating_add(1);
        }
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
        self.total = self.total.saturating_add(other.total);
    }

    /// Upper border of the bucket that holds this quantile, in milliseconds; 0 when nothing was counted.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> u64 {
        let wanted = (self.total as f64 * quantile).ceil().max(1.0) as u64;
        let mut seen = 0_u64;
        for (bucket, count) in (0_i32..).zip(self.counts) {
            seen = seen.saturating_add(u64::from(count));
            if self.total > 0 && seen >= wanted {
                return STEP.powi(bucket).round() as u64;
            }
        }
        0
    }

    /// Number of values counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }
}

/// The last one to two periods, as two histograms that take turns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RotatingHistogram {
    current: LogHistogram,
    previous: LogHistogram,
    since: UnixMicros,
}

/// Period of a rotating histogram, in seconds.
const PERIOD_SECONDS: u64 = 60;

impl RotatingHistogram {
    /// Counts a value.
    pub fn count(&mut self, now: UnixMicros, millis: u64) {
        let age = now.seconds().since(self.since.seconds());
        if age >= PERIOD_SECONDS {
            let last = core::mem::take(&mut self.current);
            self.previous = if age < 2 * PERIOD_SECONDS { last } else { LogHistogram::default() };
            self.since = now;
        }
        self.current.count(millis);
    }

    /// A quantile over both periods, when at least `least` values are in them.
    #[must_use]
    pub fn quantile(&self, quantile: f64, least: u64) -> Option<u64> {
        let mut both = self.current.clone();
        both.add(&self.previous);
        (both.total() >= least.max(1)).then(|| both.quantile(quantile))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_taken_at_once_and_forgotten_slowly() {
        let mut rtt = PeakEwma::default();
        assert_eq!(rtt.value(), None);
        rtt.observe(UnixMicros(0), 50.0, 10_000.0);
        rtt.observe(UnixMicros(1_000_000), 500.0, 10_000.0);
        assert_eq!(rtt.value(), Some(500.0));
        rtt.observe(UnixMicros(11_000_000), 50.0, 10_000.0);
        let value = rtt.value().unwrap();
        assert!((200.0..250.0).contains(&value), "{value}");
    }

    #[test]
    fn old_samples_lose_their_weight() {
        let mut mean = DecayedMean::default();
        for second in 0..20 {
            mean.observe(UnixMicros(second * 1_000_000), 100.0, 300.0);
        }
        for second in 3_600..3_610 {
            mean.observe(UnixMicros(second * 1_000_000), 10.0, 300.0);
        }
        assert!((mean.mean().unwrap() - 10.0).abs() < 0.1);
        assert!(mean.spread(5.0) < 3.0);
        assert_eq!(DecayedMean::default().blended(7.0, 1.0), 7.0);
    }

    #[test]
    fn quantiles_come_out_within_a_bucket() {
        let mut histogram = LogHistogram::default();
        assert_eq!(histogram.quantile(0.5), 0);
        for millis in 1..=1_000 {
            histogram.count(millis);
        }
        assert!((400..=660).contains(&histogram.quantile(0.5)), "{}", histogram.quantile(0.5));
        assert!((900..=1_250).contains(&histogram.quantile(0.95)));
    }

    #[test]
    fn a_rotating_histogram_forgets_after_two_periods() {
        let mut histogram = RotatingHistogram::default();
        histogram.count(UnixMicros(1), 9_000);
        histogram.count(UnixMicros(130_000_000), 100);
        assert!(histogram.quantile(1.0, 1).unwrap() < 150);
        assert_eq!(histogram.quantile(0.5, 2), None);
    }
}
