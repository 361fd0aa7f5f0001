//! `explain`: one recorded decision, with the terms of every candidate that mattered.

use std::process::ExitCode;

use fedai_protocol::decision_record::{Candidate, DecisionRecord};

use super::Look;
use super::output::{failure, json, table, text};
use crate::shell::decision_log;

/// Shows the newest decision whose request or digest begins with `id`.
pub(super) fn show(id: &str, look: &Look) -> ExitCode {
    let entries = match decision_log::read_all(&look.data) {
        Ok((entries, _)) => entries,
        Err(error) => return failure(1, &format!("decisions of {}: {error}", look.data.display())),
    };
    let wanted = id.to_lowercase();
    let matches = |record: &DecisionRecord| {
        record.request.to_hex().starts_with(&wanted)
            || record.digest().starts_with(&wanted)
            || [16, 4, 0]
                .into_iter()
                .any(|cut| crate::core::explain::travelling(record, cut).digest().starts_with(&wanted))
    };
    let Some(entry) = entries.iter().rev().find(|entry| matches(&entry.record)) else {
        let hint = "hint: the id is that of the quote request, or the quote's decision digest";
        return failure(1, &format!("no recorded decision {id:?} in {}\n{hint}", look.data.display()));
    };
    if look.json { json(&*entry.record) } else { text(&story(&entry.record)) }
}

fn story(record: &DecisionRecord) -> String {
    let mut lines = vec![
        format!("request   {}", record.request),
        format!("mode      {:?}, strategy {}, seed {}", record.mode, record.strategy, record.seed),
        format!("looked at {} candidates, ceiling {}", record.considered, record.ceiling),
        format!("regret    {:.3} msat", record.regret_msat),
    ];
    if !record.relaxed.is_empty() {
        lines.push(format!("relaxed   {}", record.relaxed.join(", ")));
    }
    let header = ["NODE", "VERDICT", "UTILITY", "COST", "TTFT", "TOTAL", "WAIT", "P_OK", "TRUST", "SHARE"];
    let mut rows = vec![header.iter().map(|cell| (*cell).to_owned()).collect()];
    rows.extend(record.candidates.iter().map(row));
    lines.push(String::new());
    lines.push(table(&rows));
    lines.join("\n")
}

fn row(candidate: &Candidate) -> Vec<String> {
    let key: String = candidate.node.to_hex().chars().take(12).collect();
    let verdict = format!("{:?}", candidate.verdict).to_lowercase();
    match (&candidate.terms, &candidate.code) {
        (Some(terms), _) => vec![
            key,
            verdict,
            format!("{:.1}", terms.utility_msat),
            format!("{:.1}", terms.cost_msat),
            format!("{:.0} ms", terms.ttft_ms),
            format!("{:.0} ms", terms.total_ms),
            format!("{:.0} ms", terms.wait_ms),
            format!("{:.3}", terms.p_ok),
            format!("{:.3}", terms.trust),
            format!("{:.3}", terms.share),
        ],
        (None, code) => vec![key, format!("{verdict}: {}", code.as_deref().unwrap_or("-"))],
    }
}
