//! Nodes that claim more than they have: three times the slots, twice the speed, no load. They serve with what they
//! have, so whoever believes them waits.

use fedai_node_agent::core::offers::LocalModel;
use fedai_protocol::LoadPing;

use crate::conduct::NodeConduct;

/// The conduct.
#[derive(Clone, Copy, Debug, Default)]
pub struct Liar;

/// Slots that a liar claims for each that it has.
pub const SLOTS_FACTOR: u32 = 3;
/// Speed that a liar claims over the one that it has.
pub const SPEED_FACTOR: f64 = 2.0;

impl NodeConduct for Liar {
    fn model(&mut self, model: &mut LocalModel) {
        model.slots = model.slots.saturating_mul(SLOTS_FACTOR);
    }

    fn ping(&mut self, ping: &mut LoadPing) {
        (ping.load_permille, ping.running, ping.queued, ping.wait_ms) = (0, 0, 0, 0);
    }
}
