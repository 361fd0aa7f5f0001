//! Filters and predicts every candidate of a decision, eight at a time. What speaks plainly for or against a candidate
//! is decided from the columns; a candidate with anything unusual is judged from its row.
//!
//! Nothing here depends on the order of arrival: fleets are sorted by model, rows by node and offer.

use fedai_protocol::limits::QUOTE_NODES_MAX;

use super::candidate::{CandidateView, Fleet};
use super::columns::{Block, Numbers, PLAIN, TEXT};
use super::filter::{Filter, FilterCode, RELAX_ORDER};
use super::lanes::{LANES, Lanes, Number};
use super::prediction::Prediction;

/// Rejected candidates that a full record keeps.
const REJECTED_MAX: usize = 32;
/// State of what cannot be picked: rejected by a hard filter, or an empty lane.
const OUT: u8 = 16;

/// Working memory of decisions, kept between them so that a decision allocates next to nothing.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    pub(super) blocks: Vec<Judged>,
    /// First block of each fleet.
    pub(super) first_block: Vec<usize>,
    /// Places of candidates that keep a reason, as positions.
    pub(super) rejected: Vec<(usize, FilterCode)>,
    pub(super) counts: [u32; FilterCode::ALL.len()],
    pub(super) best: Vec<usize>,
    pub(super) retry_after_ms: Option<u64>,
    /// Soft reasons that do not count any more.
    pub(super) allowed: u8,
    /// Some candidate has a soft reason against it.
    is_soft: bool,
    /// Positions that are judged from their rows: the previous node and the excluded ones.
    special: Vec<usize>,
    pub(super) recording: Recording,
}

/// How much of a decision its record tells. What is decided is the same with either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recording {
    /// The best candidates and some of the rejected, for people who ask why.
    #[default]
    Full,
    /// Hardly more than who was drawn, where nobody reads it.
    Named,
}

impl Recording {
    /// Eligible candidates that a record keeps: the fallbacks of a quote at least are taken from them.
    pub(super) const fn best_max(self) -> usize {
        match self {
            Self::Full => 32,
            Self::Named => QUOTE_NODES_MAX + 1,
        }
    }
}

/// Eight candidates, judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Judged {
    pub(super) utility: Lanes,
    /// Weight in the draw.
    pub(super) weight: Lanes,
    /// The part of the weight that evidence stands for.
    pub(super) known: Lanes,
    /// Soft reasons, or [`OUT`].
    pub(super) state: [u8; LANES],
    /// Sums over those that may be picked.
    pub(super) sum: f64,
    pub(super) sum_known: f64,
    /// Least utility of those.
    pub(super) least: f32,
}

impl Judged {
    fn set(&mut self, lane: usize, state: u8, utility: f32, weight: f32, p_ok: f32) {
        self.utility.set(lane, utility);
        self.weight.set(lane, weight);
        self.known.set(lane, weight * p_ok);
        if let Some(slot) = self.state.get_mut(lane) {
            *slot = state;
        }
    }

    /// Sums up who may be picked when the soft reasons in `allowed` do not count.
    #[inline]
    fn sum_up(&mut self, allowed: u8) {
        if self.state == [0; LANES] {
            self.sum = f64::from(self.weight.sum());
            self.sum_known = f64::from(self.known.sum());
            self.least = self.utility.0.into_iter().fold(f32::MAX, f32::at_most);
            return;
        }
        let (mut weight, mut known, mut least) = (self.weight, self.known, f32::MAX);
        let lanes = weight.0.iter_mut().zip(&mut known.0).zip(self.state).zip(self.utility.0);
        for (((weight, known), state), utility) in lanes {
            if state & !allowed == 0 {
                least = least.at_most(utility);
            } else {
                (*weight, *known) = (0.0, 0.0);
            }
        }
        (self.sum, self.sum_known, self.least) = (f64::from(weight.sum()), f64::from(known.sum()), least);
    }
}

impl Scratch {
    /// For decisions with such records.
    #[must_use]
    pub fn recording(recording: Recording) -> Self {
        Self { recording, ..Self::default() }
    }

