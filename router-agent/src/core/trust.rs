//! Trust in a node, from evidence that this router can check itself: acknowledgements by the client that a receipt
//! names, under a dispatch of ours.
//!
//! Beta with forgetting, one for each dimension, weighted by money moved with a cap, so that a thousand
//! free jobs do not
//! buy what one paid job shows. The prior is pessimistic and the score a lower bound: a fresh identity is never better
//! off than an old one, so throwing an identity away never pays.

use fedai_protocol::trust_assertion::TrustDimensions;
use fedai_protocol::{Msat, UnixMicros};

use super::estimate::half_life_decay;

/// Half-life of good evidence, in seconds.
const GOOD_HALF_LIFE_SECONDS: f64 = 14.0 * 86_400.0;
/// Half-life of bad evidence, in seconds: it is remembered longer.
const BAD_HALF_LIFE_SECONDS: f64 = 30.0 * 86_400.0;
/// Weight of a job that moved no money.
const FREE_WEIGHT: f64 = 0.05;
/// Amount from which on weight grows, in msat.
const WEIGHT_FROM_MSAT: f64 = 1_000.0;
/// Amount that has the full weight of 1, in msat: more money in one job says no more.
const WEIGHT_FULL_MSAT: f64 = 1_000_000.0;
/// Prior: one good, three bad.
const PRIOR: (f64, f64) = (1.0, 3.0);
/// One-sided 5 % point of the normal distribution.
const LOWER_BOUND_SD: f64 = 1.645;
/// Evidence below which a node has no record.
const RECORD_WEIGHT: f64 = 0.5;

/// What a piece of evidence is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dimension {
    /// Finished, in time.
    Delivery,
    /// Counted as it could be checked.
    Metering,
    /// Charged what was quoted.
    Price,
}

impl Dimension {
    /// The dimension that a dispute code is about. Unknown codes are about delivery.
    #[must_use]
    pub fn of_dispute(code: &str) -> Self {
        let about = |words: &[&str]| words.iter().any(|word| code.contains(word));
        if about(&["price", "amount", "ceiling", "overcharge", "cost"]) {
            Self::Price
        } else if about(&["token", "usage", "metering", "bytes", "count"]) {
            Self::Metering
        } else {
            Self::Delivery
        }
    }
}

/// Evidence of one dimension.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Beta {
    good: f64,
    bad: f64,
    at: UnixMicros,
}

impl Beta {
    fn observe(&mut self, now: UnixMicros, good: bool, weight: f64) {
        let aged = self.aged(now);
        *self = aged;
        *(if good { &mut self.good } else { &mut self.bad }) += weight;
        self.at = now.max(self.at);
    }

    fn aged(self, now: UnixMicros) -> Self {
        Self {
            good: self.good * half_life_decay(now, self.at, GOOD_HALF_LIFE_SECONDS),
            bad: self.bad * half_life_decay(now, self.at, BAD_HALF_LIFE_SECONDS),
            at: self.at,
        }
    }

    /// Lower bound by the normal approximation, at least 0.
    fn lower_bound(self, now: UnixMicros) -> f64 {
        let aged = self.aged(now);
        let (a, b) = (PRIOR.0 + aged.good, PRIOR.1 + aged.bad);
        let sum = a + b;
        let mean = a / sum;
        let sd = (a * b / (sum * sum * (sum + 1.0))).sqrt();
        LOWER_BOUND_SD.mul_add(-sd, mean).clamp(0.0, 1.0)
    }
}

/// Trust in one node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Trust {
    delivery: Beta,
    metering: Beta,
    price: Beta,
    receipts: u64,
}

impl Trust {
    /// Takes an acknowledgement that found nothing wrong.
    pub fn accepted(&mut self, now: UnixMicros, amount: Msat, complete: bool) {
        let weight = weight(amount);
        self.delivery.observe(now, complete, weight);
        self.metering.observe(now, true, weight);
        self.price.observe(now, true, weight);
        self.receipts = self.receipts.saturating_add(1);
    }

    /// Takes a dispute.
    pub fn disputed(&mut self, now: UnixMicros, amount: Msat, about: Dimension) {
        self.beta(about).observe(now, false, weight(amount));
        self.receipts = self.receipts.saturating_add(1);
    }

    /// Takes proof of misbehaviour that anyone can check: full weight, whatever was paid.
    pub fn proven(&mut self, now: UnixMicros, about: Dimension) {
        self.beta(about).observe(now, false, 4.0);
    }

