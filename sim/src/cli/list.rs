//! `list`: what there is to choose from.

use super::{Outcome, say};
use crate::faults::kind::FaultRow;
use crate::faults::table::FAULTS;
use crate::hardware::{HardwareClass, MARKET, MEASURED};
use crate::invariants::INVARIANTS;
use crate::scenario::WorkloadKind;

/// Lists workloads, hardware, faults and invariants.
pub(super) fn list() -> Outcome {
    let mut text = String::from("workloads\n");
    for (name, meaning) in WorkloadKind::NAMES {
        text.push_str(&format!("  {name:<21} {meaning}\n"));
    }
    text.push_str("\nhardware\n");
    for HardwareClass { name, model, runner, source, .. } in MARKET.iter().chain(&MEASURED) {
        let (prefill, decode) = (runner.prefill_rate(), runner.decode_rate());
        let rates = format!("{prefill} prompt and {decode} output tokens/s alone, {} slots", runner.slots);
        text.push_str(&format!("  {name:<18} {model:<18} {rates:<58} {source}\n"));
    }
    text.push_str("\nfaults\n");
    for FaultRow { name, size: (low, high), unit, meaning, .. } in &FAULTS {
        let size = if unit.is_empty() { String::new() } else { format!(" ({low}-{high} {unit})") };
        text.push_str(&format!("  {name:<21} {meaning}{size}\n"));
    }
    text.push_str("\ninvariants\n");
    for (name, meaning) in INVARIANTS {
        text.push_str(&format!("  {name:<30} {meaning}\n"));
    }
    say(&text)
}
