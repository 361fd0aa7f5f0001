//! One decision in the making: candidates are filtered and judged when it opens, the decision and its record are
//! written when it closes. Whatever strategy picks in between, no node that a hard filter rejected can be named.

use fedai_protocol::decision_record::Terms;
use fedai_protocol::limits::QUOTE_NODES_MAX;
use fedai_protocol::quote_request::Mode;
use fedai_protocol::{Msat, PublicKey, UnixMicros};

use super::candidate::{CandidateView, Fleet};
use super::decision::{Asked, Choice, Decision, NoCandidate};
use super::explain::Story;
use super::filter::{Filter, FilterCode, RELAX_ORDER};
use super::policy::Policy;
use super::prediction::Prediction;

/// Rejected candidates that a full record keeps.
const REJECTED_MAX: usize = 32;
/// Eligible candidates that a full record keeps.
const BEST_MAX: usize = 32;

/// Where a candidate stands: the fleet (sorted by model) and its row there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Position of the fleet.
    pub fleet: usize,
    /// Row in the fleet.
    pub row: usize,
}

/// Working memory of decisions, kept between them so that a decision allocates next to nothing.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    pub(super) eligible: Vec<Eligible>,
    softly: Vec<Eligible>,
    pub(super) rejected: Vec<(Place, FilterCode)>,
    counts: [u32; FilterCode::ALL.len()],
    pub(super) best: Vec<usize>,
    retry_after_ms: Option<u64>,
}

/// A candidate that passed the filters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Eligible {
    pub(super) place: Place,
    pub(super) utility: f64,
    pub(super) capacity: f64,
    pub(super) weight: f64,
    pub(super) is_new: bool,
    soft: u8,
}

/// What was picked, as positions among the eligible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Drawn {
    pub(super) chosen: usize,
    pub(super) other: Option<usize>,
    pub(super) fallbacks: Vec<usize>,
}

/// A decision in the making.
#[derive(Debug)]
pub struct Sitting<'a> {
    pub(super) now: UnixMicros,
    pub(super) asked: &'a Asked<'a>,
    pub(super) policy: &'a Policy,
    pub(super) fleets: Vec<&'a Fleet>,
    pub(super) predictions: Vec<Prediction<'a>>,
    filter: Filter<'a>,
    pub(super) relaxed: Vec<FilterCode>,
    pub(super) scratch: &'a mut Scratch,
}

impl<'a> Sitting<'a> {
    /// Filters and judges. Soft filters are given up in their order until somebody is left.
    pub fn open(
        now: UnixMicros,
        asked: &'a Asked<'a>,
        policy: &'a Policy,
        fleets: &[&'a Fleet],
        scratch: &'a mut Scratch,
    ) -> Result<Self, NoCandidate> {
        let mut sitting = Self::judged(now, asked, policy, fleets, scratch);
        sitting.relax();
        sitting.opened()
    }

    /// As [`Sitting::open`] with the hard filters alone: for strategies that know no breaker, no trust and no silence.
    pub fn open_hard(
        now: UnixMicros,
        asked: &'a Asked<'a>,
        policy: &'a Policy,
        fleets: &[&'a Fleet],
        scratch: &'a mut Scratch,
    ) -> Result<Self, NoCandidate> {
        let sitting = Self::judged(now, asked, policy, fleets, scratch);
        let softly = core::mem::take(&mut sitting.scratch.softly);
        sitting.scratch.eligible.clear();
        sitting.scratch.eligible.extend_from_slice(&softly);
        sitting.scratch.softly = softly;
        sitting.opened()
    }

    /// Everybody who may be picked, in an order that never depends on the order of arrival.
    pub fn eligible(&self) -> impl Iterator<Item = Place> + '_ {
        self.scratch.eligible.iter().map(|candidate| candidate.place)
    }

    /// A candidate.
    #[must_use]
    pub fn row(&self, place: Place) -> Option<&'a CandidateView> {
        self.fleets.get(place.fleet)?.rows().get(place.row)
    }

    /// What the production strategy predicts for a candidate.
    #[must_use]
    pub fn terms(&self, place: Place) -> Option<Terms> {
        let (row, prediction) = (self.row(place)?, self.predictions.get(place.fleet)?);
        Some(prediction.terms(row, prediction.jobs(row)))
    }

    /// The decision for these candidates: the first one is chosen, the others are its fallbacks as far as they serve
    /// the same model on other nodes. Places that are not eligible are passed over.
    pub fn of_order(mut self, seed: u64, strategy: &str, order: &[Place]) -> Result<Decision, NoCandidate> {
        let position = |place: &Place| self.scratch.eligible.binary_search_by_key(place, |c| c.place).ok();
        let mut picked = order.iter().filter_map(position);
        let Some(chosen) = picked.next() else { return Err(self.nobody()) };
        let rest: Vec<usize> = picked.collect();
        self.rank();
        let mut fallbacks = Vec::with_capacity(QUOTE_NODES_MAX);
        for at in rest {
            if fallbacks.len() + 1 < QUOTE_NODES_MAX && self.fits(at, chosen, &fallbacks) {
                fallbacks.push(at);
            }
        }
        let drawn = Drawn { chosen, other: None, fallbacks };
        Ok(self.close(seed, strategy, &drawn))
    }

    /// True when `at` may be a fallback of `chosen` beside those already taken.
    pub(super) fn fits(&self, at: usize, chosen: usize, taken: &[usize]) -> bool {
        let (Some((fleet, node)), Some((chosen_fleet, chosen_node))) = (self.node(at), self.node(chosen))
        else {
            return false;
        };
        fleet == chosen_fleet
            && node != chosen_node
            && taken.iter().all(|taken| self.node(*taken).is_none_or(|(_, taken_node)| taken_node != node))
    }

