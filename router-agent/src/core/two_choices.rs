//! The production strategy's draw: a few by weight without replacement, the least utility wins; a small share of
//! decisions explores, and the node of the previous turn is kept while it is not much dearer than the best.
//!
//! A weight has a part that evidence stands for and a part that nothing stands for. In a fleet with a history all
//! unproven parts together get a bounded share, however many identities they are split over; in a fleet without one
//! there is nothing to hold them to, and capacity alone decides.

use fedai_protocol::limits::QUOTE_NODES_MAX;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use super::judging::{Judged, Scratch};
use super::lanes::LANES;
use super::sitting::{Chances, Drawn, Sitting};

/// Draws at most.
const DRAWS_MAX: usize = 8;

/// Unproven candidates that are looked at until one may be tried.
const TRIES_MAX: usize = 4;

/// Picks among the eligible.
pub(super) fn draw(seed: u64, sitting: &mut Sitting<'_>) -> Drawn {
    sitting.rank();
    let (policy, scratch) = (sitting.policy, &*sitting.scratch);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let number = unit(&mut rng);
    let exploration = policy.exploration_share + policy.fresh_exploration_share * (1.0 - maturity(sitting));
    let weights = Urn::new(scratch, 1.0, unproven_scale(sitting));
    let draws = usize::try_from(policy.draws).unwrap_or(DRAWS_MAX).clamp(1, DRAWS_MAX);
    let mut others: Vec<usize> = Vec::with_capacity(draws + 1);
    let mut numbers = Vec::with_capacity(draws);
    while others.len() < draws {
        let number = unit(&mut rng);
        let Some(next) = weights.pick(&others, number) else { break };
        others.push(next);
        numbers.push((number, next));
    }
    if others.is_empty() {
        others.extend(scratch.best.first());
    }
    others.sort_by(|a, b| scratch.utility(*a).total_cmp(&scratch.utility(*b)));
    let by_draw = others.first().copied().unwrap_or_default();
    let explored = if number < exploration { explore(&mut rng, sitting) } else { None };
    let tried = explored.map_or(by_draw, |(_, at)| at);
    let kept = sticky(sitting);
    let chosen = kept.unwrap_or(tried);
    others.retain(|other| *other != chosen);
    let fallbacks = fallbacks(sitting, chosen, &others);
    let chance = Chances { number, exploration, numbers, explored, kept_previous: kept.is_some(), by_draw };
    Drawn { chosen, others, fallbacks, unproven_scale: weights.unproven, chances: Some(chance) }
}

/// An unproven candidate to learn about: one with none of our jobs, whose answer would show nothing more, and where
/// trying costs the client a bounded part more than the best would.
fn explore(rng: &mut ChaCha8Rng, sitting: &Sitting<'_>) -> Option<(f64, usize)> {
    let scratch = &*sitting.scratch;
    let most = f64::from(scratch.utility(*scratch.best.first()?)) * sitting.policy.exploration_cost_max;
    let urn = Urn::new(scratch, 0.0, 1.0);
    let mut seen: Vec<usize> = Vec::with_capacity(TRIES_MAX);
    while seen.len() < TRIES_MAX {
        let number = unit(rng);
        let at = urn.pick(&seen, number)?;
        let is_idle = sitting.place(at).and_then(|at| sitting.row(at)).is_some_and(|row| row.in_flight == 0);
        if is_idle && f64::from(scratch.utility(at)) <= most {
            return Some((number, at));
        }
        seen.push(at);
    }
    None
}

/// How much of a history there is.
fn maturity(sitting: &Sitting<'_>) -> f64 {
    sitting.fleets.iter().map(|fleet| fleet.prior().maturity).fold(0.0, f64::max).clamp(0.0, 1.0)
}

/// What the unproven part of every weight counts.
fn unproven_scale(sitting: &Sitting<'_>) -> f64 {
    let (policy, blocks) = (sitting.policy, &sitting.scratch.blocks);
    let known: f64 = blocks.iter().map(|judged| judged.sum_known).sum();
    let unproven = blocks.iter().map(|judged| judged.sum).sum::<f64>() - known;
    let proven_share = (1.0 - policy.new_node_share) * maturity(sitting);
    let most = known * (1.0 - proven_share) / proven_share.max(1e-9);
    if known > 0.0 && unproven > most { most / unproven } else { 1.0 }
}

/// What is drawn from: every candidate with its known part and its unproven part, each times a factor.
struct Urn<'a> {
    scratch: &'a Scratch,
    known: f64,
    unproven: f64,
    total: f64,
}

