//! When to start a runner again, and when to stop trying.
//!
//! The rule: waits double up to a ceiling and are jittered from a given seed; too many restarts
//! within a window mean the runner is flapping, which only a person can fix.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// How often and how fast restarts happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartPolicy {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// Restarts allowed within `window`; one more and the runner is given up.
    pub restarts_max: usize,
    /// See `restarts_max`.
    pub window: Duration,
    /// Seed of the jitter. Different seeds keep a rack of nodes from restarting in step.
    pub jitter_seed: u64,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(60),
            restarts_max: 5,
            window: Duration::from_secs(600),
            jitter_seed: 0,
        }
    }
}

/// Remembers the restarts of one runner.
pub(super) struct Backoff {
    policy: RestartPolicy,
    recent: VecDeque<Instant>,
    attempt: u32,
    noise: u64,
}

impl Backoff {
    pub(super) fn new(policy: RestartPolicy) -> Self {
        Self { noise: policy.jitter_seed, policy, recent: VecDeque::new(), attempt: 0 }
    }

    /// The wait before the next start, or `None` to give up.
    pub(super) fn next(&mut self, now: Instant) -> Option<Duration> {
        let window = self.policy.window;
        self.recent.retain(|at| now.saturating_duration_since(*at) < window);
        if self.recent.len() >= self.policy.restarts_max {
            return None;
        }
        self.recent.push_back(now);
        let factor = 1u32.checked_shl(self.attempt).unwrap_or(u32::MAX);
        self.attempt = self.attempt.saturating_add(1).min(31);
        let wait = self.policy.first.saturating_mul(factor).min(self.policy.longest);
        // Between three and five quarters of it.
        Some(wait.saturating_mul(750 + self.noise_below(501)) / 1000)
    }

    /// It worked for a good while: the next failure is a new story.
    pub(super) fn forgive(&mut self) {
        self.attempt = 0;
    }

    /// SplitMix64: enough to spread waits.
    fn noise_below(&mut self, bound: u32) -> u32 {
        self.noise = self.noise.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.noise;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((z ^ (z >> 31)) % u64::from(bound.max(1))).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_double_to_a_ceiling_and_then_it_gives_up() {
        let policy = RestartPolicy {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(4),
            restarts_max: 4,
            ..RestartPolicy::default()
        };
        let mut backoff = Backoff::new(policy);
        let now = Instant::now();
        for want in [1.0, 2.0, 4.0, 4.0] {
            let wait = backoff.next(now).map_or(0.0, |w| w.as_secs_f64());
            assert!((want * 0.75..=want * 1.25).contains(&wait), "{wait} for {want}");
        }
        assert_eq!(backoff.next(now), None);
        // Old restarts are forgotten, the doubling only after a good run.
        let later = now + Duration::from_secs(600);
        assert!(backoff.next(later) > Some(Duration::from_secs(2)));
        backoff.forgive();
        assert!(backoff.next(later) < Some(Duration::from_secs(2)));
    }

    #[test]
    fn jitter_follows_the_seed() {
        let waits = |jitter_seed| {
            let mut backoff = Backoff::new(RestartPolicy { jitter_seed, ..Default::default() });
            let now = Instant::now();
            [backoff.next(now), backoff.next(now)]
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }
}
