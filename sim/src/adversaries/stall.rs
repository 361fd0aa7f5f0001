//! Stall: begins every answer, and stops after a few words.
//!
//! - What it does: sends the first eight tokens, frees its hardware, and keeps the session alive.
//! - What it hopes to gain: pay for the part that arrived, at a fraction of the work, many jobs at once.
//! - What meets it: the client's journey. A node that is silent is probed, left for a fallback at half of the job's
//!   time, and nothing is paid for a job without a receipt that the client checked. The router hears of the failure
//!   with the fallback's receipt, opens its breaker, and counts it against delivery.

use fedai_protocol::UnixMicros;

use super::{Adversary, seat_behaves};
use crate::conduct::{NodeConduct, Passage};

/// The entry of the table.
pub const ADVERSARY: Adversary = Adversary {
    name: "stall",
    does: "sends eight tokens of each answer and stops",
    hopes: "pay for a part, at a fraction of the work",
    met_by: "client: left for a fallback, not paid; router: breaker and trust in its delivery",
    two_routers: false,
    is_audited: false,
    cast: |_, hooks| seat_behaves(hooks, Stall),
};

/// Stops in mid-stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stall;

impl NodeConduct for Stall {
    fn output(&mut self, _now: UnixMicros, said: u64) -> Passage {
        if said < WORDS_FIRST { Passage::Pass } else { Passage::Hold }
    }
}

/// Tokens before it stops.
const WORDS_FIRST: u64 = 8;