impl<'a> Urn<'a> {
    fn new(scratch: &'a Scratch, known: f64, unproven: f64) -> Self {
        let urn = Self { scratch, known, unproven, total: 0.0 };
        let total = scratch.blocks.iter().map(|judged| urn.of_block(judged)).sum();
        Self { total, ..urn }
    }

    fn of_block(&self, judged: &Judged) -> f64 {
        self.mass(judged.sum, judged.sum_known)
    }

    fn of(&self, position: usize) -> f64 {
        let Some(judged) = self.scratch.blocks.get(position / LANES) else { return 0.0 };
        let lane = position % LANES;
        self.mass(f64::from(judged.weight.get(lane)), f64::from(judged.known.get(lane)))
    }

    fn mass(&self, weight: f64, known: f64) -> f64 {
        (self.known * known + self.unproven * (weight - known)).max(0.0)
    }

    /// One draw by mass, without those already taken.
    fn pick(&self, taken: &[usize], unit: f64) -> Option<usize> {
        let gone: f64 = taken.iter().map(|position| self.of(*position)).sum();
        let mut left = unit * (self.total - gone);
        let mut last = None;
        for (at, judged) in self.scratch.blocks.iter().enumerate() {
            let here = taken.iter().filter(|position| **position / LANES == at);
            let mass = self.of_block(judged) - here.map(|position| self.of(*position)).sum::<f64>();
            if left >= mass {
                left -= mass;
                continue;
            }
            for position in at * LANES..(at + 1) * LANES {
                let mass = self.of(position);
                if mass > 0.0 && self.scratch.is_eligible(position) && !taken.contains(&position) {
                    last = Some(position);
                    left -= mass;
                    if left < 0.0 {
                        return last;
                    }
                }
            }
        }
        // Sums of blocks and sums of their lanes differ in the last bits.
        last.or_else(|| {
            let mut positions = (0..self.scratch.blocks.len() * LANES).rev();
            positions.find(|position| {
                self.of(*position) > 0.0 && self.scratch.is_eligible(*position) && !taken.contains(position)
            })
        })
    }
}

fn fallbacks(sitting: &Sitting<'_>, chosen: usize, drawn: &[usize]) -> Vec<usize> {
    let scratch = &sitting.scratch;
    let mut fallbacks: Vec<usize> = Vec::with_capacity(QUOTE_NODES_MAX);
    // The best are at hand; everybody is looked at only where the best do not fit (another model, the same node).
    for at in drawn.iter().take(1).chain(&scratch.best).copied() {
        if fallbacks.len() + 1 < QUOTE_NODES_MAX && sitting.fits(at, chosen, &fallbacks) {
            fallbacks.push(at);
        }
    }
    let all = scratch.blocks.len() * LANES;
    let eligible = || (0..all).filter(|at| scratch.is_eligible(*at));
    while fallbacks.len() + 1 < QUOTE_NODES_MAX && eligible().nth(scratch.best.len()).is_some() {
        let fitting = eligible().filter(|at| sitting.fits(*at, chosen, &fallbacks));
        let next = fitting.min_by(|a, b| scratch.utility(*a).total_cmp(&scratch.utility(*b)));
        let Some(next) = next else { break };
        fallbacks.push(next);
    }
    fallbacks
}

/// The previous node's best offer, while it is worth keeping.
fn sticky(sitting: &Sitting<'_>) -> Option<usize> {
    let previous = sitting.asked.request.previous_node?;
    let scratch = &sitting.scratch;
    let best = scratch.utility(*scratch.best.first()?);
    let of_previous = |(fleet, first): (&&super::candidate::Fleet, &usize)| {
        fleet.range_of(&previous).map(|row| first * LANES + row).collect::<Vec<usize>>()
    };
    let at = sitting
        .fleets
        .iter()
        .zip(&scratch.first_block)
        .flat_map(of_previous)
        .filter(|at| scratch.is_eligible(*at))
        .min_by(|a, b| scratch.utility(*a).total_cmp(&scratch.utility(*b)))?;
    let place = sitting.place(at)?;
    let (row, prediction) = (sitting.row(place)?, sitting.predictions.get(place.fleet)?);
    let credit = prediction.prefix_credit(row, prediction.jobs(row));
    let allowance = 1.0 + sitting.policy.stickiness * (1.0 + credit);
    (f64::from(scratch.utility(at)) <= f64::from(best) * allowance).then_some(at)
}

/// A number in [0, 1).
fn unit(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}