    fn node(&self, at: usize) -> Option<(usize, PublicKey)> {
        let place = self.scratch.eligible.get(at)?.place;
        Some((place.fleet, self.row(place)?.node))
    }

    /// Writes the decision.
    pub(super) fn close(self, seed: u64, strategy: &str, drawn: &Drawn) -> Decision {
        let choices: Vec<Choice> = core::iter::once(drawn.chosen)
            .chain(drawn.fallbacks.iter().copied())
            .filter_map(|at| self.choice(at))
            .collect();
        let dearest = choices.iter().map(|choice| choice.max_cost).max().unwrap_or_default();
        let fee = self.asked.fee.on(dearest).unwrap_or(Msat::MAX);
        let ceiling = dearest.saturating_add(fee);
        let place = self.scratch.eligible.get(drawn.chosen).map(|candidate| candidate.place);
        let first = place.and_then(|place| self.row(place));
        let model = place.and_then(|place| self.fleets.get(place.fleet)).map(|fleet| fleet.model());
        let is_fastest = self.asked.request.mode == Mode::Fastest;
        let hedged = first.filter(|row| is_fastest && row.ttft_p95_ms > 0);
        Decision {
            model: model.unwrap_or_default().to_owned(),
            fee,
            ceiling,
            hedge_after_ms: hedged.map(|row| row.ttft_p95_ms),
            record: Story { sitting: &self, seed, strategy, ceiling, drawn }.record(),
            choices,
        }
    }

    fn choice(&self, at: usize) -> Option<Choice> {
        let place = self.scratch.eligible.get(at)?.place;
        let row = self.row(place)?;
        let (max_cost, _) = self.filter.worst_case(row)?;
        Some(Choice {
            node: row.node,
            offer: row.offer,
            max_cost,
            terms: self.terms(place)?,
            methods: self.filter.common_methods(row),
        })
    }

    fn opened(self) -> Result<Self, NoCandidate> {
        if self.scratch.eligible.is_empty() { Err(self.nobody()) } else { Ok(self) }
    }

    fn nobody(&self) -> NoCandidate {
        let considered = self.fleets.iter().map(|fleet| fleet.rows().len()).sum::<usize>();
        let counts = self.scratch.counts;
        let rejected = FilterCode::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect();
        NoCandidate {
            considered: u32::try_from(considered).unwrap_or(u32::MAX),
            rejected,
            retry_after_ms: self.scratch.retry_after_ms,
        }
    }

    /// Filters and predicts every candidate.
    fn judged(
        now: UnixMicros,
        asked: &'a Asked<'a>,
        policy: &'a Policy,
        fleets: &[&'a Fleet],
        scratch: &'a mut Scratch,
    ) -> Self {
        let mut fleets: Vec<&Fleet> = fleets.to_vec();
        fleets.sort_by_key(|fleet| fleet.model());
        let filter = Filter::new(now, asked.request, policy, asked.fee, asked.methods);
        let predictions: Vec<Prediction<'_>> =
            fleets.iter().map(|fleet| Prediction::new(now, asked.request, policy, fleet)).collect();
        scratch.softly.clear();
        scratch.rejected.clear();
        scratch.best.clear();
        scratch.counts = [0; FilterCode::ALL.len()];
        scratch.retry_after_ms = None;
        for (at, (fleet, prediction)) in fleets.iter().zip(&predictions).enumerate() {
            for (position, row) in fleet.rows().iter().enumerate() {
                let (place, jobs) = (Place { fleet: at, row: position }, prediction.jobs(row));
                if let Some(code) = filter.hard(row, jobs) {
                    if code == FilterCode::Saturated {
                        let wait = prediction.terms(row, jobs).wait_ms.clamp(100.0, 60_000.0) as u64;
                        scratch.retry_after_ms = Some(scratch.retry_after_ms.map_or(wait, |w| w.min(wait)));
                    }
                    reject(scratch, place, code);
                    continue;
                }
                scratch.softly.push(Eligible {
                    place,
                    utility: prediction.terms(row, jobs).utility_msat,
                    capacity: prediction.capacity(row),
                    weight: 0.0,
                    is_new: row.is_new,
                    soft: filter.soft(row),
                });
            }
        }
        Self { now, asked, policy, fleets, predictions, filter, relaxed: Vec::new(), scratch }
    }

    /// Keeps the candidates without a soft reason; gives up soft filters one after the other until somebody is left.
    fn relax(&mut self) {
        let mut allowed = 0_u8;
        let scratch = &mut *self.scratch;
        let mut order = RELAX_ORDER.into_iter().filter(|code| self.filter.may_relax(*code));
        while !scratch.softly.iter().any(|candidate| candidate.soft & !allowed == 0) {
            let Some(code) = order.next() else { break };
            allowed |= code.soft_bit();
            self.relaxed.push(code);
        }
        scratch.eligible.clear();
        let softly = core::mem::take(&mut scratch.softly);
        for candidate in &softly {
            let against = candidate.soft & !allowed;
            match RELAX_ORDER.into_iter().find(|code| against & code.soft_bit() != 0) {
                None => scratch.eligible.push(*candidate),
                Some(code) => reject(scratch, candidate.place, code),
            }
        }
        scratch.softly = softly;
    }

    /// Finds the best candidates, best first.
    pub(super) fn rank(&mut self) {
        let scratch = &mut *self.scratch;
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
}

fn reject(scratch: &mut Scratch, place: Place, code: FilterCode) {
    if let Some(count) = scratch.counts.get_mut(code as usize) {
        *count = count.saturating_add(1);
    }
    if scratch.rejected.len() < REJECTED_MAX {
        scratch.rejected.push((place, code));
    }
}
