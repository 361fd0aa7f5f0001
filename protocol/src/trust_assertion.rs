//! Kind 30382 (NIP-85): one reporter's rank of one node, 0 to 100. A router computes it from receipts that it could
//! verify, an auditor from answers that it compared.
//!
//! A rank counts for others only as far as they chose to follow its author.

use nostr::PublicKey;
use serde::{Deserialize, Serialize};

use crate::event_kinds;
use crate::message::{Message, ParseError, tag};

/// The separate dimensions behind a rank, each a confidence bound in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustDimensions {
    /// Finished, in time.
    pub delivery_permille: u16,
    /// Tokens claimed as they could be checked.
    pub metering_permille: u16,
    /// Charged what was quoted.
    pub price_permille: u16,
    /// The model that the offer names; missing while nothing speaks for or against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_permille: Option<u16>,
}

/// How much speaks for and against a node, in thousandths of a job of full weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceWeights {
    /// For it.
    pub good_milli: u32,
    /// Against it.
    pub bad_milli: u32,
}

/// The evidence behind each dimension. A bound alone does not tell a bad node from an unknown one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrustEvidence {
    /// Of delivery.
    pub delivery: EvidenceWeights,
    /// Of metering.
    pub metering: EvidenceWeights,
    /// Of the price.
    pub price: EvidenceWeights,
    /// Of the model.
    pub identity: EvidenceWeights,
}

/// A reporter's rank of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustAssertion {
    /// Node.
    pub node: PublicKey,
    /// Rank.
    pub rank: u8,
    /// What is behind it.
    pub dimensions: TrustDimensions,
    /// What is behind the dimensions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<TrustEvidence>,
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
        let dimensions = &self.dimensions;
        let bounds = [dimensions.delivery_permille, dimensions.metering_permille, dimensions.price_permille];
        if bounds.into_iter().chain(dimensions.identity_permille).any(|bound| bound > 1_000) {
            return Err(ParseError::Limit("dimension of a rank"));
        }
        Ok(())
    }
}
