//! Black hole: announces itself, and drops every job.
//!
//! - What it does: job opens are lost without a word.
//! - What it hopes to gain: nothing for itself; a rival's friend may hope that clients give up on the network.
//! - What meets it: the client asks twice, then takes the fallback of the same quote; the router's breaker opens
//!   after a few failures and lets one probe through at growing intervals.

use fedai_protocol::UnixMicros;

use super::{Adversary, seat_behaves};
use crate::conduct::NodeConduct;

/// The entry of the table.
pub const ADVERSARY: Adversary = Adversary {
    name: "black-hole",
    does: "takes jobs and never says a word",
    hopes: "nothing for itself",
    met_by: "client: the fallback of the same quote; router: breaker",
    two_routers: false,
    is_audited: false,
    cast: |_, hooks| seat_behaves(hooks, BlackHole),
};

/// Takes jobs and gives nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct BlackHole;

impl NodeConduct for BlackHole {
    fn takes(&mut self, _now: UnixMicros) -> bool {
        false
    }
}
