//! `fedai why ID`: the decision behind a quote or a job: candidates, their terms in money and time, what was filtered
//! and by which code. The record is the one that the quote committed to; whether it still matches is said.

use fedai_protocol::decision_record::{
    Alternative, Candidate, Counterfactual, DecisionRecord, DrawRecord, DrawnCandidate,
};

use super::exit_code::ExitStatus;
use super::failure::CliFailure;
use super::global_flags::GlobalFlags;
use super::json_output::{
    AlternativeOutput, AttemptOutput, CandidateRow, DrawOutput, DrawnOutput, WhyOutput,
};
use super::terminal;
use crate::shell::config;
use crate::shell::job_record::{JobRecord, JobRecords};

/// Flags of `fedai why`.
#[derive(Clone, Debug, clap::Args)]
pub struct WhyArgs {
    /// Id of a job, a receipt or a decision, or its beginning
    pub id: String,
}

/// Runs the command.
pub fn run(global: &GlobalFlags, arguments: &WhyArgs) -> Result<ExitStatus, CliFailure> {
    let data = config::data_folder(global.data.as_deref())?;
    let record = JobRecords::new(&data)
        .find(&arguments.id)
        .map_err(|error| CliFailure::new(ExitStatus::Failure, "unknown_id", error.to_string()))?;
    let output = output(&record);
    if global.json() {
        terminal::print_json(&output)?;
    } else {
        print(&output)?;
    }
    if record.record.is_some() && !output.digest_matches {
        let text = "the decision record does not match the digest that the quote committed to";
        return Err(CliFailure::new(ExitStatus::Verification, "record_mismatch", text));
    }
    Ok(ExitStatus::Success)
}

fn output(kept: &JobRecord) -> WhyOutput {
    let record = kept.record.as_ref();
    WhyOutput {
        v: 1,
        decision: kept.request.to_hex(),
        router: kept.router.to_hex(),
        digest: kept.decision.clone(),
        digest_matches: record.is_some_and(|record| record.digest() == kept.decision),
        strategy: record.map(|record| record.strategy.clone()),
        seed: record.map(|record| record.seed),
        considered: record.map(|record| record.considered),
        relaxed: record.map(|record| record.relaxed.clone()).unwrap_or_default(),
        regret_msat: record.map(|record| record.regret_msat),
        draw: record.and_then(|record| record.draw.as_ref()).map(draw),
        alternatives: record.and_then(|record| record.counterfactual).map(alternatives).unwrap_or_default(),
        candidates: record.map(candidates).unwrap_or_default(),
        job: kept.job.map(|id| id.to_hex()),
        receipt: kept.receipt.map(|id| id.to_hex()),
        attempts: kept
            .attempts
            .iter()
            .map(|(node, outcome)| AttemptOutput { node: node.to_hex(), outcome: outcome.clone() })
            .collect(),
    }
}

fn draw(draw: &DrawRecord) -> DrawOutput {
    let of = |one: &DrawnCandidate| DrawnOutput { number: one.number, node: one.node.to_hex() };
    DrawOutput {
        number: draw.number,
        exploration: draw.exploration,
        drawn: draw.drawn.iter().map(of).collect(),
        explored: draw.explored.as_ref().map(of),
        kept_previous: draw.kept_previous,
    }
}

fn alternatives(other: Counterfactual) -> Vec<AlternativeOutput> {
    let of = |(rule, other): (&str, Option<Alternative>)| {
        let other = other?;
        Some(AlternativeOutput {
            rule: rule.to_owned(),
            node: other.node.to_hex(),
            cost_msat: other.cost_msat,
            first_token_ms: other.ttft_ms,
            total_ms: other.total_ms,
            utility_msat: other.utility_msat,
        })
    };
    let rules = [("best", Some(other.best)), ("drawn", other.drawn), ("runner_up", other.runner_up)];
    rules.into_iter().filter_map(of).collect()
}

fn candidates(record: &DecisionRecord) -> Vec<CandidateRow> {
    let row = |candidate: &Candidate| {
        let terms = candidate.terms.as_ref();
        let verdict = serde_json::to_value(candidate.verdict).ok();
        CandidateRow {
            node: candidate.node.to_hex(),
            verdict: verdict.and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default(),
            code: candidate.code.clone(),
            cost_msat: terms.map(|terms| terms.cost_msat),
            first_token_ms: terms.map(|terms| terms.ttft_ms),
            total_ms: terms.map(|terms| terms.total_ms),
            p_ok: terms.map(|terms| terms.p_ok),
            trust: terms.map(|terms| terms.trust),
            utility_msat: terms.map(|terms| terms.utility_msat),
            share: terms.map(|terms| terms.share),
        }
    };
    record.candidates.iter().map(row).collect()
}

fn print(output: &WhyOutput) -> std::io::Result<()> {
    let Some(strategy) = &output.strategy else {
        let text = "the router sent no decision record with its quote; only its digest is known";
        return terminal::print(&format!("{text}: {}\n", output.digest));
    };
    terminal::print(&format!(
        "decision {} by router {}\nstrategy {}, seed {}, {} candidates, regret {:.3} msat, digest {}\n",
        output.decision,
        terminal::short(&output.router),
        terminal::without_controls(strategy),
        output.seed.unwrap_or_default(),
        output.considered.unwrap_or_default(),
        output.regret_msat.unwrap_or_default(),
        if output.digest_matches { "matches" } else { "DOES NOT MATCH" }
    ))?;
    if !output.relaxed.is_empty() {
        terminal::print(&format!("relaxed: {}\n", output.relaxed.join(", ")))?;
    }
    print_chance(output)?;
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let rows = output.candidates.iter().map(|row| {
        vec![
            terminal::short(&row.node).to_owned(),
            row.code.as_ref().map_or_else(|| row.verdict.clone(), |code| format!("{}: {code}", row.verdict)),
            number(row.cost_msat, 0),
            number(row.first_token_ms, 0),
            number(row.total_ms, 0),
            number(row.p_ok, 3),
            number(row.trust, 3),
            number(row.utility_msat, 1),
            number(row.share, 3),
        ]
    });
    let header =
        ["node", "verdict", "cost msat", "first ms", "total ms", "p ok", "trust", "utility", "share"];
    terminal::print_table(&header, rows.collect())
}

/// What chance did, and who would have been chosen without it.
fn print_chance(output: &WhyOutput) -> std::io::Result<()> {
    if let Some(draw) = &output.draw {
        let of = |one: &DrawnOutput| format!("{} ({:.6})", terminal::short(&one.node), one.number);
        let drawn: Vec<String> = draw.drawn.iter().map(of).collect();
        let tried = draw.explored.as_ref().map(|one| format!("; tried unproven {}", of(one)));
        let kept = if draw.kept_previous { "; kept the node of the previous turn" } else { "" };
        let tried = tried.unwrap_or_default();
        terminal::print(&format!("drawn: {}{tried}{kept}\n", drawn.join(", ")))?;
    }
    for other in &output.alternatives {
        let rule = match other.rule.as_str() {
            "best" => "least of all",
            "drawn" => "best of those drawn",
            _ => "next of those drawn",
        };
        terminal::print(&format!(
            "{rule}: {} at {:.1} msat in all ({:.0} msat, first token {:.0} ms, total {:.0} ms)\n",
            terminal::short(&other.node),
            other.utility_msat,
            other.cost_msat,
            other.first_token_ms,
            other.total_ms
        ))?;
    }
    Ok(())
}
