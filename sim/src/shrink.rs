//! From a failing world to the smallest part of it that still breaks the same invariant: first whole kinds of faults
//! are taken away, then single faults, then jobs.
//!
//! Delta debugging (ddmin): try halves, then quarters, then ever smaller parts, and begin again with whatever still
//! fails.

use std::collections::BTreeSet;

use crate::faults::Selection;
use crate::faults::selection::Chosen;
use crate::invariants::Violation;
use crate::scenario::Scenario;

/// The smallest part that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// The part.
    pub selection: Selection,
    /// What does not hold in it.
    pub violation: Violation,
}

/// Shrinks the world of a seed. `run` says what does not hold in a part of it. None when nothing fails to begin with.
pub fn shrink(
    seed: u64,
    begin: &Selection,
    run: &mut dyn FnMut(u64, &Selection) -> Option<Violation>,
) -> Option<Shrunk> {
    let first = run(seed, begin)?;
    let invariant = first.invariant;
    let mut best = Shrunk { selection: begin.clone(), violation: first };
    let mut fails = |selection: Selection, best: &mut Shrunk| {
        let found = run(seed, &selection).filter(|violation| violation.invariant == invariant);
        let does = found.is_some();
        if let Some(violation) = found {
            *best = Shrunk { selection, violation };
        }
        does
    };
    let world = Scenario::swarm(seed).keeping(begin);
    let kinds: BTreeSet<Chosen> = world.faults.faults.iter().map(|fault| Chosen::Kind(fault.kind)).collect();
    let with_faults = |faults: &[Chosen], best: &Shrunk| Selection {
        faults: Some(faults.iter().copied().collect()),
        ..best.selection.clone()
    };
    let kinds = smallest(kinds.into_iter().collect(), &mut |part| {
        let selection = with_faults(part, &best);
        fails(selection, &mut best)
    });
    let of_kinds = world.faults.faults.iter().filter(|fault| kinds.contains(&Chosen::Kind(fault.kind)));
    let single: Vec<Chosen> = of_kinds.map(|fault| Chosen::One(fault.kind, fault.id)).collect();
    smallest(single, &mut |part| {
        let selection = with_faults(part, &best);
        fails(selection, &mut best)
    });
    let jobs: Vec<usize> = (0..world.arrivals.len()).filter(|job| world.has_job(*job)).collect();
    smallest(jobs, &mut |part| {
        let selection = Selection { jobs: Some(part.iter().copied().collect()), ..best.selection.clone() };
        fails(selection, &mut best)
    });
    Some(best)
}

/// The smallest part of a failing whole that ddmin finds. Nothing at all is tried first.
fn smallest<T: Copy + PartialEq>(whole: Vec<T>, fails: &mut dyn FnMut(&[T]) -> bool) -> Vec<T> {
    if whole.is_empty() || fails(&[]) {
        return Vec::new();
    }
    let (mut rest, mut parts) = (whole, 2_usize);
    while rest.len() > 1 {
        let size = rest.len().div_ceil(parts);
        let without = |part: &[T]| rest.iter().filter(|one| !part.contains(one)).copied().collect::<Vec<T>>();
        let pieces = rest.chunks(size).map(<[T]>::to_vec);
        let smaller: Vec<Vec<T>> = pieces.clone().chain(pieces.map(|piece| without(&piece))).collect();
        match smaller
            .into_iter()
            .filter(|part| part.len() < rest.len() && !part.is_empty())
            .find(|part| fails(part))
        {
            Some(part) => {
                (rest, parts) = (part, 2);
            }
            None if size == 1 => break,
            None => parts = parts.saturating_mul(2),
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_that_matter_are_found_among_many() {
        let mut runs = 0;
        let found = smallest((0..64).collect(), &mut |part: &[i32]| {
            runs += 1;
            part.contains(&17) && part.contains(&50)
        });
        assert_eq!(found, [17, 50]);
        assert!(runs < 200, "{runs}");
    }

    #[test]
    fn nothing_is_needed_when_it_fails_anyway() {
        assert_eq!(smallest(vec![1, 2, 3], &mut |_: &[i32]| true), Vec::<i32>::new());
    }
}