    /// Judges every candidate of sorted fleets.
    pub(super) fn judge(&mut self, fleets: &[&Fleet], predictions: &[Prediction<'_>], filter: &Filter<'_>) {
        self.blocks.clear();
        self.first_block.clear();
        self.rejected.clear();
        self.best.clear();
        self.counts = [0; FilterCode::ALL.len()];
        (self.retry_after_ms, self.allowed, self.is_soft) = (None, 0, false);
        for (fleet, prediction) in fleets.iter().zip(predictions) {
            let first = self.blocks.len();
            self.first_block.push(first);
            self.find_special(fleet, filter);
            let mut special = 0;
            for (at, block) in fleet.blocks().iter().enumerate() {
                let mut judged = Judged::default();
                let mut by_row = self.judge_block(block, prediction, filter, &mut judged);
                while let Some(position) = self.special.get(special).filter(|p| **p / LANES == at) {
                    by_row |= 1 << (position % LANES);
                    special += 1;
                }
                for lane in (0..LANES).filter(|lane| by_row & (1 << lane) != 0) {
                    let row = fleet.rows().get(at * LANES + lane);
                    let position = (first + at) * LANES + lane;
                    self.judge_row(position, row, prediction, filter, &mut judged);
                }
                self.is_soft |= judged.state.iter().any(|state| state & !OUT != 0);
                judged.sum_up(0);
                self.blocks.push(judged);
            }
        }
    }

    /// Judges eight candidates by their columns. The bits that come back are those that have to be judged by row.
    #[inline]
    fn judge_block(
        &self,
        block: &Block,
        prediction: &Prediction<'_>,
        filter: &Filter<'_>,
        judged: &mut Judged,
    ) -> u32 {
        let quick = filter.quick();
        let jobs = prediction.jobs_of_block(block);
        let predicted = prediction.predict(&block.numbers, jobs, Lanes::of(prediction.prompt()));
        judged.utility = predicted.utility_msat;
        judged.weight = prediction.weight(&predicted);
        judged.known = judged.weight * block.numbers.p_ok;
        let mut states = [0_u32; LANES];
        for (state, heard_at) in states.iter_mut().zip(&block.heard_at) {
            *state = u32::from(*heard_at < quick.heard_after) * u32::from(FilterCode::Stale.soft_bit());
        }
        for (state, trust) in states.iter_mut().zip(&block.numbers.trust.0) {
            *state |= u32::from(*trust < quick.trust_floor) * u32::from(FilterCode::TrustFloor.soft_bit());
        }
        for (slot, state) in judged.state.iter_mut().zip(states) {
            *slot = state as u8;
        }
        // Whatever is not plainly within every hard filter is looked at in its row.
        let mut doubts = [0_u32; LANES];
        for (doubt, flags) in doubts.iter_mut().zip(&block.flags) {
            let fits = flags & (PLAIN | TEXT) == PLAIN | TEXT && flags & quick.payment != 0;
            *doubt = u32::from(!fits);
        }
        for (doubt, lease_until) in doubts.iter_mut().zip(&block.lease_until) {
            *doubt |= u32::from(*lease_until <= quick.now);
        }
        for (doubt, context) in doubts.iter_mut().zip(&block.context_tokens) {
            *doubt |= u32::from(*context < quick.context);
        }
        for (doubt, output) in doubts.iter_mut().zip(&block.output_tokens_max) {
            *doubt |= u32::from(*output < quick.output);
        }
        let numbers = &block.numbers;
        let cost = numbers.input_price * Lanes::of(quick.input_tokens)
            + numbers.output_price * Lanes::of(quick.output_tokens)
            + numbers.request_price;
        for (doubt, cost) in doubts.iter_mut().zip(cost.0) {
            *doubt |= u32::from(cost >= quick.cost_below);
        }
        let room = numbers.slots * Lanes::of(quick.jobs_per_slot_max) - jobs;
        for (doubt, room) in doubts.iter_mut().zip(room.0) {
            *doubt |= u32::from(room <= 0.0);
        }
        let below_cap = numbers.cap - numbers.in_flight;
        for (doubt, room) in doubts.iter_mut().zip(below_cap.0) {
            *doubt |= u32::from(room <= 0.0);
        }
        if quick.by_row {
            return u32::MAX;
        }
        doubts.iter().rev().fold(0, |bits, doubt| bits << 1 | doubt)
    }

    /// Judges one candidate by its row; none for an empty lane.
    fn judge_row(
        &mut self,
        position: usize,
        row: Option<&CandidateView>,
        prediction: &Prediction<'_>,
        filter: &Filter<'_>,
        judged: &mut Judged,
    ) {
        let lane = position % LANES;
        let Some(row) = row else {
            judged.set(lane, OUT, f32::MAX, 0.0, 0.0);
            return;
        };
        let jobs = prediction.jobs(row);
        if let Some(code) = filter.hard(row, jobs) {
            if code == FilterCode::Saturated {
                let wait = prediction.terms(row, jobs).wait_ms.clamp(100.0, 60_000.0) as u64;
                self.retry_after_ms = Some(self.retry_after_ms.map_or(wait, |other| other.min(wait)));
            }
            self.reject(position, code);
            judged.set(lane, OUT, f32::MAX, 0.0, 0.0);
            return;
        }
        let numbers = Numbers::from(row);
        let predicted = prediction.predict(&numbers, jobs as f32, prediction.fresh_prompt(row, jobs));
        let weight = prediction.weight(&predicted);
        judged.set(lane, filter.soft(row), predicted.utility_msat, weight, numbers.p_ok);
    }

    /// Gives up soft filters one after the other until somebody is left; which ones.
    pub(super) fn relax(&mut self, filter: &Filter<'_>) -> Vec<FilterCode> {
        let mut given_up = Vec::new();
        let mut order = RELAX_ORDER.into_iter().filter(|code| filter.may_relax(*code));
        while self.is_soft && !self.blocks.iter().any(|judged| judged.least < f32::MAX) {
            let Some(code) = order.next() else { break };
            given_up.push(code);
            self.allow(self.allowed | code.soft_bit());
        }
        if self.is_soft {
            self.reject_soft();
        }
        given_up
    }

    /// Lets soft reasons not count any more.
    pub(super) fn allow(&mut self, allowed: u8) {
        self.allowed = allowed;
        for judged in &mut self.blocks {
            judged.sum_up(allowed);
        }
    }

    /// Writes down who is left out for a soft reason.
    fn reject_soft(&mut self) {
        let blocks = core::mem::take(&mut self.blocks);
        for (at, judged) in blocks.iter().enumerate() {
            for (lane, state) in judged.state.iter().enumerate().filter(|(_, state)| **state & OUT == 0) {
                let against = state & !self.allowed;
                if let Some(code) = RELAX_ORDER.into_iter().find(|code| against & code.soft_bit() != 0) {
                    self.reject(at * LANES + lane, code);
                }
            }
        }
        self.blocks = blocks;
    }

    fn reject(&mut self, position: usize, code: FilterCode) {
        if let Some(count) = self.counts.get_mut(code as usize) {
            *count = count.saturating_add(1);
        }
        if self.rejected.len() < REJECTED_MAX {
            self.rejected.push((position, code));
        }
    }

    /// True when the candidate at a position may be picked.
    pub(super) fn is_eligible(&self, position: usize) -> bool {
        let judged = self.blocks.get(position / LANES);
        let state = judged.and_then(|judged| judged.state.get(position % LANES));
        state.is_some_and(|state| state & !self.allowed == 0)
    }

    /// Utility of the candidate at a position.
    pub(super) fn utility(&self, position: usize) -> f32 {
        self.blocks.get(position / LANES).map_or(f32::MAX, |judged| judged.utility.get(position % LANES))
    }

    /// True when somebody may be picked.
    pub(super) fn is_anybody_left(&self) -> bool {
        self.blocks.iter().any(|judged| judged.least < f32::MAX)
    }

    /// The candidates that columns cannot judge: the node of the previous turn has a warm cache, others are excluded.
    fn find_special(&mut self, fleet: &Fleet, filter: &Filter<'_>) {
        self.special.clear();
        for node in filter.named() {
            self.special.extend(fleet.range_of(node));
        }
        self.special.sort_unstable();
        self.special.dedup();
    }
}

#[cfg(test)]
#[path = "judging_tests.rs"]
mod tests;
