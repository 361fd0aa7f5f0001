//! Dearer when busy, cheaper when idle: a price that seeks a utilisation.

use fedai_protocol::MsatPerMtok;

use super::{Outlook, PriceStrategy};
use crate::chance::Chance;

/// Seeks a utilisation.
#[derive(Clone, Copy, Debug)]
pub struct LoadPriced {
    /// Where the price stays as it is.
    pub target: f64,
    /// Relative change of the price for a utilisation that is off by one.
    pub gain: f64,
}

impl Default for LoadPriced {
    fn default() -> Self {
        Self { target: 0.6, gain: 0.25 }
    }
}

impl PriceStrategy for LoadPriced {
    fn reprice(&mut self, outlook: &Outlook<'_>, _chance: &mut Chance) -> MsatPerMtok {
        let off = outlook.utilisation.clamp(0.0, 1.0) - self.target;
        let factor = self.gain.mul_add(off, 1.0);
        outlook.bounded((outlook.own.get() as f64 * factor).round().max(0.0) as u64)
    }
}
