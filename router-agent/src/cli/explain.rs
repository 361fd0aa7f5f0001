//! `explain`: one recorded decision, with the terms of every candidate that mattered.

use std::process::ExitCode;

use fedai_protocol::PublicKey;
use fedai_protocol::decision_record::{
    Alternative, Candidate, Counterfactual, DecisionRecord, DrawRecord, DrawnCandidate,
};

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
    lines.extend(record.draw.as_ref().map(chance));
    for (what, other) in record.counterfactual.iter().flat_map(alternatives) {
        lines.push(format!("{what:<9} {}", alternative(&other)));
    }
    let header = ["NODE", "VERDICT", "UTILITY", "COST", "TTFT", "TOTAL", "WAIT", "P_OK", "TRUST", "SHARE"];
    let mut rows = vec![header.iter().map(|cell| (*cell).to_owned()).collect()];
    rows.extend(record.candidates.iter().map(row));
    lines.push(String::new());
    lines.push(table(&rows));
    lines.join("\n")
}

/// What chance did, in a line.
fn chance(draw: &DrawRecord) -> String {
    let of = |one: &DrawnCandidate| format!("{:.6} {}", one.number, short(&one.node));
    let drawn: Vec<String> = draw.drawn.iter().map(of).collect();
    let mut line = format!("drawn     {}", drawn.join(", "));
    line.push_str(&format!("; explores below {:.3}: {:.6}", draw.exploration, draw.number));
    if let Some(explored) = &draw.explored {
        line.push_str(&format!(", tried {}", of(explored)));
    }
    if draw.kept_previous {
        line.push_str("; the node of the previous turn was kept");
    }
    line
}

/// Who would have been chosen, by which rule.
fn alternatives(other: &Counterfactual) -> impl Iterator<Item = (&'static str, Alternative)> {
    [("argmin", Some(other.best)), ("by draw", other.drawn), ("runner-up", other.runner_up)]
        .into_iter()
        .filter_map(|(what, other)| Some((what, other?)))
}

fn alternative(other: &Alternative) -> String {
    format!(
        "{}: {:.1} msat in all, costs {:.1} msat, first token {:.0} ms, total {:.0} ms",
        short(&other.node),
        other.utility_msat,
        other.cost_msat,
        other.ttft_ms,
        other.total_ms
    )
}

fn short(key: &PublicKey) -> String {
    key.to_hex().chars().take(12).collect()
}

fn row(candidate: &Candidate) -> Vec<String> {
    let key = short(&candidate.node);
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
