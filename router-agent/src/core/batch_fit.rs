//! How a node's time per output token grows with the jobs beside: a line through what clients observed.
//!
//! A server that batches writes for all its jobs in one step, and the step takes longer with each. What a job alone
//! would take and what each one beside it adds are fitted together, old jobs losing weight, with the fleet's line as
//! a prior: a node that was only ever seen busy is not taken for slow, nor one that was only seen idle for endless.

use fedai_protocol::UnixMicros;

use super::estimate::{DecayedMean, half_life_decay};

/// Jobs that the prior of the height weighs.
const HEIGHT_WEIGHT: f64 = 0.5;
/// Squared jobs that the prior of the slope weighs.
const SLOPE_WEIGHT: f64 = 4.0;
/// Weight from which on the line is the node's own.
const OWN_WEIGHT: f64 = 4.0;

/// The line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BatchFit {
    weight: f64,
    beside: f64,
    time: f64,
    beside_squared: f64,
    beside_time: f64,
    rest: DecayedMean,
    at: UnixMicros,
}

/// Time per output token: alone, and what each job beside adds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchLine {
    /// Of a job that runs alone, in milliseconds.
    pub alone_ms: f64,
    /// Added by each job beside it, in milliseconds.
    pub each_ms: f64,
}

impl BatchFit {
    /// Takes a job that took `time_ms` per output token with `beside` jobs beside it.
    pub fn observe(&mut self, now: UnixMicros, beside: f64, time_ms: f64, half_life_seconds: f64) {
        self.observe_weighted(now, (beside, time_ms), 1.0, half_life_seconds);
    }

    /// The same for a job that says so much.
    pub fn observe_weighted(
        &mut self,
        now: UnixMicros,
        (beside, time_ms): (f64, f64),
        says: f64,
        half_life_seconds: f64,
    ) {
        if self.weight > 0.0 {
            let line = self.line(self.time / self.weight, 0.0);
            let expected = line.alone_ms + line.each_ms * beside;
            self.rest.observe_weighted(now, time_ms - expected, says, half_life_seconds);
        }
        let keep = half_life_decay(now, self.at, half_life_seconds);
        self.weight = self.weight * keep + says;
        self.beside = self.beside * keep + says * beside;
        self.time = self.time * keep + says * time_ms;
        self.beside_squared = self.beside_squared * keep + says * beside * beside;
        self.beside_time = self.beside_time * keep + says * beside * time_ms;
        self.at = now;
    }

    /// The line, with the prior's height and its slope as a share of the height.
    #[must_use]
    pub fn line(&self, prior_ms: f64, prior_share: f64) -> BatchLine {
        let mean = |sum: f64| if self.weight > 0.0 { sum / self.weight } else { 0.0 };
        // The slope of the prior is that of a node as fast as this one.
        let height = match self.weight {
            none if none <= 0.0 => prior_ms,
            _ => mean(self.time) / (1.0 + prior_share * mean(self.beside)),
        };
        let (weight, squares) = (self.weight + HEIGHT_WEIGHT, self.beside_squared + SLOPE_WEIGHT);
        let time = self.time + HEIGHT_WEIGHT * prior_ms;
        let product = self.beside_time + SLOPE_WEIGHT * prior_share * height;
        let determinant = (weight * squares - self.beside * self.beside).max(1e-9);
        let each = ((weight * product - self.beside * time) / determinant).max(0.0);
        // Whatever the slope, the line goes through the middle of what was seen, and never below a fifth of it.
        let alone = ((time - each * self.beside) / weight).max(0.2 * time / weight);
        let each =
            if self.beside > 0.0 { each.min((time - weight * alone).max(0.0) / self.beside) } else { each };
        BatchLine { alone_ms: alone, each_ms: each }
    }

    /// Standard deviation around the line; `prior` until there are two samples' worth of weight.
    #[must_use]
    pub fn spread(&self, prior: f64) -> f64 {
        self.rest.spread(prior)
    }

    /// The line without a prior for its height, when enough was seen to call it the node's own.
    #[must_use]
    pub fn own(&self) -> Option<BatchLine> {
        (self.weight > 0.0).then(|| self.line(self.time / self.weight, 0.0))
    }

    /// What each job adds as a share of the time alone, when jobs were seen beside different numbers of others.
    #[must_use]
    pub fn own_share(&self) -> Option<f64> {
        let variance = self.beside_squared - self.beside * self.beside / self.weight.max(1e-9);
        let line = self.own().filter(|_| self.weight >= OWN_WEIGHT && variance >= SLOPE_WEIGHT)?;
        Some(line.each_ms / line.alone_ms.max(1e-9))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(jobs: &[(f64, f64)]) -> BatchFit {
        let mut fit = BatchFit::default();
        for (second, (beside, time)) in (1..).zip(jobs) {
            fit.observe(UnixMicros(second * 1_000_000), *beside, *time, 300.0);
        }
        fit
    }

    #[test]
    fn a_node_seen_idle_and_busy_is_known_at_every_load() {
        let jobs: Vec<(f64, f64)> = (0..60).map(|n| f64::from(n % 8)).map(|n| (n, 20.0 + 3.0 * n)).collect();
        let line = seen(&jobs).line(50.0, 0.05);
        assert!((line.alone_ms - 20.0).abs() < 2.0, "{line:?}");
        assert!((line.each_ms - 3.0).abs() < 0.4, "{line:?}");
        assert!((seen(&jobs).own_share().unwrap() - 0.15).abs() < 0.03);
    }

    #[test]
    fn a_node_only_seen_busy_is_not_taken_for_slow_by_nature() {
        let fit = seen(&[(7.0, 41.0); 30]);
        let line = fit.line(20.0, 0.15);
        assert!(line.alone_ms < 30.0, "{line:?}");
        assert!(
            (line.alone_ms + 7.0 * line.each_ms - 41.0).abs() < 3.0,
            "what was seen is predicted: {line:?}"
        );
        assert_eq!(fit.own_share(), None, "one load says nothing about the slope");
    }

    #[test]
    fn nothing_seen_is_the_prior() {
        let line = BatchFit::default().line(40.0, 0.1);
        assert_eq!(line, BatchLine { alone_ms: 40.0, each_ms: 4.0 });
        assert_eq!(BatchFit::default().spread(7.0), 7.0);
    }

    #[test]
    fn noise_never_makes_a_fuller_node_faster() {
        let line = seen(&[(0.0, 60.0), (1.0, 30.0), (5.0, 20.0), (6.0, 18.0)]).line(40.0, 0.05);
        assert!(line.each_ms >= 0.0 && line.alone_ms > 0.0, "{line:?}");
    }
}
