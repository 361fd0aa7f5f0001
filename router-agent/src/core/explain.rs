//! The story of a decision, from what the decision itself used: nothing is computed for show.
//!
//! The full record stays with the router; [`travelling`] cuts it to what fits a quote. The digest that a quote names is
//! the digest of the record that travels in it, so that the client can check it.

use fedai_protocol::Msat;
use fedai_protocol::decision_record::{
    Alternative, Candidate, Counterfactual, DecisionRecord, DrawRecord, DrawnCandidate, Terms, Verdict,
};
use fedai_protocol::limits::DECISION_CANDIDATES_MAX;

use super::lanes::LANES;
use super::sitting::{Drawn, Sitting};

/// What a record is written from.
pub(super) struct Story<'a> {
    pub(super) sitting: &'a Sitting<'a>,
    pub(super) seed: u64,
    pub(super) strategy: &'a str,
    pub(super) ceiling: Msat,
    pub(super) drawn: &'a Drawn,
}

impl Story<'_> {
    /// The full record: the best candidates and everybody who was drawn, best first, then rejected ones.
    pub(super) fn record(&self) -> DecisionRecord {
        let (sitting, scratch) = (self.sitting, &self.sitting.scratch);
        let mut kept: Vec<usize> = scratch.best.clone();
        kept.push(self.drawn.chosen);
        kept.extend(&self.drawn.others);
        kept.extend(&self.drawn.fallbacks);
        let utility = |at: &usize| f64::from(scratch.utility(*at));
        kept.sort_by(|a, b| utility(a).total_cmp(&utility(b)).then(a.cmp(b)));
        kept.dedup();
        let mass = |weight: f64, known: f64| known + self.drawn.unproven_scale * (weight - known);
        let all: f64 = scratch.blocks.iter().map(|judged| mass(judged.sum, judged.sum_known)).sum();
        let mut candidates = Vec::with_capacity(kept.len().saturating_add(scratch.rejected.len()));
        candidates.extend(kept.iter().filter_map(|at| self.eligible(*at, all)));
        candidates.extend(scratch.rejected.iter().filter_map(|(at, code)| {
            let row = sitting.row(sitting.place(*at)?)?;
            Some(Candidate {
                node: row.node,
                offer: row.offer,
                verdict: Verdict::Filtered,
                code: Some(code.as_str().to_owned()),
                terms: None,
            })
        }));
        let (draw, counterfactual) = self.chances().unzip();
        let best = scratch.best.first().map_or(0.0, &utility);
        let chosen = utility(&self.drawn.chosen);
        let considered: usize = sitting.fleets.iter().map(|fleet| fleet.rows().len()).sum();
        DecisionRecord {
            request: sitting.asked.id,
            at: sitting.now,
            mode: sitting.asked.request.mode,
            strategy: self.strategy.to_owned(),
            seed: self.seed,
            candidates,
            considered: u32::try_from(considered).unwrap_or(u32::MAX),
            relaxed: sitting.relaxed.iter().map(|code| code.as_str().to_owned()).collect(),
            draw: draw.flatten(),
            counterfactual: counterfactual.flatten(),
            regret_msat: rounded((chosen - best).max(0.0)),
            ceiling: self.ceiling,
        }
    }

    /// What chance did, and what would have come of other rules.
    fn chances(&self) -> Option<(Option<DrawRecord>, Option<Counterfactual>)> {
        let chances = self.drawn.chances.as_ref()?;
        let of_draw = |(number, at): (f64, usize)| {
            let row = self.sitting.row(self.sitting.place(at)?)?;
            Some(DrawnCandidate { number, node: row.node, offer: row.offer })
        };
        let draw = DrawRecord {
            number: chances.number,
            exploration: rounded(chances.exploration),
            drawn: chances.numbers.iter().filter_map(|drawn| of_draw(*drawn)).collect(),
            explored: chances.explored.and_then(of_draw),
            kept_previous: chances.kept_previous,
        };
        let best = self.sitting.scratch.best.first().and_then(|at| self.alternative(*at));
        let counterfactual = best.map(|best| Counterfactual {
            best,
            drawn: self.alternative(chances.by_draw),
            runner_up: self.drawn.others.first().and_then(|at| self.alternative(*at)),
        });
        Some((Some(draw), counterfactual))
    }

    fn alternative(&self, at: usize) -> Option<Alternative> {
        let place = self.sitting.place(at)?;
        let (row, terms) = (self.sitting.row(place)?, self.sitting.terms(place)?);
        Some(Alternative {
            node: row.node,
            offer: row.offer,
            cost_msat: rounded(terms.cost_msat),
            ttft_ms: rounded(terms.ttft_ms),
            total_ms: rounded(terms.total_ms),
            utility_msat: rounded(terms.utility_msat),
        })
    }

    fn eligible(&self, at: usize, all: f64) -> Option<Candidate> {
        let place = self.sitting.place(at)?;
        let row = self.sitting.row(place)?;
        let prediction = self.sitting.predictions.get(place.fleet)?;
        let judged = self.sitting.scratch.blocks.get(at / LANES)?;
        let (weight, known) = (judged.weight.get(at % LANES), judged.known.get(at % LANES));
        let (weight, known) = (f64::from(weight), f64::from(known));
        let verdict = if at == self.drawn.chosen {
            Verdict::Chosen
        } else if self.drawn.fallbacks.contains(&at) {
            Verdict::Fallback
        } else if self.drawn.others.contains(&at) {
            Verdict::Drawn
        } else {
            Verdict::NotDrawn
        };
        let mut terms = self.sitting.terms(place)?;
        terms.share = (known + self.drawn.unproven_scale * (weight - known)) / all.max(1e-300);
        terms.load_age_ms = prediction.load_age_ms(row);
        Some(Candidate {
            node: row.node,
            offer: row.offer,
            verdict,
            code: None,
            terms: Some(rounded_terms(terms)),
        })
    }
}

