//! Who may serve a request at all, each rejection with a code that never changes its meaning.
//!
//! Hard filters (lease, conditions of the user, size, payment, price, saturation) are never relaxed. The soft ones
//! (silence, trust floor outside the trusted mode, breaker) are, in that order, when nothing else is left.

use fedai_protocol::quote_request::QuoteRequest;
use fedai_protocol::router_profile::RouterFee;
use fedai_protocol::{Msat, PublicKey, UnixMicros};

use super::candidate::{CandidateView, method_bits};
use super::policy::{ModePolicy, Policy};

/// Why a candidate is not eligible, in the order in which it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FilterCode {
    /// The lease of the node has run out.
    LeaseExpired,
    /// The node says that it takes nothing new.
    NotActive,
    /// The node takes no dispatches of this router.
    RouterNotAccepted,
    /// Not among the nodes that the client allows, or among those that it excludes.
    NodeExcluded,
    /// Another quantization.
    Quantization,
    /// A modality is missing.
    Modality,
    /// A runner feature is missing.
    Feature,
    /// Another region.
    Region,
    /// Prompt and output do not fit the context window.
    Context,
    /// More output than the offer gives.
    MaxTokens,
    /// No payment method in common.
    Payment,
    /// Could cost more than the client's ceiling, fee included.
    PriceCeiling,
    /// Has as many jobs as it can take.
    Saturated,
    /// Silent for too long (soft).
    Stale,
    /// Below the trust floor (soft outside the trusted mode).
    TrustFloor,
    /// Failed too often lately (soft).
    BreakerOpen,
}

impl FilterCode {
    /// Every code.
    pub const ALL: [Self; 16] = [
        Self::LeaseExpired,
        Self::NotActive,
        Self::RouterNotAccepted,
        Self::NodeExcluded,
        Self::Quantization,
        Self::Modality,
        Self::Feature,
        Self::Region,
        Self::Context,
        Self::MaxTokens,
        Self::Payment,
        Self::PriceCeiling,
        Self::Saturated,
        Self::Stale,
        Self::TrustFloor,
        Self::BreakerOpen,
    ];

    /// The code as it appears in decision records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LeaseExpired => "lease_expired",
            Self::NotActive => "not_active",
            Self::RouterNotAccepted => "router_not_accepted",
            Self::NodeExcluded => "node_excluded",
            Self::Quantization => "quantization",
            Self::Modality => "modality",
            Self::Feature => "feature",
            Self::Region => "region",
            Self::Context => "context",
            Self::MaxTokens => "max_tokens",
            Self::Payment => "payment",
            Self::PriceCeiling => "price_ceiling",
            Self::Saturated => "saturated",
            Self::Stale => "stale",
            Self::TrustFloor => "trust_floor",
            Self::BreakerOpen => "breaker_open",
        }
    }

    /// The bit of a soft code; 0 for a hard one.
    #[must_use]
    pub const fn soft_bit(self) -> u8 {
        match self {
            Self::Stale => 1,
            Self::TrustFloor => 2,
            Self::BreakerOpen => 4,
            _ => 0,
        }
    }
}

/// The order in which soft filters are given up.
pub const RELAX_ORDER: [FilterCode; 3] = [FilterCode::Stale, FilterCode::TrustFloor, FilterCode::BreakerOpen];

/// A request prepared for judging many candidates.
#[derive(Clone, Debug)]
pub struct Filter<'a> {
    request: &'a QuoteRequest,
    mode: &'a ModePolicy,
    fee: RouterFee,
    now: UnixMicros,
    only: Vec<PublicKey>,
    not: Vec<PublicKey>,
    context: u64,
    payment: u8,
    needs_facts: bool,
    stale_micros: u64,
    jobs_per_slot_max: f64,
}

impl<'a> Filter<'a> {
    /// Prepares a request. `methods` are the payment methods that this router can route, as bits.
    #[must_use]
    pub fn new(
        now: UnixMicros,
        request: &'a QuoteRequest,
        policy: &'a Policy,
        fee: RouterFee,
        methods: u8,
    ) -> Self {
        let sorted = |keys: &[PublicKey]| {
            let mut keys = keys.to_vec();
            keys.sort_unstable();
            keys
        };
        let wanted = &request.wanted;
        let needed = request.prompt_tokens.get().saturating_add(request.max_output_tokens.get());
        Self {
            request,
            mode: policy.of(request.mode),
            fee,
            now,
            only: sorted(&request.constraints.only_nodes),
            not: sorted(&request.constraints.not_nodes),
            context: needed.max(wanted.min_context.get()),
            payment: method_bits(&request.constraints.payment) & methods,
            needs_facts: !(wanted.quantizations.is_empty()
                && wanted.modalities.is_empty()
                && wanted.features.is_empty()
                && request.constraints.regions.is_empty()),
            stale_micros: policy.stale_seconds.saturating_mul(1_000_000),
            jobs_per_slot_max: policy.jobs_per_slot_max,
        }
    }

