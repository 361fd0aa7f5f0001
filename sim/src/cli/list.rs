//! `list`: what there is to choose from.

use super::{Outcome, say};
use crate::faults::FAULTS;
use crate::invariants::INVARIANTS;

/// Lists workloads, faults and invariants.
pub(super) fn list() -> Outcome {
    let mut text = String::from("workloads\n  poisson   independent requests with exponential gaps\n");
    text.push_str("  sessions  conversations of a few turns that carry what was said\n");
    for (title, entries) in [("faults", FAULTS.as_slice()), ("invariants", INVARIANTS.as_slice())] {
        text.push_str(&format!("\n{title}\n"));
        for (name, meaning) in entries {
            text.push_str(&format!("  {name:<21} {meaning}\n"));
        }
    }
    say(&text)
}