    /// Lower bound of the chance that it delivers.
    #[must_use]
    pub fn p_ok(&self, now: UnixMicros) -> f64 {
        self.delivery.lower_bound(now)
    }

    /// The score: the worst of the dimensions.
    #[must_use]
    pub fn score(&self, now: UnixMicros) -> f64 {
        let others = self.metering.lower_bound(now).min(self.price.lower_bound(now));
        self.delivery.lower_bound(now).min(others)
    }

    /// The dimensions, in thousandths.
    #[must_use]
    pub fn dimensions(&self, now: UnixMicros) -> TrustDimensions {
        let permille = |beta: Beta| (beta.lower_bound(now) * 1_000.0).round() as u16;
        TrustDimensions {
            delivery_permille: permille(self.delivery),
            metering_permille: permille(self.metering),
            price_permille: permille(self.price),
        }
    }

    /// True when there is too little evidence to speak of a record.
    #[must_use]
    pub fn is_new(&self, now: UnixMicros) -> bool {
        let aged = self.delivery.aged(now);
        aged.good + aged.bad < RECORD_WEIGHT
    }

    /// Acknowledgements that it rests on.
    #[must_use]
    pub const fn receipts(&self) -> u64 {
        self.receipts
    }

    fn beta(&mut self, about: Dimension) -> &mut Beta {
        match about {
            Dimension::Delivery => &mut self.delivery,
            Dimension::Metering => &mut self.metering,
            Dimension::Price => &mut self.price,
        }
    }
}

/// Weight of a job by the money it moved.
fn weight(amount: Msat) -> f64 {
    let grown =
        (amount.get() as f64 / WEIGHT_FROM_MSAT).ln_1p() / (WEIGHT_FULL_MSAT / WEIGHT_FROM_MSAT).ln_1p();
    FREE_WEIGHT + (1.0 - FREE_WEIGHT) * grown.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMicros = UnixMicros(1_000_000_000_000_000);
    const PAID: Msat = Msat::saturating(1_000_000);

    #[test]
    fn a_newcomer_starts_at_zero_and_rises_with_paid_work() {
        let mut trust = Trust::default();
        assert_eq!(trust.score(NOW), 0.0);
        assert!(trust.is_new(NOW));
        let mut last = 0.0;
        for _ in 0..100 {
            trust.accepted(NOW, PAID, true);
            assert!(trust.score(NOW) >= last);
            last = trust.score(NOW);
        }
        assert!(last > 0.9, "{last}");
        assert_eq!(trust.dimensions(NOW).delivery_permille, trust.dimensions(NOW).price_permille);
    }

    #[test]
    fn money_weighs_more_than_count_and_one_whale_is_capped() {
        let (mut free, mut paid, mut whale) = (Trust::default(), Trust::default(), Trust::default());
        for _ in 0..20 {
            free.accepted(NOW, Msat::ZERO, true);
            paid.accepted(NOW, PAID, true);
            whale.accepted(NOW, Msat::MAX, true);
        }
        assert!(free.score(NOW) < paid.score(NOW) / 2.0);
        assert_eq!(whale.score(NOW), paid.score(NOW));
    }

    #[test]
    fn whitewashing_never_pays() {
        let fresh = Trust::default();
        for (good, bad) in [(0, 1), (0, 50), (1, 50), (30, 3), (100, 100), (3, 0)] {
            let mut old = Trust::default();
            for _ in 0..good {
                old.accepted(NOW, PAID, true);
            }
            for _ in 0..bad {
                old.disputed(NOW, PAID, Dimension::Delivery);
            }
            assert!(fresh.score(NOW) <= old.score(NOW), "{good} good, {bad} bad");
        }
    }

    #[test]
    fn one_dimension_sinks_the_score_and_leaves_the_others() {
        let mut trust = Trust::default();
        for _ in 0..50 {
            trust.accepted(NOW, PAID, true);
        }
        let before = trust.dimensions(NOW);
        trust.proven(NOW, Dimension::of_dispute("amount_above_ceiling"));
        let after = trust.dimensions(NOW);
        assert_eq!(after.metering_permille, before.metering_permille);
        assert!(after.price_permille < before.price_permille);
        assert_eq!(Dimension::of_dispute("output_tokens"), Dimension::Metering);
    }

    #[test]
    fn trust_fades_towards_the_prior() {
        let mut trust = Trust::default();
        for _ in 0..100 {
            trust.accepted(NOW, PAID, true);
        }
        let year_later = NOW.plus_seconds(365 * 86_400);
        assert!(trust.score(year_later) < 0.2);
        assert!(trust.is_new(year_later));
    }
}
