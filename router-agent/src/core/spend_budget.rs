//! A budget for what is spent beside the ordinary: retries and second copies. A share of the requests may be spent,
//! and a little a second whatever their number, so that failures everywhere do not double the load of a full network.

use fedai_protocol::UnixMicros;

/// Seconds of the steady part, and requests' shares, that can be saved up.
const SAVED_SECONDS: f64 = 10.0;
/// Requests whose share can be saved up.
const SAVED_REQUESTS: f64 = 100.0;

/// A budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpendBudget {
    share: f64,
    per_second: f64,
    saved: f64,
    at: UnixMicros,
}

impl SpendBudget {
    /// A full budget of this share of requests and this much a second.
    #[must_use]
    pub fn new(now: UnixMicros, share: f64, per_second: f64) -> Self {
        Self { share, per_second, saved: share * SAVED_REQUESTS + per_second * SAVED_SECONDS, at: now }
    }

    /// An ordinary request adds its share.
    pub fn earn(&mut self, now: UnixMicros) {
        self.wait(now);
        self.saved = (self.saved + self.share).min(self.most());
    }

    /// Spends `amount`; otherwise says how long it takes until there is enough, in milliseconds.
    pub fn spend(&mut self, now: UnixMicros, amount: f64) -> Result<(), u64> {
        self.wait(now);
        if self.saved >= amount {
            self.saved -= amount;
            return Ok(());
        }
        let seconds = (amount - self.saved) / self.per_second.max(1e-3);
        Err((seconds * 1e3).clamp(100.0, 60_000.0) as u64)
    }

    fn wait(&mut self, now: UnixMicros) {
        let seconds = now.since(self.at) as f64 / 1e6;
        self.saved = (self.saved + seconds * self.per_second).min(self.most());
        self.at = self.at.max(now);
    }

    fn most(&self) -> f64 {
        self.share * SAVED_REQUESTS + self.per_second * SAVED_SECONDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_requests_and_one_a_second() {
        let start = UnixMicros(1_000_000);
        let mut budget = SpendBudget::new(start, 0.2, 1.0);
        let spent = (0..1_000).filter(|_| budget.spend(start, 1.0).is_ok()).count();
        assert_eq!(spent, 30, "what was saved up");
        assert_eq!(budget.spend(start, 1.0), Err(1_000), "one a second comes back");
        assert_eq!(budget.spend(start.plus_seconds(1), 1.0), Ok(()));
        let later = start.plus_seconds(1);
        (0..100).for_each(|_| budget.earn(later));
        let spent = (0..1_000).filter(|_| budget.spend(later, 1.0).is_ok()).count();
        assert!((19..=20).contains(&spent), "{spent}");
    }

    #[test]
    fn time_backwards_earns_nothing() {
        let mut budget = SpendBudget::new(UnixMicros(10_000_000), 0.0, 1.0);
        while budget.spend(UnixMicros(10_000_000), 1.0).is_ok() {}
        assert!(budget.spend(UnixMicros(1), 1.0).is_err());
        assert_eq!(budget.spend(UnixMicros(11_000_000), 1.0), Ok(()));
    }
}
