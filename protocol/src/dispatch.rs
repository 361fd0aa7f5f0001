//! Kind 21437: the ticket that a node requires before it works.
//!
//! Signed by a router (or by the client itself where the node's policy takes that). It names the client's session key,
//! the nodes and the very offers it rests on, ceilings, expiry and number of uses: nothing in it can be raised later.

use nostr::{EventId, PublicKey};
use serde::{Deserialize, Serialize};

use crate::event_kinds;
use crate::limits::{DISPATCH_USES_MAX, NAME_BYTES_MAX, QUOTE_NODES_MAX};
use crate::message::{Message, ParseError, is_name, tag};
use crate::msat::{Msat, Tokens};
use crate::payment_offer::PaymentMethod;
use crate::unix_time::UnixSeconds;

/// One node of a dispatch, with the offer that binds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DispatchedNode {
    /// Identity key of the node.
    pub node: PublicKey,
    /// Event id of its offer.
    pub offer: EventId,
    /// Most that one job may cost at this node, without the router's fee.
    pub max_cost: Msat,
}

/// A ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispatch {
    /// Quote request that it answers.
    pub request: EventId,
    /// Session key of the client: the only key that may use the ticket.
    pub client: PublicKey,
    /// The chosen node first, then its fallbacks.
    pub nodes: Vec<DispatchedNode>,
    /// Model.
    pub model: String,
    /// Most prompt tokens of one job.
    pub max_input_tokens: Tokens,
    /// Most output tokens of one job.
    pub max_output_tokens: Tokens,
    /// How the jobs are paid.
    pub payment: PaymentMethod,
    /// Jobs covered.
    pub uses: u16,
    /// Not taken after this.
    pub expires_at: UnixSeconds,
}

impl Message for Dispatch {
    const KIND: u16 = event_kinds::DISPATCH;

    #[cfg(feature = "simulation")]
    fn simulated_salt(&self) -> u64 {
        let first = self.nodes.first().map_or(0, |named| crate::simulated::fold(named.node.as_bytes()));
        crate::simulated::fold(self.request.as_bytes()) ^ first
    }

    fn tags(&self, _author: &PublicKey) -> Vec<Vec<String>> {
        let mut tags = vec![tag("e", self.request.to_hex()), tag("expiration", self.expires_at.to_string())];
        tags.extend(self.nodes.iter().map(|node| tag("p", node.node.to_hex())));
        tags
    }

    fn check(&self) -> Result<(), ParseError> {
        if self.nodes.is_empty() || self.nodes.len() > QUOTE_NODES_MAX {
            return Err(ParseError::Limit("nodes in dispatch"));
        }
        if self.uses == 0 || self.uses > DISPATCH_USES_MAX {
            return Err(ParseError::Limit("uses"));
        }
        if !is_name(&self.model, NAME_BYTES_MAX) {
            return Err(ParseError::Limit("model name"));
        }
        Ok(())
    }
}