/// The record as it travels: everybody who was drawn stays, then the best, and room for some of the rejected.
#[must_use]
pub fn travelling(full: &DecisionRecord, candidates_max: usize) -> DecisionRecord {
    let limit = candidates_max.min(DECISION_CANDIDATES_MAX);
    let is_drawn = |c: &Candidate| matches!(c.verdict, Verdict::Chosen | Verdict::Fallback | Verdict::Drawn);
    let drawn = full.candidates.iter().filter(|c| is_drawn(c)).count();
    let rejected = full.candidates.iter().filter(|c| c.verdict == Verdict::Filtered).count();
    let mut room_rejected = rejected.min(limit / 4);
    let mut room = limit.saturating_sub(drawn).saturating_sub(room_rejected);
    let candidates = full
        .candidates
        .iter()
        .filter(|candidate| {
            let left = match candidate.verdict {
                Verdict::NotDrawn => &mut room,
                Verdict::Filtered => &mut room_rejected,
                _ => return true,
            };
            let stays = *left > 0;
            *left = left.saturating_sub(1);
            stays
        })
        .cloned()
        .collect();
    DecisionRecord { candidates, ..full.clone() }
}

/// Three decimals are more than any of these numbers deserves, and keep records short.
fn rounded(value: f64) -> f64 {
    if value.is_finite() { (value * 1e3).round() / 1e3 } else { f64::MAX }
}

fn rounded_terms(terms: Terms) -> Terms {
    Terms {
        cost_msat: rounded(terms.cost_msat),
        ttft_ms: rounded(terms.ttft_ms),
        total_ms: rounded(terms.total_ms),
        wait_ms: rounded(terms.wait_ms),
        p_ok: rounded(terms.p_ok),
        trust: rounded(terms.trust),
        utility_msat: rounded(terms.utility_msat),
        share: rounded(terms.share),
        load_age_ms: rounded(terms.load_age_ms),
    }
}
