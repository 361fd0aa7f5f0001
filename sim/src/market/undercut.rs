//! A little below the cheapest of the others, down to its floor. Whose floor is above the cheapest price leaves the
//! bottom to it and stays under the next one up: there is work for the second cheapest while the cheapest is full.

use fedai_protocol::MsatPerMtok;

use super::{Outlook, PriceStrategy};
use crate::chance::Chance;

/// Undercuts by a step.
#[derive(Clone, Copy, Debug)]
pub struct Undercut {
    /// The step, in thousandths of the price that is undercut.
    pub step_permille: u64,
}

impl Default for Undercut {
    fn default() -> Self {
        Self { step_permille: 10 }
    }
}

impl PriceStrategy for Undercut {
    fn reprice(&mut self, outlook: &Outlook<'_>, _chance: &mut Chance) -> MsatPerMtok {
        let below = |price: MsatPerMtok| {
            let step = price.get().saturating_mul(self.step_permille).div_ceil(1_000).max(1);
            price.get().saturating_sub(step)
        };
        let within =
            outlook.others.iter().copied().map(below).filter(|price| *price >= outlook.floor().get());
        within.min().map_or_else(
            || outlook.floor().max(outlook.own.min(outlook.list)),
            |price| outlook.bounded(price),
        )
    }
}
