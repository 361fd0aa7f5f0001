//! A mean over seeds with its 95 % interval. Seeds are independent draws, so Student's t applies to their means; two
//! policies on the same seeds are compared by the differences, seed by seed, in which the luck of a draw cancels.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{significant, student_t};

/// A mean and the interval around it that holds the true mean in 95 of 100 experiments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// Mean over seeds.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// The interval of one value per seed. One seed alone says nothing about its error: low and high are the mean.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        if values.is_empty() {
            return Self::default();
        }
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let half = match u32::try_from(values.len().saturating_sub(1)) {
            Ok(degrees @ 1..) => {
                student_t::two_sided(CONFIDENCE, degrees) * (squares / f64::from(degrees) / count).sqrt()
            }
            _ => 0.0,
        };
        Self { mean, low: mean - half, high: mean + half }.rounded()
    }

    /// The interval of `ours - theirs`, seed by seed.
    #[must_use]
    pub fn of_differences(ours: &[f64], theirs: &[f64]) -> Self {
        let differences: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours - theirs).collect();
        Self::of(&differences)
    }

    /// True when 0 is outside: a difference that is not luck.
    #[must_use]
    pub fn is_significant(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }

    fn rounded(self) -> Self {
        let Self { mean, low, high } = self;
        Self { mean: significant(mean, 6), low: significant(low, 6), high: significant(high, 6) }
    }
}

/// Of all intervals.
const CONFIDENCE: f64 = 0.95;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::{Chance, Stream};
    use crate::sampling;

    #[test]
    fn an_interval_is_the_one_of_the_textbook() {
        // Mean 5, deviation sqrt(2.5), t(4) = 2.776: 5 -+ 1.963.
        let interval = Interval::of(&[3.0, 4.0, 5.0, 6.0, 7.0]);
        assert_eq!(interval, Interval { mean: 5.0, low: 3.03676, high: 6.96324 });
        assert_eq!(Interval::of(&[7.5]), Interval { mean: 7.5, low: 7.5, high: 7.5 });
        assert_eq!(Interval::of(&[]), Interval::default());
    }

    #[test]
    fn nineteen_of_twenty_intervals_hold_the_true_mean() {
        let mut chance = Chance::new(1, Stream::Workload);
        let hits = (0..4_000)
            .filter(|_| {
                let values: Vec<f64> = (0..10).map(|_| sampling::normal(&mut chance) + 3.0).collect();
                let interval = Interval::of(&values);
                interval.low <= 3.0 && 3.0 <= interval.high
            })
            .count();
        assert!((3_750..3_850).contains(&hits), "{hits} of 4000");
    }

    #[test]
    fn what_is_the_same_in_both_cancels() {
        let theirs = [100.0, 900.0, 400.0, 50.0];
        let ours: Vec<f64> =
            theirs.iter().zip([1.0, 2.0, 1.0, 2.0]).map(|(value, less)| value - less).collect();
        let difference = Interval::of_differences(&ours, &theirs);
        assert!(difference.is_significant() && difference.high < 0.0, "{difference:?}");
        assert!(!Interval::of(&[-1.0, 1.0, 0.5]).is_significant());
    }
}
