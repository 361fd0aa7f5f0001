//! Price bait: offers at its price, charges another one.
//!
//! - What it does: each receipt charges 30 % more than the offer that the quote embeds.
//! - What it hopes to gain: the work of a cheap node at the income of a dear one.
//! - What meets it: the client's check of the receipt. The amount has to be what the signed offer gives for the
//!   usage, to the millisatoshi; anything else is disputed and not paid, and the router counts the dispute against
//!   the price dimension. An amount above the ticket's part is proof by the node's own signature.

use super::{Adversary, seat_behaves};
use fedai_protocol::{Msat, Receipt, UnixMicros};

use crate::conduct::NodeConduct;

/// The entry of the table.
pub const ADVERSARY: Adversary = Adversary {
    name: "price-bait",
    does: "charges 30 % more than the offer that was quoted",
    hopes: "the work of a cheap node at the income of a dear one",
    met_by: "client: an amount that the signed offer does not give is not paid; router: proof, and it is not drawn",
    two_routers: false,
    is_audited: false,
    cast: |_, hooks| seat_behaves(hooks, PriceBait),
};

/// Charges more than it quoted.
#[derive(Clone, Copy, Debug, Default)]
pub struct PriceBait;

impl NodeConduct for PriceBait {
    fn receipt(&mut self, _now: UnixMicros, receipt: &mut Receipt) {
        receipt.amount = Msat::saturating(receipt.amount.get().saturating_mul(130).div_ceil(100));
    }
}
