//! Kind 31437: a router, its fee and the key that sealed quote requests are addressed to.

use nostr::PublicKey;
use serde::{Deserialize, Serialize};

use crate::event_kinds;
use crate::limits::{ANNOUNCED_URLS_MAX, NAME_BYTES_MAX, URL_BYTES_MAX};
use crate::message::{BodyPlace, Message, ParseError, is_name, tag};
use crate::msat::Msat;
use crate::unix_time::UnixSeconds;

/// A router's fee for one job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterFee {
    /// Flat part.
    pub flat: Msat,
    /// Parts per million of the node's price.
    pub ppm: u32,
}

impl RouterFee {
    /// The fee on top of a node's `cost`, rounded up.
    #[must_use]
    pub fn on(&self, cost: Msat) -> Option<Msat> {
        let share = u128::from(cost.get()).checked_mul(u128::from(self.ppm))?.div_ceil(1_000_000);
        Msat::new(u64::try_from(share).ok()?)?.checked_add(self.flat)
    }
}

/// A router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterProfile {
    /// Name, unique per key (`d`).
    pub name: String,
    /// Fee.
    pub fee: RouterFee,
    /// Key that quote requests are sealed to.
    pub session: PublicKey,
    /// Relays on which requests are read.
    pub relays: Vec<String>,
    /// End of the lease.
    pub expires_at: UnixSeconds,
    /// Live nodes that the router knows.
    #[serde(default)]
    pub nodes: u32,
    /// Models that the router can route to, at most 32 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Routers that it recommends when it is full.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<PublicKey>,
    /// Software and version.
    #[serde(default)]
    pub software: String,
}

impl Message for RouterProfile {
    const KIND: u16 = event_kinds::ROUTER_PROFILE;
    const PLACE: BodyPlace = BodyPlace::SpecTag;

    fn tags(&self, _author: &PublicKey) -> Vec<Vec<String>> {
        let mut tags = vec![
            tag("d", &self.name),
            tag("t", "fedai"),
            vec![
                "fee".into(),
                self.fee.flat.get().to_string(),
                "msat".into(),
                self.fee.ppm.to_string(),
                "ppm".into(),
            ],
            tag("k", event_kinds::QUOTE_REQUEST.to_string()),
            tag("session", self.session.to_hex()),
            tag("expiration", self.expires_at.to_string()),
        ];
        tags.extend(self.relays.iter().map(|url| tag("R", url)));
        tags.push(tag("alt", format!("AI inference router: {}", self.name)));
        tags
    }

    fn check(&self) -> Result<(), ParseError> {
        if !is_name(&self.name, NAME_BYTES_MAX) || self.software.len() > NAME_BYTES_MAX {
            return Err(ParseError::Limit("router name"));
        }
        if self.relays.len() > ANNOUNCED_URLS_MAX || self.models.len() > 32 || self.peers.len() > 32 {
            return Err(ParseError::Limit("list in router profile"));
        }
        if self.relays.iter().any(|url| !is_name(url, URL_BYTES_MAX))
            || self.models.iter().any(|model| !is_name(model, NAME_BYTES_MAX))
        {
            return Err(ParseError::Limit("text in router profile"));
        }
        Ok(())
    }

    fn summary(&self) -> String {
        format!("**{}** routes AI inference to {} nodes without seeing prompts.", self.name, self.nodes)
    }
}
