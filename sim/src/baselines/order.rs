//! Orders of candidates: what every baseline ends with. The first is chosen, the next ones are its fallbacks.

use fedai_router_agent::core::candidate::CandidateView;
use fedai_router_agent::core::scheduler::{Case, Decision, NoCandidate, Place, Scratch, Sitting};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// Decides by an order of all candidates that pass the hard filters. They come in a random one: equals stay in it when
/// they are sorted.
pub(super) fn decide<'a>(
    case: &Case<'a>,
    strategy: &str,
    scratch: &'a mut Scratch,
    arrange: impl FnOnce(&mut Vec<Seat<'a>>, &mut Draws),
) -> Result<Decision, NoCandidate> {
    let sitting = Sitting::open_hard(case.now, case.asked, case.policy, case.fleets, scratch)?;
    let mut draws = Draws(ChaCha8Rng::seed_from_u64(case.seed));
    let mut seats: Vec<Seat<'a>> =
        sitting.eligible().filter_map(|place| Some(Seat { place, row: sitting.row(place)? })).collect();
    for at in (1..seats.len()).rev() {
        seats.swap(at, draws.below(at.saturating_add(1)));
    }
    arrange(&mut seats, &mut draws);
    let order: Vec<Place> = seats.iter().map(|seat| seat.place).collect();
    sitting.of_order(case.seed, strategy, &order)
}

/// One candidate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat<'a> {
    pub(super) place: Place,
    pub(super) row: &'a CandidateView,
}

/// The randomness of a decision.
#[derive(Debug)]
pub(super) struct Draws(ChaCha8Rng);

impl Draws {
    /// Evenly below a bound, which is not 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let bound = bound.max(1) as u64;
        usize::try_from(self.0.next_u64() % bound).unwrap_or(0)
    }
}

/// Sorts by a key, the least first; equals stay as they are.
pub(super) fn sort_by_key(seats: &mut [Seat<'_>], mut key: impl FnMut(&CandidateView) -> f64) {
    seats.sort_by(|a, b| key(a.row).total_cmp(&key(b.row)));
}

/// Jobs that a candidate announced, and those that were sent there since, for each slot that it announced.
pub(super) fn announced_load(row: &CandidateView) -> f64 {
    f64::from(row.load_jobs.saturating_add(row.sent_since_load)) / f64::from(row.facts.slots.max(1))
}
