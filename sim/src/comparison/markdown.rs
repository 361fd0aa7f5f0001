//! A comparison as one page: the answer first, then every number with its interval.

use core::fmt::{self, Write as _};

use super::contender::Contender;
use super::report::{Comparison, PolicyReport};
use crate::statistics::Interval;

/// Writes the page.
#[must_use]
pub fn page(comparison: &Comparison) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _infallible = write_page(&mut text, comparison);
    text
}

fn write_page(text: &mut String, comparison: &Comparison) -> fmt::Result {
    let setting = &comparison.setting;
    let (capacity, offered) =
        (comparison.draws.capacity_per_second.mean, comparison.draws.offered_per_second.mean);
    writeln!(text, "# Comparison on {}\n", setting.trace)?;
    writeln!(
        text,
        "{} nodes (the best {:.0} times the least), {} routers, {:.0} % load ({offered:.1} of {capacity:.1} requests a \
         second), announced load {} s old, {:.0} % liars, mode {}. {} seeds of {} requests, the first {} not counted. \
         Means over seeds with 95 % intervals; times are of requests that ended well.\n",
        setting.nodes,
        comparison.draws.capacity_spread.mean,
        setting.routers,
        setting.load * 100.0,
        setting.info_age_seconds,
        setting.liars * 100.0,
        setting.mode,
        setting.seeds.len(),
        setting.requests,
        setting.warm_up,
    )?;
    latency(text, comparison, "Time to first token, s", |report| report.ttft_ms)?;
    latency(text, comparison, "Total time, s", |report| report.total_ms)?;
    writeln!(
        text,
        "| policy | drops, % | msat for a request | Jain's index | slots used, % | opened for each |"
    )?;
    writeln!(text, "|---|---:|---:|---:|---:|---:|")?;
    for (name, report) in rows(comparison) {
        writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} |",
            cell(&report.drop_rate, 100.0, 2),
            cell(&report.cost_msat_per_request, 1.0, 1),
            cell(&report.jain, 1.0, 3),
            cell(&report.utilisation, 100.0, 1),
            cell(&report.attempts_per_request, 1.0, 3),
        )?;
    }
    paired(text, comparison)?;
    writeln!(text, "\n## Policies\n")?;
    for (name, _) in rows(comparison) {
        writeln!(text, "- `{name}`: {}", Contender::named(name).map_or("", Contender::meaning))?;
    }
    Ok(())
}

fn latency(
    text: &mut String,
    comparison: &Comparison,
    title: &str,
    of: fn(&PolicyReport) -> super::report::QuantileIntervals,
) -> fmt::Result {
    writeln!(text, "| {title} | p50 | p95 | p99 |\n|---|---:|---:|---:|")?;
    for (name, report) in rows(comparison) {
        let quantiles = of(report);
        let cells = [quantiles.p50, quantiles.p95, quantiles.p99].map(|value| cell(&value, 1e-3, 2));
        writeln!(text, "| {name} | {} |", cells.join(" | "))?;
    }
    writeln!(text)
}

fn paired(text: &mut String, comparison: &Comparison) -> fmt::Result {
    if rows(comparison).any(|(_, report)| report.over_jsq.is_some()) {
        writeln!(text, "\n| over jsq, seed by seed | first token p95 | total p95 |\n|---|---:|---:|")?;
        for (name, report) in rows(comparison) {
            let Some(over) = report.over_jsq else { continue };
            writeln!(
                text,
                "| {name} | {} | {} |",
                cell(&over.ttft_p95, 1.0, 2),
                cell(&over.total_p95, 1.0, 2)
            )?;
        }
    }
    if rows(comparison).any(|(_, report)| report.less_fedai.is_some()) {
        writeln!(
            text,
            "\n| less fedai, seed by seed | first token p95, s | total p95, s | drops, % | msat |"
        )?;
        writeln!(text, "|---|---:|---:|---:|---:|")?;
        for (name, report) in rows(comparison) {
            let Some(less) = report.less_fedai else { continue };
            writeln!(
                text,
                "| {name} | {} | {} | {} | {} |",
                cell(&less.ttft_p95_ms, 1e-3, 2),
                cell(&less.total_p95_ms, 1e-3, 2),
                cell(&less.drop_rate, 100.0, 2),
                cell(&less.cost_msat_per_request, 1.0, 1),
            )?;
        }
    }
    Ok(())
}

/// Policies in their order.
fn rows(comparison: &Comparison) -> impl Iterator<Item = (&str, &PolicyReport)> {
    comparison.order.iter().filter_map(|name| Some((name.as_str(), comparison.policies.get(name)?)))
}

/// A mean and half its interval.
pub(crate) fn cell(interval: &Interval, factor: f64, digits: usize) -> String {
    let (mean, half) = (interval.mean * factor, (interval.high - interval.low) / 2.0 * factor);
    if half > 0.0 { format!("{mean:.digits$} ± {half:.digits$}") } else { format!("{mean:.digits$}") }
}
