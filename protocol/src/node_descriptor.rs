//! Kind 31434: a node says that it is there, until when, where it listens and how it is paid.
//!
//! The descriptor is a lease: it carries NIP-40 `expiration` and is published again before it runs out. When it has
//! expired, every offer of the node is dead. The identity key signs only this, offers and receipts; jobs are sealed to
//! the rotating inbox key, whose old secrets are deleted.

use nostr::PublicKey;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::event_kinds;
use crate::limits::{ANNOUNCED_URLS_MAX, NAME_BYTES_MAX, URL_BYTES_MAX};
use crate::message::{BodyPlace, Message, ParseError, is_name, tag};
use crate::payment_offer::PaymentTerms;
use crate::unix_time::UnixSeconds;

/// Whether a node takes work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeStatus {
    /// Takes jobs.
    Active,
    /// Finishes what it has, takes nothing new.
    Draining,
    /// Paused by its operator.
    #[serde(other)]
    Paused,
}

impl NodeStatus {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Paused => "paused",
        }
    }
}

/// The key that job opens are sealed to, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInbox {
    /// Public key.
    pub key: PublicKey,
    /// Not used after this.
    pub valid_until: UnixSeconds,
}

/// A node and its lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDescriptor {
    /// Name, unique per key (`d`).
    pub name: String,
    /// Status.
    pub status: NodeStatus,
    /// Where job opens are sealed to.
    pub inbox: SessionInbox,
    /// End of the lease.
    pub expires_at: UnixSeconds,
    /// Relays on which job opens are read (`R`).
    pub relays: Vec<String>,
    /// The node's own gateway relays (`u`), when it serves any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<String>,
    /// Regions (`g`), ISO 3166 or geohash prefix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
    /// Payment terms.
    pub payment: PaymentTerms,
    /// The operator's own key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<PublicKey>,
    /// True when the node takes dispatches that a client signed for itself.
    #[serde(default)]
    pub accepts_self_dispatch: bool,
    /// Routers whose dispatches are taken; empty means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routers: Vec<PublicKey>,
    /// Software and version.
    #[serde(default)]
    pub software: String,
}

impl NodeDescriptor {
    /// The address of this descriptor.
    #[must_use]
    pub fn address(&self, author: &PublicKey) -> Address {
        Address { kind: event_kinds::NODE_DESCRIPTOR, author: *author, identifier: self.name.clone() }
    }

    /// True while the node takes jobs at `now`.
    #[must_use]
    pub fn is_live(&self, now: UnixSeconds) -> bool {
        self.status == NodeStatus::Active && self.expires_at > now
    }
}

impl Message for NodeDescriptor {
    const KIND: u16 = event_kinds::NODE_DESCRIPTOR;
    const PLACE: BodyPlace = BodyPlace::SpecTag;

    fn tags(&self, _author: &PublicKey) -> Vec<Vec<String>> {
        let mut tags = vec![
            tag("d", &self.name),
            tag("t", "fedai"),
            tag("status", self.status.as_str()),
            vec!["session".into(), self.inbox.key.to_hex(), self.inbox.valid_until.to_string()],
            tag("expiration", self.expires_at.to_string()),
        ];
        tags.extend(self.relays.iter().map(|url| tag("R", url)));
        tags.extend(self.gateways.iter().map(|url| tag("u", url)));
        tags.extend(self.regions.iter().map(|region| tag("g", region)));
        tags.extend(self.payment.tags());
        if let Some(operator) = &self.operator {
            tags.push(tag("operator", operator.to_hex()));
        }
        tags.push(tag("alt", format!("AI inference node: {}", self.name)));
        tags
    }

    fn check(&self) -> Result<(), ParseError> {
        if !is_name(&self.name, NAME_BYTES_MAX) || self.software.len() > NAME_BYTES_MAX {
            return Err(ParseError::Limit("node name"));
        }
        let lists = [&self.relays, &self.gateways, &self.regions];
        if lists.iter().any(|list| list.len() > ANNOUNCED_URLS_MAX) || self.routers.len() > 64 {
            return Err(ParseError::Limit("list in descriptor"));
        }
        if lists.iter().any(|list| list.iter().any(|text| !is_name(text, URL_BYTES_MAX))) {
            return Err(ParseError::Limit("URL in descriptor"));
        }
        self.payment.check()
    }

    fn summary(&self) -> String {
        format!("**{}** sells AI inference over Nostr ({}).", self.name, self.status.as_str())
    }
}
