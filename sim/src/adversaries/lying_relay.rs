//! Lying relay: says that it took an event, and loses it.
//!
//! - What it does: one in twenty of all events is confirmed and lost, of every kind.
//! - What it hopes to gain: nothing is paid to relays. Its operator has the node in the seat, and hopes that it suffers
//!   less than the others. It spares nobody: one that knows its friend's keys and spares what is for them is not
//!   weighed.
//! - What meets it: whatever matters is sent again or asked for again - job opens, frames, quotes, announcements
//!   with a lease. With several relays a party publishes to all of them; here it is the only one, which is the
//!   worst case.

use fedai_protocol::UnixMicros;

use super::{Adversary, Beneficiaries};
use crate::conduct::RelayConduct;
use crate::wire::Payload;

/// The entry of the table.
pub const ADVERSARY: Adversary = Adversary {
    name: "lying-relay",
    does: "the only relay confirms one event in twenty and loses it",
    hopes: "nothing is paid to relays; its operator's node, in the seat, is to suffer less than others",
    met_by: "client and node: what is lost is sent or asked for again; with several relays each carries everything",
    two_routers: false,
    is_audited: false,
    cast: |_, hooks| {
        hooks.relays = Some(Box::new(LyingRelay::default()));
        Beneficiaries::seat()
    },
};

/// Loses some.
#[derive(Clone, Copy, Debug, Default)]
pub struct LyingRelay {
    seen: u64,
}

impl RelayConduct for LyingRelay {
    fn carries(&mut self, _now: UnixMicros, _payload: &Payload) -> bool {
        self.seen = self.seen.saturating_add(1);
        // Mixed, so that what is lost is not always of one kind.
        let mixed = self.seen.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        !mixed.is_multiple_of(ONE_IN)
    }
}

/// Lost, one in so many.
const ONE_IN: u64 = 20;