    /// The first hard reason against a candidate that is expected to have `jobs` jobs.
    #[must_use]
    pub fn hard(&self, row: &CandidateView, jobs: f64) -> Option<FilterCode> {
        if row.lease_until <= self.now.seconds() {
            return Some(FilterCode::LeaseExpired);
        }
        if !row.is_active {
            return Some(FilterCode::NotActive);
        }
        if !row.takes_router {
            return Some(FilterCode::RouterNotAccepted);
        }
        if (!self.only.is_empty() && self.only.binary_search(&row.node).is_err())
            || (!self.not.is_empty() && self.not.binary_search(&row.node).is_ok())
        {
            return Some(FilterCode::NodeExcluded);
        }
        if self.needs_facts {
            if let Some(code) = self.facts(row) {
                return Some(code);
            }
        } else if !row.is_text {
            return Some(FilterCode::Modality);
        }
        if self.context > row.context_tokens {
            return Some(FilterCode::Context);
        }
        if self.request.max_output_tokens.get() > row.output_tokens_max {
            return Some(FilterCode::MaxTokens);
        }
        if row.payment & self.payment == 0 {
            return Some(FilterCode::Payment);
        }
        if !self.is_affordable(row) {
            return Some(FilterCode::PriceCeiling);
        }
        let capped = row.learned_cap > 0.0 && f64::from(row.in_flight) >= row.learned_cap;
        (capped || jobs >= row.slots * self.jobs_per_slot_max).then_some(FilterCode::Saturated)
    }

    /// The soft reasons against a candidate, as bits. A trust floor that is hard comes as a bit that is never relaxed.
    #[must_use]
    pub fn soft(&self, row: &CandidateView) -> u8 {
        let mut bits = 0;
        if self.now.since(row.heard_at) > self.stale_micros {
            bits |= FilterCode::Stale.soft_bit();
        }
        if row.trust < self.mode.trust_floor {
            bits |= FilterCode::TrustFloor.soft_bit();
        }
        let is_open = row.breaker_until > self.now || (row.breaker_until.0 > 0 && row.is_probing);
        if is_open {
            bits |= FilterCode::BreakerOpen.soft_bit();
        }
        bits
    }

    /// True when this soft filter may be given up for this request.
    #[must_use]
    pub const fn may_relax(&self, code: FilterCode) -> bool {
        code.soft_bit() != 0 && !(matches!(code, FilterCode::TrustFloor) && self.mode.trust_floor_is_hard)
    }

    /// Payment methods in common with a candidate, as bits.
    #[must_use]
    pub const fn common_methods(&self, row: &CandidateView) -> u8 {
        row.payment & self.payment
    }

    /// Exact worst case at a candidate: its own ceiling and the fee on it.
    #[must_use]
    pub fn worst_case(&self, row: &CandidateView) -> Option<(Msat, Msat)> {
        let cost = row.facts.ceiling(self.request.prompt_tokens, self.request.max_output_tokens)?;
        Some((cost, self.fee.on(cost)?))
    }

    fn facts(&self, row: &CandidateView) -> Option<FilterCode> {
        let (wanted, facts) = (&self.request.wanted, &row.facts);
        let has = |list: &[String], words: &[String]| words.iter().all(|word| list.contains(word));
        if !wanted.quantizations.is_empty()
            && !facts.quantization.as_ref().is_some_and(|q| wanted.quantizations.contains(q))
        {
            return Some(FilterCode::Quantization);
        }
        let modal = if wanted.modalities.is_empty() {
            row.is_text
        } else {
            has(&facts.modalities, &wanted.modalities)
        };
        if !modal {
            return Some(FilterCode::Modality);
        }
        if !has(&facts.features, &wanted.features) {
            return Some(FilterCode::Feature);
        }
        let regions = &self.request.constraints.regions;
        let placed = regions.is_empty() || facts.regions.iter().any(|region| regions.contains(region));
        (!placed).then_some(FilterCode::Region)
    }

    /// Floats decide the clear cases; within two msat of the ceiling the exact rule does.
    fn is_affordable(&self, row: &CandidateView) -> bool {
        let max = self.request.max_cost.unwrap_or(Msat::MAX);
        let input = self.request.prompt_tokens.get() as f64;
        let output = self.request.max_output_tokens.get() as f64;
        let cost = row.input_price.mul_add(input, row.output_price.mul_add(output, row.request_price));
        let total = cost * (1.0 + f64::from(self.fee.ppm) / 1e6) + self.fee.flat.get() as f64;
        let max_float = max.get() as f64;
        let margin = max_float.mul_add(1e-9, 3.0);
        if total > max_float + margin {
            return false;
        }
        if total < max_float - margin {
            return true;
        }
        let exact = self.worst_case(row).and_then(|(cost, fee)| cost.checked_add(fee));
        exact.is_some_and(|exact| exact <= max)
    }
}
