//! How many second tries one process may have: a share of its jobs, and a floor in time. When a whole network is
//! broken, every job fails, and each would try several nodes; without a budget, trouble multiplies the load that caused
//! it.
//!
//! A bucket of tokens: each job puts in a part of one, time adds the floor, each second try takes one out.

use std::sync::{Arc, Mutex, PoisonError};

use fedai_protocol::UnixMicros;

/// Thousandths of a token.
const TOKEN: u64 = 1_000;

/// A bucket.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    /// Put in by a job, in thousandths.
    per_job: u64,
    /// Put in by a second, in thousandths.
    per_second: u64,
    /// What it holds at most, in thousandths; full at the start.
    most: u64,
    left: u64,
    at: Option<UnixMicros>,
}

impl RetryBudget {
    /// A full bucket.
    #[must_use]
    pub const fn new(per_job: u64, per_second: u64, tokens_most: u64) -> Self {
        let most = tokens_most.saturating_mul(TOKEN);
        Self { per_job, per_second, most, left: most, at: None }
    }

    /// A job begins.
    pub fn deposit(&mut self, now: UnixMicros) {
        self.age(now);
        self.left = self.left.saturating_add(self.per_job).min(self.most);
    }

    /// A second try wants to begin; else how many milliseconds there is none.
    pub fn withdraw(&mut self, now: UnixMicros) -> Result<(), u64> {
        self.age(now);
        match self.left.checked_sub(TOKEN) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(TOKEN.saturating_sub(self.left).saturating_mul(1_000) / self.per_second.max(1)),
        }
    }

    fn age(&mut self, now: UnixMicros) {
        let millis = self.at.map_or(0, |at| now.millis_since(at));
        self.left = self.left.saturating_add(millis.saturating_mul(self.per_second) / 1_000).min(self.most);
        // What is less than a thousandth is not lost: the clock only moves on when something was put in.
        if self.at.is_none() || millis.saturating_mul(self.per_second) >= 1_000 {
            self.at = Some(now);
        }
    }
}

/// The budgets of one process, for all its jobs.
#[derive(Clone, Debug)]
pub struct RetryBudgets {
    retries: Arc<Mutex<RetryBudget>>,
    hedges: Arc<Mutex<RetryBudget>>,
}

impl Default for RetryBudgets {
    /// Second tries: a fifth of the jobs, one a second, and ten at once. Second attempts beside a slow first one: a
    /// twentieth of the jobs, one in ten seconds, two at once.
    fn default() -> Self {
        let shared = |budget| Arc::new(Mutex::new(budget));
        Self {
            retries: shared(RetryBudget::new(200, 1_000, 10)),
            hedges: shared(RetryBudget::new(50, 100, 2)),
        }
    }
}

impl RetryBudgets {
    /// A job begins.
    pub fn job(&self, now: UnixMicros) {
        for budget in [&self.retries, &self.hedges] {
            budget.lock().unwrap_or_else(PoisonError::into_inner).deposit(now);
        }
    }

    /// Another node, or another round of quotes, after the first.
    pub fn retry(&self, now: UnixMicros) -> Result<(), u64> {
        self.retries.lock().unwrap_or_else(PoisonError::into_inner).withdraw(now)
    }

    /// A second attempt beside the first.
    pub fn hedge(&self, now: UnixMicros) -> Result<(), u64> {
        self.hedges.lock().unwrap_or_else(PoisonError::into_inner).withdraw(now)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> UnixMicros {
        UnixMicros(1_000_000_000 + seconds * 1_000_000)
    }

    #[test]
    fn a_broken_network_gets_a_fifth_more_load_and_not_six_times_as_much() {
        let mut budget = RetryBudget::new(200, 1_000, 10);
        let mut retried = 0;
        // Ten jobs a second for a hundred seconds; each would try five more nodes.
        for job in 0..1_000 {
            let now = at(job / 10);
            budget.deposit(now);
            retried += (0..5).filter(|_| budget.withdraw(now).is_ok()).count();
        }
        let allowed = 10 + 1_000 / 5 + 100;
        assert!((allowed - 10..=allowed).contains(&retried), "{retried} of at most {allowed}");
    }

    #[test]
    fn a_single_job_has_all_the_tries_that_its_limits_allow_and_an_empty_bucket_says_how_long() {
        let mut budget = RetryBudget::new(200, 1_000, 10);
        budget.deposit(at(0));
        assert!((0..10).all(|_| budget.withdraw(at(0)).is_ok()));
        assert_eq!(budget.withdraw(at(0)), Err(1_000));
        assert!(budget.withdraw(at(1)).is_ok());
        assert!(budget.withdraw(at(1)).is_err());
    }

    #[test]
    fn small_steps_of_time_add_up() {
        let mut budget = RetryBudget::new(0, 100, 1);
        budget.withdraw(at(0)).unwrap();
        for millis in 0..9_999 {
            assert!(budget.withdraw(UnixMicros(at(0).0 + millis * 1_000)).is_err(), "{millis}");
        }
        assert!(budget.withdraw(at(10)).is_ok());
    }
}
