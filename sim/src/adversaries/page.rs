//! The findings as a page of Markdown and a plot.

use core::fmt::{self, Write as _};

use super::experiment::Findings;
use super::finding::{CheatFinding, CheatVerdict};
use crate::report::plot::{Axis, Bar, BarChart, Scale};
use crate::statistics::Interval;

/// Writes the page.
#[must_use]
pub fn page(findings: &Findings) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _infallible = write_page(&mut text, findings);
    text
}

fn write_page(text: &mut String, findings: &Findings) -> fmt::Result {
    let Findings { days, seeds, nodes, jobs, adversaries, .. } = findings;
    writeln!(text, "# Adversaries against their honest twins\n")?;
    writeln!(
        text,
        "{nodes} nodes, {jobs} jobs in {days} days, {seeds} seeds. Profit is money received less the cost of the work \
         that was really done, in satoshi over the whole run; gain is the difference to the twin in the same world, \
         with its 95 % interval.\n"
    )?;
    writeln!(text, "| adversary | profit | twin | gain | a day | share | twin's | verdict |")?;
    writeln!(text, "|---|---:|---:|---:|---:|---:|---:|---|")?;
    for (name, finding) in adversaries {
        let CheatFinding { gain, share, honest_share, .. } = finding;
        writeln!(
            text,
            "| {name} | {:.0} | {:.0} | {:.0} ({:.0} to {:.0}) | {:.1} | {:.1} % | {:.1} % | {} |",
            sats(finding.profit_msat),
            sats(finding.honest_profit_msat),
            sats(gain.mean),
            sats(gain.low),
            sats(gain.high),
            sats(finding.gain_msat_per_day),
            share * 100.0,
            honest_share * 100.0,
            finding.verdict.words()
        )?;
    }
    write_audits(text, findings)?;
    writeln!(text, "\n## What was noticed, and what it did to customers\n")?;
    writeln!(
        text,
        "| adversary | disputes | proofs | rank | twin's | first word, h | share halved, days | failed of 10,000 | \
         twin's | overpaid, sat | p95 total, ms | twin's |"
    )?;
    writeln!(text, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")?;
    for (name, finding) in adversaries {
        writeln!(
            text,
            "| {name} | {:.0} | {:.0} | {:.0} | {:.0} | {} | {} | {:.1} | {:.1} | {:.1} | {:.0} | {:.0} |",
            finding.disputed,
            finding.proofs,
            finding.rank,
            finding.honest_rank,
            finding.first_word_hours.map_or_else(|| "-".to_owned(), |hours| format!("{hours:.1}")),
            finding.share_halved_days.map_or_else(|| "-".to_owned(), |days| days.to_string()),
            finding.failed_per_10k,
            finding.honest_failed_per_10k,
            sats(finding.overpaid_msat),
            finding.total_p95_ms,
            finding.honest_total_p95_ms,
        )?;
    }
    writeln!(text, "\n## Who does what, and what meets it\n")?;
    for (name, finding) in adversaries {
        writeln!(
            text,
            "- **{name}**: {}. Hopes for: {}. Met by {}.",
            finding.does, finding.hopes, finding.met_by
        )?;
    }
    Ok(())
}

fn write_audits(text: &mut String, findings: &Findings) -> fmt::Result {
    let audited = findings.adversaries.iter().flat_map(|(name, finding)| {
        finding.audited.iter().map(move |audited| (*name, finding.gain_msat_per_day, audited))
    });
    let mut audited = audited.peekable();
    if audited.peek().is_none() {
        return Ok(());
    }
    writeln!(text, "\n## With audits\n")?;
    writeln!(
        text,
        "An auditor asks every node the same; routers follow what it publishes. Its cost is for all nodes; what it \
         removes is the cheat's gain a day without audits less that with them. In satoshi.\n"
    )?;
    writeln!(
        text,
        "| adversary | audit every | cost a day | found after, days | false alarms | gain in all | a day | removed a \
         day | share | twin's | verdict |"
    )?;
    writeln!(text, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|")?;
    for (name, without, audit) in audited {
        writeln!(
            text,
            "| {name} | {} d | {:.1} | {} | {:.1} | {:.0} ({:.0} to {:.0}) | {:.1} | {:.1} | {:.1} % | {:.1} % | {} |",
            audit.every_days,
            sats(audit.cost_msat_per_day),
            audit.found_days.map_or_else(|| "not always".to_owned(), |days| format!("{days:.1}")),
            audit.false_alarms,
            sats(audit.gain.mean),
            sats(audit.gain.low),
            sats(audit.gain.high),
            sats(audit.gain_msat_per_day),
            sats(without - audit.gain_msat_per_day),
            audit.share * 100.0,
            audit.honest_share * 100.0,
            audit.verdict.words(),
        )?;
    }
    Ok(())
}

impl CheatVerdict {
    /// For people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Loses => "loses",
            Self::Tie => "tie",
            Self::Gains => "**gains**",
        }
    }
}

fn sats(msat: f64) -> f64 {
    msat / 1_000.0
}

/// Draws profits of cheats and twins.
#[must_use]
pub fn plot(findings: &Findings) -> String {
    let sats = |interval: Interval| Interval {
        mean: sats(interval.mean),
        low: sats(interval.low),
        high: sats(interval.high),
    };
    let bars = findings.adversaries.iter().flat_map(|(name, finding)| {
        [
            Bar { name: (*name).to_owned(), style: 1, value: sats(finding.profit) },
            Bar { name: "its honest twin".to_owned(), style: 2, value: sats(finding.honest_profit) },
        ]
    });
    BarChart {
        title: format!("Profit in {} days", findings.days),
        axis: Axis::new("satoshi", Scale::Linear),
        bars: bars.collect(),
    }
    .to_svg()
}
