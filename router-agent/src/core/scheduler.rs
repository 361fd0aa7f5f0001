//! The decision: filter, predict, put a price on it, draw two by capacity, keep the better one.
//!
//! [`plan`] is a pure function: the same time, seed, request, policy and candidates give the same decision, byte for
//! byte, in whatever order the candidates came. It never names a node that a hard filter rejected.

use fedai_protocol::decision_record::{DecisionRecord, Terms};
use fedai_protocol::limits::QUOTE_NODES_MAX;
use fedai_protocol::quote_request::{Mode, QuoteRequest};
use fedai_protocol::router_profile::RouterFee;
use fedai_protocol::{EventId, Msat, PublicKey, UnixMicros};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use super::candidate::{CandidateView, Fleet};
use super::explain;
use super::filter::{Filter, FilterCode, RELAX_ORDER};
use super::policy::Policy;
use super::prediction::Prediction;

/// Name and version of the algorithm, as decision records carry it.
pub const STRATEGY: &str = "capacity-p2c/1";
/// Eligible candidates that a full record keeps.
const BEST_MAX: usize = 32;
/// Rejected candidates that a full record keeps.
const REJECTED_MAX: usize = 32;

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
    pub record: DecisionRecord,
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

/// Working memory of [`plan`], kept between calls so that a decision allocates next to nothing.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    eligible: Vec<Eligible>,
    softly: Vec<Eligible>,
    rejected: Vec<(usize, usize, FilterCode)>,
    counts: [u32; FilterCode::ALL.len()],
    best: Vec<usize>,
    retry_after_ms: Option<u64>,
}

/// A candidate that passed the hard filters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Eligible {
    pub(crate) fleet: usize,
    pub(crate) row: usize,
    pub(crate) utility: f64,
    pub(crate) capacity: f64,
    pub(crate) weight: f64,
    is_new: bool,
    soft: u8,
}

/// The outcome of the draw, as positions among the eligible.
pub(crate) struct Drawn {
    pub(crate) chosen: usize,
    pub(crate) other: Option<usize>,
    pub(crate) fallbacks: Vec<usize>,
}

/// Decides. `seed` is the whole randomness of the decision.
pub fn plan(
    now: UnixMicros,
    seed: u64,
    asked: &Asked<'_>,
    policy: &Policy,
    fleets: &[&Fleet],
    scratch: &mut Scratch,
) -> Result<Decision, NoCandidate> {
    let mut fleets: Vec<&Fleet> = fleets.to_vec();
    fleets.sort_by_key(|fleet| fleet.model());
    let filter = Filter::new(now, asked.request, policy, asked.fee, asked.methods);
    let predictions: Vec<Prediction<'_>> =
        fleets.iter().map(|fleet| Prediction::new(now, asked.request, policy, fleet)).collect();
    judge(&fleets, &predictions, &filter, scratch);
    let relaxed = relax(&filter, scratch).ok_or_else(|| no_candidate(&fleets, scratch))?;
    weigh(policy, policy.of(asked.request.mode).gamma, scratch);
    let drawn = draw(seed, &fleets, &predictions, asked, policy, scratch);
    let choices: Vec<Choice> = core::iter::once(drawn.chosen)
        .chain(drawn.fallbacks.iter().copied())
        .filter_map(|at| choice(at, &fleets, &predictions, &filter, scratch))
        .collect();
    let dearest = choices.iter().map(|choice| choice.max_cost).max().unwrap_or_default();
    let fee = asked.fee.on(dearest).unwrap_or(Msat::MAX);
    let ceiling = dearest.saturating_add(fee);
    let first = scratch.eligible.get(drawn.chosen).and_then(|at| row_of(&fleets, at));
    let model = scratch.eligible.get(drawn.chosen).and_then(|at| fleets.get(at.fleet)).map(|f| f.model());
    let hedge_after_ms = first.filter(|row| asked.request.mode == Mode::Fastest && row.ttft_p95_ms > 0);
    let story = explain::Story { now, seed, asked, relaxed: &relaxed, ceiling, drawn: &drawn };
    Ok(Decision {
        model: model.unwrap_or_default().to_owned(),
        fee,
        ceiling,
        hedge_after_ms: hedge_after_ms.map(|row| row.ttft_p95_ms),
        record: story.record(&fleets, &predictions, scratch),
        choices,
    })
}

