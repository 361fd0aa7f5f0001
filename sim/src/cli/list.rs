//! `list`: what there is to choose from.

use clap::Args;

use super::{Outcome, say};
use crate::comparison::Contender;
use crate::faults::kind::FaultRow;
use crate::faults::table::FAULTS;
use crate::hardware::{HardwareClass, MARKET, MEASURED};
use crate::invariants::INVARIANTS;
use crate::scenario::WorkloadKind;

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Print the JSON schema of a comparison's report.json instead.
    #[arg(long)]
    schema: bool,
}

/// Lists policies, workloads, hardware, faults and invariants.
pub(super) fn list(args: &ListArgs) -> Outcome {
    if args.schema {
        return say(&crate::comparison::report::schema()?);
    }
    let mut text = String::from("policies\n");
    for contender in Contender::ALL {
        text.push_str(&format!("  {:<21} {}\n", contender.name(), contender.meaning()));
    }
    text.push_str("\nworkloads\n");
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
