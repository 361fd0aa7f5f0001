//! When the requests of an open loop are due: at random, as those of many independent users are, and the same with the
//! same seed.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Due times.
pub(super) struct Arrivals(ChaCha8Rng);

impl Arrivals {
    pub(super) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// The next due times, from the beginning of their block: gaps are exponential, so arrivals are a Poisson process.
    pub(super) fn block(&mut self, per_second: f64, count: u64) -> Vec<Duration> {
        let mut at = 0.0;
        let mut next = || {
            // 53 random bits, never 0.
            let uniform = ((self.0.next_u64() >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
            at -= uniform.ln() / per_second;
            Duration::try_from_secs_f64(at).unwrap_or(Duration::MAX)
        };
        (0..count).map(|_| next()).collect()
    }
}

/// Tells each due time when it has come. A thread of its own waits: the timer of the runtime counts whole milliseconds,
/// which is more than what is measured here.
pub(super) fn pace(begun: Instant, times: Vec<Duration>) -> mpsc::UnboundedReceiver<Instant> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for time in times {
            let at = begun + time;
            loop {
                let left = at.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                std::thread::park_timeout(left);
            }
            if sender.send(at).is_err() {
                break;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_come_at_their_rate_in_order_and_the_same_with_the_same_seed() {
        let times = Arrivals::new(7).block(50.0, 5_000);
        assert!(times.is_sorted());
        let seconds = times.last().unwrap().as_secs_f64();
        assert!((95.0..105.0).contains(&seconds), "5,000 at 50 a second took {seconds}");
        // As in a Poisson process, about 63 % of the gaps are shorter than the mean.
        let short = times.windows(2).filter(|pair| (pair[1] - pair[0]).as_secs_f64() < 0.02).count();
        assert!((3_000..3_320).contains(&short), "{short}");
        assert_eq!(Arrivals::new(7).block(50.0, 5_000), times);
        assert_ne!(Arrivals::new(8).block(50.0, 5_000), times);
    }
}
