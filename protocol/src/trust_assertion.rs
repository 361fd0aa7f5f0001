//! Kind 30382 (NIP-85): one router's rank of one node, 0 to 100, computed from receipts that it could verify.
//!
//! A rank counts for others only as far as they chose to follow this router.

use nostr::PublicKey;
use serde::{Deserialize, Serialize};

use crate::event_kinds;
use crate::message::{Message, ParseError, tag};

/// The separate dimensions behind a rank, each a lower confidence bound in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustDimensions {
    /// Finished, in time.
    pub delivery_permille: u16,
    /// Tokens claimed as they could be checked.
    pub metering_permille: u16,
    /// Charged what was quoted.
    pub price_permille: u16,
}

/// A router's rank of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustAssertion {
    /// Node.
    pub node: PublicKey,
    /// Rank.
    pub rank: u8,
    /// What is behind it.
    pub dimensions: TrustDimensions,
    /// Receipts it rests on.
    pub receipts: u64,
}

impl Message for TrustAssertion {
    const KIND: u16 = event_kinds::TRUST_ASSERTION;

    fn tags(&self, _author: &PublicKey) -> Vec<Vec<String>> {
        vec![tag("d", self.node.to_hex()), tag("rank", self.rank.to_string())]
    }

    fn check(&self) -> Result<(), ParseError> {
        if self.rank > 100 {
            return Err(ParseError::Limit("rank"));
        }
        Ok(())
    }
}
