//! Load liar: three times its slots on offer, and never a job to do.
//!
//! - What it does: its offer and its pings name three times the slots that its hardware has, and its pings say that
//!   it is idle.
//! - What it hopes to gain: draws that belong to faster hardware, and jobs while it is full.
//! - What meets it: the scheduler. Announced load only ever raises what the router counts itself, and ends no job that
//!   cannot have ended; announced slots are believed up to twice the fleet's median until jobs side by side were tried;
//!   weights come from measured speeds, and what waits at an overfull node is seen by clients and lowers its rate.

use super::{Adversary, seat_behaves};
use fedai_node_agent::core::offers::LocalModel;
use fedai_protocol::LoadPing;

use crate::conduct::NodeConduct;

/// The entry of the table.
pub const ADVERSARY: Adversary = Adversary {
    name: "load-liar",
    does: "offers three times its slots and always says that it is idle",
    hopes: "draws that belong to faster hardware, and jobs while it is full",
    met_by: "scheduler: bounded slots, its own count of jobs is exact, speeds are measured",
    two_routers: false,
    is_audited: false,
    cast: |_, hooks| seat_behaves(hooks, LoadLiar),
};

/// Says that it is large and idle.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadLiar;

impl NodeConduct for LoadLiar {
    fn model(&mut self, model: &mut LocalModel) {
        model.slots = model.slots.saturating_mul(SLOTS_FACTOR);
    }

    fn ping(&mut self, ping: &mut LoadPing) {
        (ping.load_permille, ping.running, ping.queued, ping.wait_ms) = (0, 0, 0, 0);
    }
}

/// Slots on offer for one that is there.
const SLOTS_FACTOR: u32 = 3;
