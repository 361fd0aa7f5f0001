//! When independent people come: arrival processes at a mean rate.

use fedai_protocol::UnixMicros;

use crate::chance::Chance;
use crate::sampling;

/// An arrival process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gaps {
    /// Exponential gaps: nobody knows of anybody else.
    Poisson,
    /// Gamma gaps with this coefficient of variation: below 1 more even than Poisson, above 1 in bursts.
    Gamma {
        /// Deviation over mean of a gap.
        cv: f64,
    },
    /// Weibull gaps with this shape: below 1 in bursts, with a longer tail than gamma.
    Weibull {
        /// Shape; 1 is Poisson.
        shape: f64,
    },
    /// Poisson at a rate that goes up and down as a sine.
    Diurnal {
        /// Length of a day, in seconds.
        period_seconds: f64,
        /// Highest rate over the mean, minus 1: between 0 and 1.
        swing: f64,
    },
    /// Poisson with short times at a multiple of the rate.
    Spikes {
        /// From one spike to the next, in seconds.
        every_seconds: f64,
        /// Length of a spike, in seconds.
        length_seconds: f64,
        /// Rate in a spike over the rate outside.
        factor: f64,
    },
}

impl Gaps {
    /// Draws so many times, in order, at so many a second over the long run.
    #[must_use]
    pub fn draw(&self, count: usize, rate: f64, start: UnixMicros, chance: &mut Chance) -> Vec<UnixMicros> {
        let rate = rate.max(1e-6);
        let mut seconds = 0.0_f64;
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            seconds = self.next(seconds, rate, chance);
            times.push(start.plus((seconds * 1e6) as u64));
        }
        times
    }

    fn next(&self, now: f64, rate: f64, chance: &mut Chance) -> f64 {
        match *self {
            Self::Poisson => now + sampling::exponential(chance) / rate,
            Self::Gamma { cv } => {
                let shape = 1.0 / (cv * cv).max(1e-6);
                now + sampling::gamma(chance, shape) / (shape * rate)
            }
            Self::Weibull { shape } => now + sampling::weibull(chance, shape.max(0.05)) / rate,
            Self::Diurnal { .. } | Self::Spikes { .. } => self.thinned(now, rate, chance),
        }
    }

    /// A Poisson process at the highest rate, of which the share that the time deserves is kept.
    fn thinned(&self, mut now: f64, rate: f64, chance: &mut Chance) -> f64 {
        let most = self.intensity_max();
        loop {
            now += sampling::exponential(chance) / (rate * most);
            if chance.unit() * most < self.intensity(now) {
                return now;
            }
        }
    }

    /// Rate at a time over the mean rate.
    fn intensity(&self, now: f64) -> f64 {
        match *self {
            Self::Diurnal { period_seconds, swing } => {
                let phase = core::f64::consts::TAU * now / period_seconds.max(1e-3);
                swing.clamp(0.0, 1.0).mul_add(libm::sin(phase), 1.0)
            }
            Self::Spikes { every_seconds, length_seconds, .. } => {
                let (base, high) = self.spike_levels();
                if libm::fmod(now, every_seconds.max(1e-3)) < length_seconds { high } else { base }
            }
            Self::Poisson | Self::Gamma { .. } | Self::Weibull { .. } => 1.0,
        }
    }

    fn intensity_max(&self) -> f64 {
        match *self {
            Self::Diurnal { swing, .. } => 1.0 + swing.clamp(0.0, 1.0),
            Self::Spikes { .. } => self.spike_levels().1.max(self.spike_levels().0),
            Self::Poisson | Self::Gamma { .. } | Self::Weibull { .. } => 1.0,
        }
    }

    /// Rates outside and inside a spike, over the mean rate.
    fn spike_levels(&self) -> (f64, f64) {
        let Self::Spikes { every_seconds, length_seconds, factor } = *self else { return (1.0, 1.0) };
        let share = (length_seconds / every_seconds.max(1e-3)).clamp(0.0, 1.0);
        let base = 1.0 / share.mul_add(factor - 1.0, 1.0).max(1e-6);
        (base, base * factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Stream;

    fn seconds(gaps: Gaps, count: usize, rate: f64) -> Vec<f64> {
        let times = gaps.draw(count, rate, UnixMicros(0), &mut Chance::new(5, Stream::Workload));
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
        times.iter().map(|time| time.0 as f64 / 1e6).collect()
    }

    #[test]
    fn every_process_keeps_its_mean_rate() {
        let cases = [
            Gaps::Poisson,
            Gaps::Gamma { cv: 0.5 },
            Gaps::Gamma { cv: 2.0 },
            Gaps::Weibull { shape: 0.7 },
            Gaps::Diurnal { period_seconds: 100.0, swing: 0.8 },
            Gaps::Spikes { every_seconds: 100.0, length_seconds: 10.0, factor: 5.0 },
        ];
        for gaps in cases {
            let times = seconds(gaps, 40_000, 4.0);
            let rate = 40_000.0 / times[39_999];
            assert!((rate / 4.0 - 1.0).abs() < 0.03, "{gaps:?}: {rate}");
        }
    }

    #[test]
    fn gamma_gaps_spread_as_far_as_they_are_told_to() {
        let times = seconds(Gaps::Gamma { cv: 2.0 }, 40_000, 1.0);
        let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean) * (gap - mean)).sum::<f64>() / gaps.len() as f64;
        assert!((variance.sqrt() / mean - 2.0).abs() < 0.15, "{}", variance.sqrt() / mean);
    }

    #[test]
    fn spikes_and_days_come_when_they_should() {
        let share_within = |times: &[f64], period: f64, until: f64| {
            times.iter().filter(|time| **time % period < until).count() as f64 / times.len() as f64
        };
        let spikes = Gaps::Spikes { every_seconds: 100.0, length_seconds: 10.0, factor: 5.0 };
        // A tenth of the time at five times the rate: 0.5 of 1.4.
        let share = share_within(&seconds(spikes, 40_000, 4.0), 100.0, 10.0);
        assert!((share - 0.357).abs() < 0.02, "{share}");
        let day = Gaps::Diurnal { period_seconds: 100.0, swing: 1.0 };
        // Half a period of 1 + sin: 1/2 + 1/pi.
        let share = share_within(&seconds(day, 40_000, 4.0), 100.0, 50.0);
        assert!((share - 0.818).abs() < 0.02, "{share}");
    }
}
