//! Kind 21434: a node's claim about its load, a few seconds old when it arrives. Weighted by age, never trusted alone.

use nostr::PublicKey;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::event_kinds;
use crate::limits::NAME_BYTES_MAX;
use crate::message::{Message, ParseError, is_name, tag};

/// Load of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadPing {
    /// Name of the node.
    pub node: String,
    /// Busy share of its capacity, in thousandths.
    pub load_permille: u16,
    /// Jobs running.
    pub running: u32,
    /// Jobs waiting.
    pub queued: u32,
    /// Jobs that can run at once.
    pub slots: u32,
    /// Predicted wait of a job that came now, in milliseconds.
    pub wait_ms: u64,
}

impl Message for LoadPing {
    const KIND: u16 = event_kinds::LOAD_PING;

    fn tags(&self, author: &PublicKey) -> Vec<Vec<String>> {
        let address =
            Address { kind: event_kinds::NODE_DESCRIPTOR, author: *author, identifier: self.node.clone() };
        vec![
            tag("a", address.to_string()),
            tag("load", self.load_permille.to_string()),
            tag("queue", self.queued.to_string()),
            tag("slots", self.slots.to_string()),
        ]
    }

    fn check(&self) -> Result<(), ParseError> {
        if !is_name(&self.node, NAME_BYTES_MAX) {
            return Err(ParseError::Limit("node name"));
        }
        Ok(())
    }
}
