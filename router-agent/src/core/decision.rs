//! What comes out of a decision: the chosen node with its fallbacks and the reasons, or why there is nobody.

use std::sync::Arc;

use fedai_protocol::decision_record::{DecisionRecord, Terms};
use fedai_protocol::quote_request::QuoteRequest;
use fedai_protocol::router_profile::RouterFee;
use fedai_protocol::{EventId, Msat, PublicKey};

use super::filter::FilterCode;

/// What is decided about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Id of the request.
    pub id: EventId,
    /// The request.
    pub request: &'a QuoteRequest,
    /// The router's fee.
    pub fee: RouterFee,
    /// Payment methods that the router can route, as bits.
    pub methods: u8,
}

/// A node that was chosen, or a fallback.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Node.
    pub node: PublicKey,
    /// Offer.
    pub offer: EventId,
    /// Most that one job may cost there, without the fee.
    pub max_cost: Msat,
    /// The terms it was judged by.
    pub terms: Terms,
    /// Payment methods in common, as bits.
    pub methods: u8,
    /// Longest wait for a slot with which it is worth as much as the next one; for the last one, hardly more than
    /// expected.
    pub patience_ms: Option<u64>,
}

/// A decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Model of every choice.
    pub model: String,
    /// The chosen node first, then its fallbacks, all distinct.
    pub choices: Vec<Choice>,
    /// The router's fee: the one on the dearest choice.
    pub fee: Msat,
    /// Most that one job can cost, whichever choice serves it.
    pub ceiling: Msat,
    /// When a second copy would pay off: only for the fastest mode, after the chosen node's 95th percentile.
    pub hedge_after_ms: Option<u64>,
    /// Why.
    pub record: Arc<DecisionRecord>,
}

/// Nobody can serve it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoCandidate {
    /// Candidates looked at.
    pub considered: u32,
    /// How many were rejected by each code, in the order in which codes are judged.
    pub rejected: Vec<(FilterCode, u32)>,
    /// Shortest expected wait among the saturated ones, in milliseconds.
    pub retry_after_ms: Option<u64>,
}
