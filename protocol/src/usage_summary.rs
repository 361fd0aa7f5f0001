//! Kind 31438: what a router counted for one node in one epoch, with a root over the receipts that it counted.

use nostr::{EventId, PublicKey};
use serde::{Deserialize, Serialize};

use crate::domain_separation::{self, digest};
use crate::event_kinds;
use crate::limits::NAME_BYTES_MAX;
use crate::message::{Message, ParseError, is_name, tag};
use crate::msat::Msat;
use crate::unix_time::UnixSeconds;

/// Totals of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelTotals {
    /// Model.
    pub model: String,
    /// Receipts.
    pub count: u64,
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Completion tokens.
    pub output_tokens: u64,
    /// Amount.
    pub amount: Msat,
    /// Median time to first token as clients saw it, else as the node says.
    pub ttft_p50_ms: u64,
    /// 95th percentile of it.
    pub ttft_p95_ms: u64,
}

/// What a router counted for one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageSummary {
    /// Node.
    pub node: PublicKey,
    /// Start of the epoch.
    pub epoch: UnixSeconds,
    /// Length of the epoch.
    pub epoch_seconds: u64,
    /// Totals by model.
    pub models: Vec<ModelTotals>,
    /// Receipts that their client acknowledged.
    pub acknowledged: u64,
    /// Receipts that their client disputed.
    pub disputed: u64,
    /// Root over the receipt ids counted, sorted (hex).
    pub root: String,
}

/// Root over receipt ids: their sorted concatenation under its domain. Who has the receipts can check it.
#[must_use]
pub fn receipts_root(ids: &[EventId]) -> String {
    let mut sorted: Vec<&EventId> = ids.iter().collect();
    sorted.sort();
    sorted.dedup();
    let parts: Vec<&[u8]> = sorted.iter().map(|id| id.as_bytes().as_slice()).collect();
    hex::encode(digest(domain_separation::USAGE_ROOT, &parts))
}

impl Message for UsageSummary {
    const KIND: u16 = event_kinds::USAGE_SUMMARY;

    fn tags(&self, _author: &PublicKey) -> Vec<Vec<String>> {
        let sum = |of: fn(&ModelTotals) -> u64| self.models.iter().map(of).fold(0_u64, u64::saturating_add);
        let mut tags = vec![
            tag("d", format!("{}:{}", self.node.to_hex(), self.epoch)),
            tag("p", self.node.to_hex()),
            tag("count", sum(|m| m.count).to_string()),
            vec!["tokens".into(), sum(|m| m.input_tokens).to_string(), sum(|m| m.output_tokens).to_string()],
            vec!["amount".into(), sum(|m| m.amount.get()).to_string(), "msat".into()],
            tag("root", &self.root),
        ];
        tags.extend(self.models.iter().map(|model| tag("m", &model.model)));
        tags.push(tag("alt", "AI inference usage summary"));
        tags
    }

    fn check(&self) -> Result<(), ParseError> {
        if self.models.len() > 32 || self.models.iter().any(|model| !is_name(&model.model, NAME_BYTES_MAX)) {
            return Err(ParseError::Limit("models in summary"));
        }
        if self.root.len() != 64 || self.epoch_seconds == 0 {
            return Err(ParseError::Limit("field of summary"));
        }
        Ok(())
    }
}
