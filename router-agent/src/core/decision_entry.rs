//! A decision with everything that went into it, so that it can be made again, bit for bit.

use std::sync::Arc;

use fedai_protocol::decision_record::DecisionRecord;
use fedai_protocol::router_profile::RouterFee;
use fedai_protocol::{EventId, QuoteRequest, UnixMicros};
use serde::{Deserialize, Serialize};

use super::candidate::Fleet;
use super::policy::Policy;
use super::scheduler::{Asked, Scratch, plan};

/// Candidates up to which every decision keeps its inputs.
const SNAPSHOT_ALWAYS_MAX: usize = 32;
/// Candidates up to which one in [`SNAPSHOT_EVERY`] decisions keeps its inputs.
const SNAPSHOT_MAX: usize = 1_024;
/// Distance between decisions about larger fleets that keep their inputs.
const SNAPSHOT_EVERY: u64 = 64;

/// A decision and its inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionEntry {
    /// The request.
    pub request_id: EventId,
    /// The request's content: the shape of a job, never a word of it.
    #[serde(with = "super::arc_serde")]
    pub request: Arc<QuoteRequest>,
    /// Fee at that time.
    pub fee: RouterFee,
    /// Payment methods routed at that time, as bits.
    pub methods: u8,
    /// Parameters at that time.
    #[serde(with = "super::arc_serde")]
    pub policy: Arc<Policy>,
    /// The candidates as they were; missing where there were too many to keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleets: Option<Vec<Fleet>>,
    /// The full record.
    #[serde(with = "super::arc_serde")]
    pub record: Arc<DecisionRecord>,
}

/// Whose inputs are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepInputs {
    /// Of every decision: each can be made again, and costs as much disk as its fleet.
    All,
    /// Of every decision about a small fleet, and of some about larger ones.
    #[default]
    Sampled,
    /// Of none.
    None,
}

impl KeepInputs {
    /// The candidates as they are now, when this decision keeps them; `count` numbers the decisions.
    pub(super) fn snapshot(self, fleets: &[&Fleet], count: u64) -> Option<Vec<Fleet>> {
        if self == Self::None {
            return None;
        }
        let candidates: usize = fleets.iter().map(|fleet| fleet.rows().len()).sum();
        let is_kept = self == Self::All
            || candidates <= SNAPSHOT_ALWAYS_MAX
            || (candidates <= SNAPSHOT_MAX && count.is_multiple_of(SNAPSHOT_EVERY));
        is_kept.then(|| fleets.iter().map(|fleet| (*fleet).clone()).collect())
    }
}

/// What came out of making a decision again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// The same record, byte for byte.
    Same,
    /// Another record: the entry was changed, or the algorithm was.
    Differs,
    /// The inputs were not kept.
    NotKept,
}

impl DecisionEntry {
    /// Makes the decision again.
    #[must_use]
    pub fn replay(&self) -> Replayed {
        let Some(fleets) = &self.fleets else { return Replayed::NotKept };
        let fleets: Vec<&Fleet> = fleets.iter().collect();
        let asked =
            Asked { id: self.request_id, request: &self.request, fee: self.fee, methods: self.methods };
        let at: UnixMicros = self.record.at;
        let again = plan(at, self.record.seed, &asked, &self.policy, &fleets, &mut Scratch::default());
        let json = |record: &DecisionRecord| serde_json::to_string(record).unwrap_or_default();
        match again {
            Ok(decision) if json(&decision.record) == json(&self.record) => Replayed::Same,
            _ => Replayed::Differs,
        }
    }
}
