//! What one relay tolerates: a bucket that fills with `events_per_minute` and holds ten seconds' worth, at least one.

use std::time::Duration;

use tokio::time::Instant;

/// A token bucket; without a rate it never runs dry.
#[derive(Debug)]
pub(crate) struct EventBudget {
    per_minute: Option<u32>,
    tokens: f64,
    filled_at: Instant,
}

impl EventBudget {
    pub(crate) fn new(per_minute: Option<u32>, now: Instant) -> Self {
        let mut budget = Self { per_minute, tokens: 0.0, filled_at: now };
        budget.tokens = budget.capacity();
        budget
    }

    /// Takes one, or says how long until there is one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let Some(per_minute) = self.per_minute else { return Ok(()) };
        let per_second = f64::from(per_minute) / 60.0;
        let elapsed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + elapsed * per_second).min(self.capacity());
        self.filled_at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / per_second))
    }

    fn capacity(&self) -> f64 {
        (f64::from(self.per_minute.unwrap_or(0)) / 6.0).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_budget_is_spent_and_refills() {
        let start = Instant::now();
        let mut budget = EventBudget::new(Some(60), start);
        for _ in 0..10 {
            assert_eq!(budget.take(start), Ok(()));
        }
        assert_eq!(budget.take(start), Err(Duration::from_secs(1)));
        assert_eq!(budget.take(start + Duration::from_secs(1)), Ok(()));
        assert!(budget.take(start + Duration::from_secs(1)).is_err());
        let mut unlimited = EventBudget::new(None, start);
        assert!((0..10_000).all(|_| unlimited.take(start).is_ok()));
    }
}