/// Filters and predicts every candidate.
fn judge(fleets: &[&Fleet], predictions: &[Prediction<'_>], filter: &Filter<'_>, scratch: &mut Scratch) {
    scratch.softly.clear();
    scratch.rejected.clear();
    scratch.counts = [0; FilterCode::ALL.len()];
    scratch.retry_after_ms = None;
    for (at, (fleet, prediction)) in fleets.iter().zip(predictions).enumerate() {
        for (position, row) in fleet.rows().iter().enumerate() {
            let jobs = prediction.jobs(row);
            if let Some(code) = filter.hard(row, jobs) {
                if code == FilterCode::Saturated {
                    let wait = prediction.terms(row, jobs).wait_ms.clamp(100.0, 60_000.0) as u64;
                    scratch.retry_after_ms = Some(scratch.retry_after_ms.map_or(wait, |w| w.min(wait)));
                }
                reject(scratch, at, position, code);
                continue;
            }
            let terms = prediction.terms(row, jobs);
            scratch.softly.push(Eligible {
                fleet: at,
                row: position,
                utility: terms.utility_msat,
                capacity: prediction.capacity(row),
                weight: 0.0,
                is_new: row.is_new,
                soft: filter.soft(row),
            });
        }
    }
}

fn reject(scratch: &mut Scratch, fleet: usize, row: usize, code: FilterCode) {
    if let Some(count) = scratch.counts.get_mut(code as usize) {
        *count = count.saturating_add(1);
    }
    if scratch.rejected.len() < REJECTED_MAX {
        scratch.rejected.push((fleet, row, code));
    }
}

/// Keeps the candidates without a soft reason; gives up soft filters one after the other until somebody is left.
fn relax(filter: &Filter<'_>, scratch: &mut Scratch) -> Option<Vec<FilterCode>> {
    let mut given_up: Vec<FilterCode> = Vec::new();
    let mut allowed = 0_u8;
    let mut order = RELAX_ORDER.into_iter().filter(|code| filter.may_relax(*code));
    while !scratch.softly.iter().any(|candidate| candidate.soft & !allowed == 0) {
        let Some(code) = order.next() else { break };
        allowed |= code.soft_bit();
        given_up.push(code);
    }
    scratch.eligible.clear();
    let softly = core::mem::take(&mut scratch.softly);
    for candidate in &softly {
        let against = candidate.soft & !allowed;
        match RELAX_ORDER.into_iter().find(|code| against & code.soft_bit() != 0) {
            None => scratch.eligible.push(*candidate),
            Some(code) => reject(scratch, candidate.fleet, candidate.row, code),
        }
    }
    scratch.softly = softly;
    (!scratch.eligible.is_empty()).then_some(given_up)
}

/// Sets the draw weights, holds the newcomers to their share, and finds the best candidates.
fn weigh(policy: &Policy, gamma: i32, scratch: &mut Scratch) {
    let best = scratch.eligible.iter().map(|c| c.utility).fold(f64::MAX, f64::min);
    let (mut known, mut new) = (0.0, 0.0);
    for candidate in &mut scratch.eligible {
        candidate.weight = (candidate.capacity * (best / candidate.utility).powi(gamma)).max(1e-300);
        *(if candidate.is_new { &mut new } else { &mut known }) += candidate.weight;
    }
    let most_new = known * policy.new_node_share / (1.0 - policy.new_node_share).max(1e-6);
    if known > 0.0 && new > most_new {
        let scale = most_new / new;
        for candidate in scratch.eligible.iter_mut().filter(|candidate| candidate.is_new) {
            candidate.weight *= scale;
        }
    }
    scratch.best.clear();
    let utility = |eligible: &[Eligible], at: usize| eligible.get(at).map_or(f64::MAX, |c| c.utility);
    let mut worst = f64::MAX;
    for at in 0..scratch.eligible.len() {
        let value = utility(&scratch.eligible, at);
        if scratch.best.len() == BEST_MAX && value >= worst {
            continue;
        }
        let place = scratch.best.partition_point(|other| utility(&scratch.eligible, *other) <= value);
        scratch.best.insert(place, at);
        scratch.best.truncate(BEST_MAX);
        if let (BEST_MAX, Some(last)) = (scratch.best.len(), scratch.best.last()) {
            worst = utility(&scratch.eligible, *last);
        }
    }
}

/// Two draws by weight without replacement, the smaller utility wins; a small share of decisions explores, and the node
/// of the previous turn is kept while it is not much dearer than the best.
fn draw(
    seed: u64,
    fleets: &[&Fleet],
    predictions: &[Prediction<'_>],
    asked: &Asked<'_>,
    policy: &Policy,
    scratch: &Scratch,
) -> Drawn {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let explores = unit(&mut rng) < policy.exploration_share;
    let first = pick(&scratch.eligible, None, explores, unit(&mut rng));
    let second = pick(&scratch.eligible, Some(first), false, unit(&mut rng));
    let utility = |at: usize| scratch.eligible.get(at).map_or(f64::MAX, |c| c.utility);
    let (mut chosen, mut other) = match second {
        second if second == first => (first, None),
        second if !explores && utility(second) < utility(first) => (second, Some(first)),
        second => (first, Some(second)),
    };
    if let Some(kept) = sticky(fleets, predictions, asked, policy, scratch).filter(|kept| *kept != chosen) {
        other = Some(chosen);
        chosen = kept;
    }
    let mut fallbacks: Vec<usize> = Vec::with_capacity(QUOTE_NODES_MAX);
    let place =
        |at: usize| scratch.eligible.get(at).and_then(|c| row_of(fleets, c).map(|r| (c.fleet, r.node)));
    let chosen_place = place(chosen);
    let fits = |at: usize, taken: &[usize]| {
        let (Some((fleet, node)), Some((chosen_fleet, chosen_node))) = (place(at), chosen_place) else {
            return false;
        };
        fleet == chosen_fleet
            && node != chosen_node
            && taken.iter().all(|t| place(*t).is_none_or(|(_, taken_node)| taken_node != node))
    };
    if let Some(at) = other.filter(|at| fits(*at, &[])) {
        fallbacks.push(at);
    }
    // The best are at hand; everybody is looked at only where the best do not fit (another model, the same node).
    for at in scratch.best.iter().copied() {
        if fallbacks.len() + 1 < QUOTE_NODES_MAX && fits(at, &fallbacks) {
            fallbacks.push(at);
        }
    }
    while fallbacks.len() + 1 < QUOTE_NODES_MAX && scratch.best.len() < scratch.eligible.len() {
        let mut next: Option<usize> = None;
        for at in 0..scratch.eligible.len() {
            if next.is_none_or(|best| utility(at) < utility(best)) && fits(at, &fallbacks) {
                next = Some(at);
            }
        }
        let Some(next) = next else { break };
        fallbacks.push(next);
    }
    Drawn { chosen, other, fallbacks }
}

/// The previous node's best offer, while it is worth keeping.
fn sticky(
    fleets: &[&Fleet],
    predictions: &[Prediction<'_>],
    asked: &Asked<'_>,
    policy: &Policy,
    scratch: &Scratch,
) -> Option<usize> {
    let previous = asked.request.previous_node?;
    let best = scratch.best.first().and_then(|at| scratch.eligible.get(*at))?.utility;
    let (at, candidate) = scratch
        .eligible
        .iter()
        .enumerate()
        .filter(|(_, c)| row_of(fleets, c).is_some_and(|row| row.node == previous))
        .min_by(|a, b| a.1.utility.total_cmp(&b.1.utility))?;
    let (row, prediction) = (row_of(fleets, candidate)?, predictions.get(candidate.fleet)?);
    let credit = prediction.prefix_credit(row, prediction.jobs(row));
    let allowance = policy.stickiness.mul_add(1.0 + credit, 1.0);
    (candidate.utility <= best * allowance).then_some(at)
}

/// One draw: by weight, or evenly.
fn pick(eligible: &[Eligible], without: Option<usize>, evenly: bool, unit: f64) -> usize {
    let weight = |at: usize, c: &Eligible| match without {
        Some(taken) if taken == at => 0.0,
        _ if evenly => 1.0,
        _ => c.weight,
    };
    let sum: f64 = eligible.iter().enumerate().map(|(at, c)| weight(at, c)).sum();
    let mut left = unit * sum;
    let mut last = without.unwrap_or(0);
    for (at, candidate) in eligible.iter().enumerate() {
        let weight = weight(at, candidate);
        if weight > 0.0 {
            last = at;
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
    }
    last
}

/// A number in [0, 1).
fn unit(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

fn choice(
    at: usize,
    fleets: &[&Fleet],
    predictions: &[Prediction<'_>],
    filter: &Filter<'_>,
    scratch: &Scratch,
) -> Option<Choice> {
    let candidate = scratch.eligible.get(at)?;
    let (row, prediction) = (row_of(fleets, candidate)?, predictions.get(candidate.fleet)?);
    let (max_cost, _) = filter.worst_case(row)?;
    Some(Choice {
        node: row.node,
        offer: row.offer,
        max_cost,
        terms: prediction.terms(row, prediction.jobs(row)),
        methods: filter.common_methods(row),
    })
}

fn row_of<'a>(fleets: &[&'a Fleet], candidate: &Eligible) -> Option<&'a CandidateView> {
    fleets.get(candidate.fleet)?.rows().get(candidate.row)
}

fn no_candidate(fleets: &[&Fleet], scratch: &Scratch) -> NoCandidate {
    let considered = fleets.iter().map(|fleet| fleet.rows().len()).sum::<usize>();
    let rejected = FilterCode::ALL.into_iter().zip(scratch.counts).filter(|(_, count)| *count > 0).collect();
    NoCandidate {
        considered: u32::try_from(considered).unwrap_or(u32::MAX),
        rejected,
        retry_after_ms: scratch.retry_after_ms,
    }
}

impl Scratch {
    pub(crate) fn eligible(&self) -> &[Eligible] {
        &self.eligible
    }

    pub(crate) fn best(&self) -> &[usize] {
        &self.best
    }

    pub(crate) fn rejected(&self) -> &[(usize, usize, FilterCode)] {
        &self.rejected
    }
}
