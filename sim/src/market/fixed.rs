//! A price that never changes: the operator set it once.

use fedai_protocol::MsatPerMtok;

use super::{Outlook, PriceStrategy};
use crate::chance::Chance;

/// Keeps its price.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fixed;

impl PriceStrategy for Fixed {
    fn reprice(&mut self, outlook: &Outlook<'_>, _chance: &mut Chance) -> MsatPerMtok {
        outlook.own
    }
}
