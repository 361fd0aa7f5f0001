//! Receipt replay: every job is charged twice.
//!
//! - What it does: after each receipt it signs a second one for the same job and ticket, as the next link of its
//!   chain.
//! - What it hopes to gain: double pay, or at least a longer record.
//! - What meets it: a client pays the one receipt that came with its answer, and no other. The router holds every
//!   receipt against its ticket: one more than the ticket has uses is proof of misbehaviour, signed by the node
//!   itself, and who misbehaved is not drawn while anybody else can serve.

use super::{Adversary, seat_behaves};
use fedai_protocol::{Receipt, UnixMicros};

use crate::conduct::NodeConduct;

/// The entry of the table.
pub const ADVERSARY: Adversary = Adversary {
    name: "receipt-replay",
    does: "signs a second receipt for every job",
    hopes: "double pay, or a longer record",
    met_by: "client: pays one receipt; router: a receipt beyond the ticket's uses is proof, and it is not drawn",
    two_routers: false,
    is_audited: false,
    cast: |_, hooks| seat_behaves(hooks, ReceiptReplay),
};

/// Charges twice.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReceiptReplay;

impl NodeConduct for ReceiptReplay {
    fn further_receipts(&mut self, _now: UnixMicros, published: &Receipt) -> Vec<Receipt> {
        vec![published.clone()]
    }
}
