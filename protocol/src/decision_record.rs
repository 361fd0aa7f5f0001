//! Why a router chose as it did: candidates, terms in money and seconds, filter codes, the draw, the regret, and who
//! would have been chosen by other rules.
//!
//! The quote names the record's digest, so that a router cannot tell another story later.

use nostr::{EventId, PublicKey};
use serde::{Deserialize, Serialize};

use crate::domain_separation::{self, digest};
use crate::limits::DECISION_CANDIDATES_MAX;
use crate::msat::Msat;
use crate::quote_request::Mode;
use crate::unix_time::UnixMicros;

/// What happened to a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Serves the job.
    Chosen,
    /// Named as a fallback.
    Fallback,
    /// Drawn, but the other one was better.
    Drawn,
    /// Eligible, not drawn.
    NotDrawn,
    /// Not eligible; `code` says why.
    Filtered,
}

/// The terms that a candidate was judged by. All money in msat, all time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// Expected cost.
    pub cost_msat: f64,
    /// Expected time to first token.
    pub ttft_ms: f64,
    /// Expected total time.
    pub total_ms: f64,
    /// Expected wait in the node's queue, part of both times.
    pub wait_ms: f64,
    /// Lower bound of the chance that it delivers.
    pub p_ok: f64,
    /// Lower bound of trust.
    pub trust: f64,
    /// Everything above in one amount: what this node really costs.
    pub utility_msat: f64,
    /// Its share of the draw.
    pub share: f64,
    /// Age of the load information.
    pub load_age_ms: f64,
}

/// One candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Node.
    pub node: PublicKey,
    /// Offer judged.
    pub offer: EventId,
    /// What happened.
    pub verdict: Verdict,
    /// Why it was filtered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Its terms, when it came that far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
}

/// A candidate that chance drew.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrawnCandidate {
    /// The number between 0 and 1 that drew it.
    pub number: f64,
    /// Node.
    pub node: PublicKey,
    /// Offer.
    pub offer: EventId,
}

/// What chance did in a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrawRecord {
    /// The decision tries an unproven node when this number is below [`DrawRecord::exploration`].
    pub number: f64,
    /// Share of decisions that try one now.
    pub exploration: f64,
    /// Who was drawn by weight, in order.
    pub drawn: Vec<DrawnCandidate>,
    /// Whom the exploration drew, when there was one and it found somebody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explored: Option<DrawnCandidate>,
    /// True when the node of the previous turn was kept instead.
    #[serde(default)]
    pub kept_previous: bool,
}

/// Another outcome that a decision could have had.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// Node.
    pub node: PublicKey,
    /// Offer.
    pub offer: EventId,
    /// What it would have cost.
    pub cost_msat: f64,
    /// Time to first token that was expected there.
    pub ttft_ms: f64,
    /// Total time that was expected there.
    pub total_ms: f64,
    /// All of it in one amount.
    pub utility_msat: f64,
}

/// Who would have been chosen by other rules, from the same information.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counterfactual {
    /// By the least utility of all: without a draw.
    pub best: Alternative,
    /// By the draw alone: without exploration, and without keeping the node of the previous turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawn: Option<Alternative>,
    /// The best of those drawn, had the chosen one not been there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_up: Option<Alternative>,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// The quote request.
    pub request: EventId,
    /// When it was decided.
    pub at: UnixMicros,
    /// Mode of the request.
    pub mode: Mode,
    /// Strategy and version.
    pub strategy: String,
    /// Seed of the draw: the same candidates and seed give the same choice.
    pub seed: u64,
    /// Candidates, best first, then the filtered ones.
    pub candidates: Vec<Candidate>,
    /// Candidates in all, before the list was cut.
    pub considered: u32,
    /// Soft filters that were relaxed because nothing was left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relaxed: Vec<String>,
    /// What chance did; missing for strategies that draw otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draw: Option<DrawRecord>,
    /// Who would have been chosen by other rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterfactual: Option<Counterfactual>,
    /// How much dearer the chosen one is than the best, by utility.
    pub regret_msat: f64,
    /// Ceiling quoted, fee included.
    pub ceiling: Msat,
}

// Terms are never NaN (the scheduler clamps them), so equality is total.
impl Eq for DecisionRecord {}

impl DecisionRecord {
    /// Digest that the quote names.
    #[must_use]
    pub fn digest(&self) -> String {
        let json = serde_json::to_vec(self).unwrap_or_default();
        hex::encode(digest(domain_separation::DECISION_RECORD, &[&json]))
    }

    /// The record cut to what fits a message.
    #[must_use]
    pub fn cut(mut self) -> Self {
        self.candidates.truncate(DECISION_CANDIDATES_MAX);
        self
    }
}
