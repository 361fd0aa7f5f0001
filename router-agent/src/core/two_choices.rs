//! The production strategy's draw: two by weight without replacement, the smaller utility wins; a small share of
//! decisions explores, and the node of the previous turn is kept while it is not much dearer than the best.

use fedai_protocol::limits::QUOTE_NODES_MAX;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use super::policy::Policy;
use super::sitting::{Drawn, Eligible, Scratch, Sitting};

/// Picks among the eligible.
pub(super) fn draw(seed: u64, sitting: &mut Sitting<'_>) -> Drawn {
    let policy = sitting.policy;
    weigh(policy, policy.of(sitting.asked.request.mode).gamma, sitting.scratch);
    sitting.rank();
    let eligible = &sitting.scratch.eligible;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let explores = unit(&mut rng) < policy.exploration_share;
    let first = pick(eligible, None, explores, unit(&mut rng));
    let second = pick(eligible, Some(first), false, unit(&mut rng));
    let utility = |at: usize| eligible.get(at).map_or(f64::MAX, |c| c.utility);
    let (mut chosen, mut other) = match second {
        second if second == first => (first, None),
        second if !explores && utility(second) < utility(first) => (second, Some(first)),
        second => (first, Some(second)),
    };
    if let Some(kept) = sticky(sitting).filter(|kept| *kept != chosen) {
        other = Some(chosen);
        chosen = kept;
    }
    let fallbacks = fallbacks(sitting, chosen, other);
    Drawn { chosen, other, fallbacks }
}

/// Sets the draw weights and holds the newcomers to their share.
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
}

fn fallbacks(sitting: &Sitting<'_>, chosen: usize, other: Option<usize>) -> Vec<usize> {
    let scratch = &sitting.scratch;
    let utility = |at: usize| scratch.eligible.get(at).map_or(f64::MAX, |c| c.utility);
    let mut fallbacks: Vec<usize> = Vec::with_capacity(QUOTE_NODES_MAX);
    if let Some(at) = other.filter(|at| sitting.fits(*at, chosen, &[])) {
        fallbacks.push(at);
    }
    // The best are at hand; everybody is looked at only where the best do not fit (another model, the same node).
    for at in scratch.best.iter().copied() {
        if fallbacks.len() + 1 < QUOTE_NODES_MAX && sitting.fits(at, chosen, &fallbacks) {
            fallbacks.push(at);
        }
    }
    while fallbacks.len() + 1 < QUOTE_NODES_MAX && scratch.best.len() < scratch.eligible.len() {
        let mut next: Option<usize> = None;
        for at in 0..scratch.eligible.len() {
            if next.is_none_or(|best| utility(at) < utility(best)) && sitting.fits(at, chosen, &fallbacks) {
                next = Some(at);
            }
        }
        let Some(next) = next else { break };
        fallbacks.push(next);
    }
    fallbacks
}

/// The previous node's best offer, while it is worth keeping.
fn sticky(sitting: &Sitting<'_>) -> Option<usize> {
    let previous = sitting.asked.request.previous_node?;
    let scratch = &sitting.scratch;
    let best = scratch.best.first().and_then(|at| scratch.eligible.get(*at))?.utility;
    let (at, candidate) = scratch
        .eligible
        .iter()
        .enumerate()
        .filter(|(_, c)| sitting.row(c.place).is_some_and(|row| row.node == previous))
        .min_by(|a, b| a.1.utility.total_cmp(&b.1.utility))?;
    let row = sitting.row(candidate.place)?;
    let prediction = sitting.predictions.get(candidate.place.fleet)?;
    let credit = prediction.prefix_credit(row, prediction.jobs(row));
    let allowance = sitting.policy.stickiness.mul_add(1.0 + credit, 1.0);
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
