//! Who may serve a request at all, each rejection with a code that never changes its meaning.
//!
//! Hard filters (lease, conditions of the user, size, payment, price, saturation) are never relaxed. The soft ones
//! (silence, trust floor outside the trusted mode, breaker, proven misbehaviour) are, in that order, when nothing else
//! is left.

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
    /// Has signed proof against itself, and not long enough ago (soft).
    Misbehaved,
}

impl FilterCode {
    /// Every code.
    pub const ALL: [Self; 17] = [
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
        Self::Misbehaved,
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
            Self::Misbehaved => "misbehaved",
        }
    }

    /// The bits of all soft codes.
    pub const SOFT_BITS: u8 = 15;

    /// The bit of a soft code; 0 for a hard one.
    #[must_use]
    pub const fn soft_bit(self) -> u8 {
        match self {
            Self::Stale => 1,
            Self::TrustFloor => 2,
            Self::BreakerOpen => 4,
            Self::Misbehaved => 8,
            _ => 0,
        }
    }
}

/// The order in which soft filters are given up.
pub const RELAX_ORDER: [FilterCode; 4] =
    [FilterCode::Stale, FilterCode::TrustFloor, FilterCode::BreakerOpen, FilterCode::Misbehaved];

/// The conditions that can be judged from numbers alone. A candidate that is within all of them passes every hard
/// filter; one that is not may still pass, and is looked at again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quick {
    /// Every candidate has to be looked at by its row.
    pub(super) by_row: bool,
    pub(super) now: f64,
    /// Heard before this is stale.
    pub(super) heard_after: f64,
    pub(super) trust_floor: f32,
    pub(super) payment: u32,
    pub(super) context: f64,
    pub(super) output: f64,
    pub(super) input_tokens: f32,
    pub(super) output_tokens: f32,
    pub(super) cost_below: f32,
    pub(super) jobs_per_slot_max: f32,
}

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
    quick: Quick,
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
        let (context, payment) =
            (needed.max(wanted.min_context.get()), method_bits(&request.constraints.payment) & methods);
        let mode = policy.of(request.mode);
        let needs_facts = !(wanted.quantizations.is_empty()
            && wanted.modalities.is_empty()
            && wanted.features.is_empty()
            && request.constraints.regions.is_empty());
        let stale_micros = policy.stale_seconds.saturating_mul(1_000_000);
        let quick = Quick {
            by_row: needs_facts || !request.constraints.only_nodes.is_empty(),
            now: now.0 as f64,
            heard_after: now.0.saturating_sub(stale_micros) as f64,
            trust_floor: mode.trust_floor as f32,
            payment: u32::from(payment),
            context: context as f64,
            output: request.max_output_tokens.get() as f64,
            input_tokens: request.prompt_tokens.get() as f32,
            output_tokens: request.max_output_tokens.get() as f32,
            cost_below: cost_below(request.max_cost, fee),
            jobs_per_slot_max: policy.jobs_per_slot_max as f32,
        };
        Self {
            quick,
            request,
            mode,
            fee,
            now,
            only: sorted(&request.constraints.only_nodes),
            not: sorted(&request.constraints.not_nodes),
            context,
            payment,
            needs_facts,
            stale_micros,
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
        // As judged from the columns, in their precision.
        let room = row.slots.max(1.0) as f32 * self.quick.jobs_per_slot_max - jobs as f32;
        (capped || room <= 0.0).then_some(FilterCode::Saturated)
    }

    /// The soft reasons against a candidate, as bits. A trust floor that is hard comes as a bit that is never relaxed.
    #[must_use]
    pub fn soft(&self, row: &CandidateView) -> u8 {
        let mut bits = 0;
        if self.now.since(row.heard_at) > self.stale_micros {
            bits |= FilterCode::Stale.soft_bit();
        }
        // As judged from the columns: both in the columns' precision.
        if (row.trust as f32) < self.quick.trust_floor {
            bits |= FilterCode::TrustFloor.soft_bit();
        }
        let is_open = row.breaker_until > self.now || (row.breaker_until.0 > 0 && row.is_probing);
        if is_open {
            bits |= FilterCode::BreakerOpen.soft_bit();
        }
        if row.has_misbehaved {
            bits |= FilterCode::Misbehaved.soft_bit();
        }
        bits
    }

    /// What can be judged from numbers alone.
    pub(super) const fn quick(&self) -> &Quick {
        &self.quick
    }

    /// The nodes that the request names: they are never judged from numbers alone.
    pub(super) fn named(&self) -> impl Iterator<Item = &PublicKey> {
        self.not.iter().chain(self.request.previous_node.as_ref())
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
        let cost = row.input_price * input + row.output_price * output + row.request_price;
        let total = cost * (1.0 + f64::from(self.fee.ppm) / 1e6) + self.fee.flat.get() as f64;
        let max_float = max.get() as f64;
        let margin = max_float * 1e-9 + 3.0;
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

/// Expected costs below this are affordable without a doubt, whatever the columns' precision left out.
fn cost_below(max_cost: Option<Msat>, fee: RouterFee) -> f32 {
    let Some(max) = max_cost else { return f32::INFINITY };
    let without_fee = (max.get() as f64 - fee.flat.get() as f64) / (1.0 + f64::from(fee.ppm) / 1e6);
    (without_fee * (1.0 - 1e-5) - 4.0) as f32
}
