//! Learns by trying: a bandit over a few prices around the list price, rewarded by the profit of the period. What it
//! learned fades, because the others learn as well.

use fedai_protocol::MsatPerMtok;

use super::{Outlook, PriceStrategy};
use crate::chance::Chance;

/// Prices that are tried, in thousandths of the list price.
const ARMS_PERMILLE: [u64; 7] = [500, 650, 800, 1_000, 1_250, 1_600, 2_000];
/// The arm that it begins with.
const FIRST_ARM: usize = 3;
/// A period in so many of a thousand tries a price that is not thought the best.
const EXPLORE_PERMILLE: u64 = 100;
/// Weight of the newest period in what is thought of an arm.
const RATE: f64 = 0.15;

/// A bandit over prices.
#[derive(Clone, Copy, Debug)]
pub struct Learning {
    arm: usize,
    /// Profit expected of each arm, in msat a period; none while it was never tried.
    value: [Option<f64>; ARMS_PERMILLE.len()],
}

impl Default for Learning {
    fn default() -> Self {
        Self { arm: FIRST_ARM, value: [None; ARMS_PERMILLE.len()] }
    }
}

impl PriceStrategy for Learning {
    fn reprice(&mut self, outlook: &Outlook<'_>, chance: &mut Chance) -> MsatPerMtok {
        let profit = outlook.earned.get() as f64 - outlook.spent.get() as f64;
        if let Some(value) = self.value.get_mut(self.arm) {
            *value = Some(value.map_or(profit, |before| RATE.mul_add(profit - before, before)));
        }
        self.arm = if chance.happens(EXPLORE_PERMILLE) {
            usize::try_from(chance.between(0, ARMS_PERMILLE.len() as u64 - 1)).unwrap_or(FIRST_ARM)
        } else {
            self.best()
        };
        let permille = ARMS_PERMILLE.get(self.arm).copied().unwrap_or(1_000);
        outlook.bounded(outlook.list.get().saturating_mul(permille) / 1_000)
    }
}

impl Learning {
    /// An arm beside a known one that was never tried, or the one that is thought the best; the first of equals.
    fn best(&self) -> usize {
        let untried = |at: usize| self.value.get(at).is_some_and(Option::is_none);
        if let Some(next) =
            [self.arm.wrapping_add(1), self.arm.wrapping_sub(1)].into_iter().find(|at| untried(*at))
        {
            return next;
        }
        let mut best: Option<(usize, f64)> = None;
        for (at, value) in self.value.iter().enumerate() {
            let Some(value) = *value else { continue };
            if best.is_none_or(|(_, most)| value > most) {
                best = Some((at, value));
            }
        }
        best.map_or(FIRST_ARM, |(at, _)| at)
    }
}
