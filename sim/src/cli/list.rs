//! `list`: what there is to choose from.

use super::{Outcome, say};
use crate::faults::FAULTS;
use crate::invariants::INVARIANTS;
use crate::scenario::WorkloadKind;

/// Lists workloads, faults and invariants.
pub(super) fn list() -> Outcome {
    let mut text = String::new();
    let lists = [
        ("workloads", WorkloadKind::NAMES.as_slice()),
        ("faults", FAULTS.as_slice()),
        ("invariants", INVARIANTS.as_slice()),
    ];
    for (title, entries) in lists {
        text.push_str(&format!("{}{title}\n", if text.is_empty() { "" } else { "\n" }));
        for (name, meaning) in entries {
            text.push_str(&format!("  {name:<21} {meaning}\n"));
        }
    }
    say(&text)
}
