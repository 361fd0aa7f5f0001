//! Speed liar: every receipt says that the first token was there at once.
//!
//! - What it does: its receipts say a time to first token of one millisecond, and its pings say that nobody waits.
//! - What it hopes to gain: its computing time is taken for network time, so it looks quick for long prompts.
//! - What meets it: times to the first token and in total are those that clients saw. The node's word splits the former
//!   into network and prompt only up to what the fleet's median allows of a network; the rest is its own.

use super::{Adversary, seat_behaves};
use fedai_protocol::{LoadPing, Receipt, UnixMicros};

use crate::conduct::NodeConduct;

/// The entry of the table.
pub const ADVERSARY: Adversary = Adversary {
    name: "speed-liar",
    does: "says in receipts that its first token was there at once",
    hopes: "its computing time passes for network time, so long prompts look quick",
    met_by: "estimates: clients see the times, and the fleet's median bounds what can be the network's",
    two_routers: false,
    is_audited: false,
    cast: |_, hooks| seat_behaves(hooks, SpeedLiar),
};

/// Says that it is quick.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpeedLiar;

impl NodeConduct for SpeedLiar {
    fn ping(&mut self, ping: &mut LoadPing) {
        ping.wait_ms = 0;
    }

    fn receipt(&mut self, _now: UnixMicros, receipt: &mut Receipt) {
        receipt.ttft_ms = receipt.ttft_ms.min(1);
    }
}
