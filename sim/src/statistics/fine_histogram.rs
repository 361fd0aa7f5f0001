//! A histogram in buckets that grow with their values: a million latencies in a few kilobytes, every quantile within 1
//! % of the exact one, and sums of histograms that lose nothing more.

use std::collections::BTreeMap;

/// Buckets in a doubling: neighbouring bounds differ by 2^(1/128) - 1, which is 0.54 %.
const BUCKETS_PER_DOUBLING: f64 = 128.0;

/// Counts of positive values. What is 0 or less is counted as 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FineHistogram {
    buckets: BTreeMap<i32, u64>,
    zeros: u64,
    count: u64,
}

impl FineHistogram {
    /// Counts a value.
    pub fn add(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        if value > 0.0 && value.is_finite() {
            let bucket = (libm::log2(value) * BUCKETS_PER_DOUBLING).floor() as i32;
            let count = self.buckets.entry(bucket).or_insert(0);
            *count = count.saturating_add(1);
        } else {
            self.zeros = self.zeros.saturating_add(1);
        }
    }

    /// Adds another one.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            let sum = self.buckets.entry(*bucket).or_insert(0);
            *sum = sum.saturating_add(*count);
        }
        self.zeros = self.zeros.saturating_add(other.zeros);
        self.count = self.count.saturating_add(other.count);
    }

    /// Values counted.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The quantile at so many thousandths by nearest rank, as the middle of its bucket; none of none.
    #[must_use]
    pub fn quantile(&self, permille: u64) -> Option<f64> {
        let rank = self.count.checked_mul(permille)?.div_ceil(1_000).max(1);
        let mut seen = self.zeros;
        if self.count == 0 || rank <= seen {
            return (self.count > 0).then_some(0.0);
        }
        for (bucket, count) in &self.buckets {
            seen = seen.saturating_add(*count);
            if rank <= seen {
                return Some(libm::exp2((f64::from(*bucket) + 0.5) / BUCKETS_PER_DOUBLING));
            }
        }
        None
    }

    /// Upper bound of every bucket that has something, and the share of values up to it: points of the distribution.
    #[must_use]
    pub fn shares(&self) -> Vec<(f64, f64)> {
        let mut seen = self.zeros;
        let point = |(bucket, count): (&i32, &u64)| {
            seen = seen.saturating_add(*count);
            let bound = libm::exp2((f64::from(*bucket) + 1.0) / BUCKETS_PER_DOUBLING);
            (bound, seen as f64 / self.count as f64)
        };
        self.buckets.iter().map(point).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::{Chance, Stream};
    use crate::{sampling, statistics::quantile};

    #[test]
    fn a_million_values_fit_and_every_quantile_is_within_one_percent() {
        let mut chance = Chance::new(3, Stream::Workload);
        let values: Vec<f64> =
            (0..1_000_000).map(|_| sampling::log_normal(&mut chance, 900.0, 2.0)).collect();
        let (mut even, mut odd) = (FineHistogram::default(), FineHistogram::default());
        for (index, value) in values.iter().enumerate() {
            if index % 2 == 0 { even.add(*value) } else { odd.add(*value) }
        }
        even.merge(&odd);
        assert!(even.count() == 1_000_000 && even.buckets.len() < 2_500, "{} buckets", even.buckets.len());
        let sorted = quantile::sorted(values);
        for permille in [1, 10, 500, 900, 950, 990, 999] {
            let exact = quantile::nearest_rank(&sorted, permille).unwrap();
            let got = even.quantile(permille as u64).unwrap();
            assert!((got / exact - 1.0).abs() < 0.01, "{permille}: {got}, not {exact}");
        }
    }

    #[test]
    fn nothing_and_zeros_are_counted_too() {
        let mut histogram = FineHistogram::default();
        assert_eq!((histogram.quantile(500), histogram.shares().len()), (None, 0));
        for value in [0.0, -1.0, 8.0] {
            histogram.add(value);
        }
        assert_eq!(histogram.quantile(500), Some(0.0));
        assert!((histogram.quantile(1_000).unwrap() / 8.0 - 1.0).abs() < 0.01);
        assert_eq!(histogram.shares().last().map(|(_, share)| *share), Some(1.0));
    }
}
