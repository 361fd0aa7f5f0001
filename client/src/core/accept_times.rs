//! How long nodes take to answer a job open, learned over the jobs of one process: a node that has gone is then noticed
//! in the time that answers need here, and not in the time that they need anywhere.
//!
//! The estimate is that of RFC 6298, a smoothed time and four times its deviation. Times of opens that were sent twice
//! are left out (Karn's rule): nobody knows which of them was answered. Each node that answers nothing doubles the wait
//! until one does: when all are silent it is our own network that has gone, and to try all of them in a hurry is no
//! use.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::job_spec::JourneyTiming;

/// The times of one process. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct AcceptTimes(Arc<Mutex<Learned>>);

#[derive(Debug, Default)]
struct Learned {
    estimate: Option<Estimate>,
    /// Nodes that answered nothing, since one did.
    silent: u32,
}

/// In microseconds.
#[derive(Clone, Copy, Debug)]
struct Estimate {
    smoothed: u64,
    deviation: u64,
}

impl AcceptTimes {
    /// A node answered an open that was sent once, after so many microseconds.
    pub fn observe(&self, took: u64) {
        let mut learned = self.learned();
        learned.silent = 0;
        learned.estimate = Some(match learned.estimate {
            None => Estimate { smoothed: took, deviation: took / 2 },
            Some(Estimate { smoothed, deviation }) => Estimate {
                smoothed: mix(smoothed, took, 8),
                deviation: mix(deviation, smoothed.abs_diff(took), 4),
            },
        });
    }

    /// A node answered nothing at all.
    pub fn missed(&self) {
        let mut learned = self.learned();
        learned.silent = learned.silent.saturating_add(1);
    }

    /// Wait for the answer to a first open, in milliseconds.
    #[must_use]
    pub fn wait_ms(&self, timing: &JourneyTiming) -> u64 {
        let learned = self.learned();
        let Some(Estimate { smoothed, deviation }) = learned.estimate else { return timing.accept_wait_ms };
        let wait_ms = smoothed.saturating_add(deviation.saturating_mul(4)).div_ceil(1_000);
        let backed_off =
            wait_ms.max(timing.accept_wait_min_ms).saturating_mul(2_u64.saturating_pow(learned.silent));
        backed_off.min(timing.accept_wait_ms)
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The old value with one part of so many replaced by the new one.
const fn mix(old: u64, new: u64, parts: u64) -> u64 {
    (old / parts).saturating_mul(parts - 1).saturating_add(new / parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_after(times: impl IntoIterator<Item = u64>) -> u64 {
        let learned = AcceptTimes::default();
        times.into_iter().for_each(|took_ms| learned.observe(took_ms * 1_000));
        learned.wait_ms(&JourneyTiming::default())
    }

    #[test]
    fn waits_follow_what_answers_take_within_their_bounds() {
        let cases: [(&str, Vec<u64>, u64, u64); 7] = [
            ("nothing known", vec![], 2_500, 2_500),
            ("near nodes", vec![3; 20], 500, 500),
            ("far nodes, the first time", vec![300], 900, 900),
            ("far nodes, ever the same", vec![700; 40], 700, 710),
            ("far nodes, unsteady", [300, 900].repeat(20), 1_500, 2_100),
            ("slower than anybody waits", vec![9_000; 3], 2_500, 2_500),
            ("absurd", vec![u64::MAX / 1_000; 3], 2_500, 2_500),
        ];
        for (situation, times, least, most) in cases {
            let wait = wait_after(times);
            assert!((least..=most).contains(&wait), "{situation}: {wait}");
        }
    }

    #[test]
    fn silence_doubles_the_wait_until_somebody_answers_whichever_job_it_was() {
        let times = AcceptTimes::default();
        let wait = || times.wait_ms(&JourneyTiming::default());
        times.clone().observe(200_000);
        assert_eq!(wait(), 600);
        for expected in [1_200, 2_400, 2_500, 2_500] {
            times.clone().missed();
            assert_eq!(wait(), expected);
        }
        (0..100).for_each(|_| times.missed());
        assert_eq!(wait(), 2_500);
        times.clone().observe(200_000);
        assert!((500..600).contains(&wait()), "{}", wait());
    }
}
