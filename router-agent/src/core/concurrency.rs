//! How many jobs a node really runs at once, learned from the times to first token that clients saw.
//!
//! A claim of slots is believed up to a bound only, and only until it was put to the test: a job that should have found
//! a slot and yet waited lowers the number, jobs beside many others that did not wait raise it.

/// A first token this many times later than expected, and the margin on top, is a wait.
const WAIT_RATIO: f64 = 2.0;
/// Margin in milliseconds: what a network and a batch's step do without any queue.
const WAIT_MARGIN_MS: f64 = 250.0;
/// What a wait leaves of the number.
const LOWERED: f64 = 0.9;
/// Share of the number from which on a job without a wait is news.
const FULL_SHARE: f64 = 0.7;

/// The number of slots, learned.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LearnedSlots {
    /// What waits have lowered it to; 0 when none did.
    limit: f64,
    /// Most jobs at once without a wait; forgotten when a wait contradicts it.
    proven: f64,
}

impl LearnedSlots {
    /// True when a first token came much later than `expected_ms`.
    #[must_use]
    pub fn is_wait(first_ms: f64, expected_ms: f64) -> bool {
        first_ms > expected_ms * WAIT_RATIO + WAIT_MARGIN_MS
    }

    /// Takes a job that had `beside` jobs beside it; `waited` as [`LearnedSlots::is_wait`] says.
    pub fn observe(&mut self, beside: f64, waited: bool) {
        let jobs = beside + 1.0;
        if waited && beside > 0.0 {
            // A wait beyond the number is what the number predicts.
            if self.limit <= 0.0 || jobs <= self.limit {
                self.limit = (if self.limit > 0.0 { self.limit } else { jobs } * LOWERED).max(1.0);
                self.proven = self.proven.min(self.limit);
            }
        } else if !waited {
            self.proven = self.proven.max(jobs);
            if self.limit > 0.0 && jobs >= self.limit * FULL_SHARE {
                self.limit = (self.limit + 0.5 / self.limit).max(jobs.min(self.limit + 1.0));
            }
        }
    }

    /// The slots to believe in, of `announced` ones and a bound on what is believed untested.
    #[must_use]
    pub fn believed(&self, announced: f64, untested_max: f64) -> f64 {
        let tested = announced.min(untested_max.max(self.proven + 1.0));
        if self.limit > 0.0 { tested.min(self.limit).max(1.0) } else { tested.max(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node with `real` slots that claims `announced`; jobs come so that it is as full as it is believed to be.
    fn after_tests(real: f64, announced: f64, untested_max: f64) -> f64 {
        let mut slots = LearnedSlots::default();
        for n in 0..400 {
            let believed = slots.believed(announced, untested_max);
            let beside = (believed - f64::from(n % 3)).floor().max(0.0);
            slots.observe(beside, beside + 1.0 > real);
        }
        slots.believed(announced, untested_max)
    }

    #[test]
    fn a_claim_of_three_times_the_slots_does_not_stand() {
        let believed = after_tests(4.0, 12.0, 8.0);
        assert!((2.5..5.5).contains(&believed), "{believed}");
    }

    #[test]
    fn a_large_node_is_believed_once_it_has_shown_it() {
        let untested = LearnedSlots::default().believed(16.0, 8.0);
        assert_eq!(untested, 8.0);
        let believed = after_tests(16.0, 16.0, 8.0);
        assert!(believed > 12.0, "{believed}");
    }

    #[test]
    fn a_wait_without_company_says_nothing_about_slots() {
        let mut slots = LearnedSlots::default();
        slots.observe(0.0, true);
        assert_eq!(slots.believed(4.0, 8.0), 4.0);
    }
}
