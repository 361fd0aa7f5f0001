//! What it costs and a margin on top, whatever the others do.

use fedai_protocol::MsatPerMtok;

use super::{Outlook, PriceStrategy};
use crate::chance::Chance;

/// Cost and margin.
#[derive(Clone, Copy, Debug)]
pub struct CostPlus {
    /// Margin, in thousandths of the cost.
    pub margin_permille: u64,
}

impl Default for CostPlus {
    fn default() -> Self {
        Self { margin_permille: 400 }
    }
}

impl PriceStrategy for CostPlus {
    fn reprice(&mut self, outlook: &Outlook<'_>, _chance: &mut Chance) -> MsatPerMtok {
        let factor = self.margin_permille.saturating_add(1_000);
        outlook.bounded(outlook.cost.get().saturating_mul(factor) / 1_000)
    }
}
