//! One decision in the making: candidates are filtered and judged when it opens, the decision and its record are
//! written when it closes. Whatever strategy picks in between, no node that a hard filter rejected can be named.

use std::sync::Arc;

use fedai_protocol::decision_record::Terms;
use fedai_protocol::limits::QUOTE_NODES_MAX;
use fedai_protocol::quote_request::Mode;
use fedai_protocol::{Msat, PublicKey, UnixMicros};

use super::candidate::{CandidateView, Fleet};
use super::decision::{Asked, Choice, Decision, NoCandidate};
use super::explain::Story;
use super::filter::{Filter, FilterCode};
use super::lanes::LANES;
use super::policy::Policy;
use super::prediction::Prediction;

pub use super::judging::Scratch;

/// Where a candidate stands: the fleet (sorted by model) and its row there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Position of the fleet.
    pub fleet: usize,
    /// Row in the fleet.
    pub row: usize,
}

/// What was picked, as positions of the judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Drawn {
    pub(super) chosen: usize,
    /// Drawn as well, and not taken.
    pub(super) others: Vec<usize>,
    pub(super) fallbacks: Vec<usize>,
    /// What the unproven part of every weight was multiplied with.
    pub(super) unproven_scale: f64,
    /// What chance did; none where a strategy gave an order.
    pub(super) chances: Option<Chances>,
}

/// What chance did, as positions of the judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Chances {
    /// Explores when it is below `exploration`.
    pub(super) number: f64,
    pub(super) exploration: f64,
    /// The number of each draw by weight, and whom it drew.
    pub(super) numbers: Vec<(f64, usize)>,
    pub(super) explored: Option<(f64, usize)>,
    pub(super) kept_previous: bool,
    /// The best of those drawn by weight.
    pub(super) by_draw: usize,
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
        sitting.relaxed = sitting.scratch.relax(&sitting.filter);
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
        sitting.scratch.allow(FilterCode::SOFT_BITS);
        sitting.opened()
    }

    /// Everybody who may be picked, in an order that never depends on the order of arrival.
    pub fn eligible(&self) -> impl Iterator<Item = Place> + '_ {
        let positions = 0..self.scratch.blocks.len() * LANES;
        positions.filter(|at| self.scratch.is_eligible(*at)).filter_map(|at| self.place(at))
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
        let picked: Vec<usize> = order
            .iter()
            .filter_map(|place| self.position(*place))
            .filter(|at| self.scratch.is_eligible(*at))
            .collect();
        let Some((chosen, rest)) = picked.split_first() else { return Err(self.nobody()) };
        self.rank();
        let mut drawn = Drawn { chosen: *chosen, unproven_scale: 1.0, ..Drawn::default() };
        for at in rest {
            if drawn.fallbacks.len() + 1 < QUOTE_NODES_MAX && self.fits(*at, *chosen, &drawn.fallbacks) {
                drawn.fallbacks.push(*at);
            }
        }
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

    /// Where the candidate at a position stands.
    pub(super) fn place(&self, position: usize) -> Option<Place> {
        let block = position / LANES;
        let fleet = self.scratch.first_block.partition_point(|first| *first <= block).checked_sub(1)?;
        let first = self.scratch.first_block.get(fleet)? * LANES;
        Some(Place { fleet, row: position - first })
    }

    fn position(&self, place: Place) -> Option<usize> {
        self.row(place)?;
        Some(self.scratch.first_block.get(place.fleet)? * LANES + place.row)
    }

    fn node(&self, at: usize) -> Option<(usize, PublicKey)> {
        let place = self.place(at)?;
        Some((place.fleet, self.row(place)?.node))
    }

    /// Writes the decision.
    pub(super) fn close(self, seed: u64, strategy: &str, drawn: &Drawn) -> Decision {
        let mut choices: Vec<Choice> = core::iter::once(drawn.chosen)
            .chain(drawn.fallbacks.iter().copied())
            .filter_map(|at| self.choice(at))
            .collect();
        if drawn.chances.is_some() && self.policy.late_binding {
            self.set_patience(drawn.chosen, &mut choices);
        }
        let dearest = choices.iter().map(|choice| choice.max_cost).max().unwrap_or_default();
        let fee = self.asked.fee.on(dearest).unwrap_or(Msat::MAX);
        let ceiling = dearest.saturating_add(fee);
        let place = self.place(drawn.chosen);
        let first = place.and_then(|place| self.row(place));
        let model = place.and_then(|place| self.fleets.get(place.fleet)).map(|fleet| fleet.model());
        let is_fastest = self.asked.request.mode == Mode::Fastest;
        let hedged = first.filter(|row| is_fastest && row.ttft_p95_ms > 0);
        Decision {
            model: model.unwrap_or_default().to_owned(),
            fee,
            ceiling,
            hedge_after_ms: hedged.map(|row| row.ttft_p95_ms),
            record: Arc::new(Story { sitting: &self, seed, strategy, ceiling, drawn }.record()),
            choices,
        }
    }

    fn choice(&self, at: usize) -> Option<Choice> {
        let place = self.place(at)?;
        let row = self.row(place)?;
        let (max_cost, _) = self.filter.worst_case(row)?;
        Some(Choice {
            node: row.node,
            offer: row.offer,
            max_cost,
            terms: self.terms(place)?,
            methods: self.filter.common_methods(row),
            patience_ms: None,
        })
    }

    /// A wait is worth what it costs over the next choice: until then a client stays.
    fn set_patience(&self, chosen: usize, choices: &mut [Choice]) {
        let prediction = self.place(chosen).and_then(|place| self.predictions.get(place.fleet));
        let Some(prediction) = prediction else { return };
        let mut next = None;
        for choice in choices.iter_mut().rev() {
            choice.patience_ms = Some(prediction.patience_ms(&choice.terms, &next.unwrap_or(choice.terms)));
            next = Some(choice.terms);
        }
    }

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
        scratch.judge(&fleets, &predictions, &filter);
        Self { now, asked, policy, fleets, predictions, filter, relaxed: Vec::new(), scratch }
    }

    fn opened(self) -> Result<Self, NoCandidate> {
        if self.scratch.is_anybody_left() { Ok(self) } else { Err(self.nobody()) }
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

    /// Finds the best candidates, best first; ties by position.
    pub(super) fn rank(&mut self) {
        let scratch = &mut *self.scratch;
        let (allowed, most, best) = (scratch.allowed, scratch.recording.best_max(), &mut scratch.best);
        let mut found: Vec<(f32, usize)> = Vec::with_capacity(most + 1);
        let mut worst = f32::MAX;
        for (block, judged) in scratch.blocks.iter().enumerate() {
            // Most blocks have nobody as good as those already found.
            if judged.least >= worst {
                continue;
            }
            for (lane, (utility, state)) in judged.utility.0.into_iter().zip(judged.state).enumerate() {
                if state & !allowed != 0 || utility >= worst {
                    continue;
                }
                let place = found.partition_point(|(other, _)| *other <= utility);
                found.insert(place, (utility, block * LANES + lane));
                found.truncate(most);
                if let Some((last, _)) = found.get(most - 1) {
                    worst = *last;
                }
            }
        }
        best.clear();
        best.extend(found.into_iter().map(|(_, at)| at));
    }
}
