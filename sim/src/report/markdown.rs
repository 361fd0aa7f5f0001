//! The report as one page of Markdown: what a person wants to know first, first.

use core::fmt::{self, Write as _};

use super::json::{Percentiles, Report};

/// Writes the page.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _infallible = write_page(&mut text, report);
    text
}

fn write_page(text: &mut String, report: &Report) -> fmt::Result {
    let Report { requests, latency_ms, cost, network, .. } = report;
    writeln!(text, "# Simulation {}, seed {}\n", report.workload, report.seed)?;
    let (seconds, nodes) = (report.virtual_ms / 1_000, report.nodes.len());
    let faults = if report.has_faults { "with faults" } else { "without faults" };
    writeln!(
        text,
        "{} requests on {nodes} nodes in {seconds} s of virtual time, {faults}.\n",
        requests.total
    )?;
    writeln!(text, "| measure | value |\n|---|---:|")?;
    writeln!(text, "| done | {} |", requests.done)?;
    writeln!(text, "| drop rate | {:.2} % |", requests.drop_rate * 100.0)?;
    writeln!(text, "| jobs opened at nodes | {} |", requests.opened)?;
    writeln!(text, "| charged per request | {} msat |", cost.cost_msat_per_request)?;
    writeln!(text, "| list price per request | {} msat |", cost.list_msat_per_request)?;
    writeln!(text, "| Jain's index of utilisation | {:.4} |\n", report.jain_index)?;
    writeln!(text, "| latency, ms | p50 | p95 | p99 |\n|---|---:|---:|---:|")?;
    for (name, Percentiles { p50, p95, p99 }) in
        [("quote", latency_ms.quote), ("first token", latency_ms.ttft), ("total", latency_ms.total)]
    {
        writeln!(text, "| {name} | {p50} | {p95} | {p99} |")?;
    }
    if !requests.drops_by_code.is_empty() {
        writeln!(text, "\n| dropped with | requests |\n|---|---:|")?;
        for (code, count) in &requests.drops_by_code {
            writeln!(text, "| {code} | {count} |")?;
        }
    }
    writeln!(
        text,
        "\n| node | class | slots | utilisation | receipts | tokens in | tokens out | list msat |"
    )?;
    writeln!(text, "|---|---|---:|---:|---:|---:|---:|---:|")?;
    for node in &report.nodes {
        // All simulated keys begin alike.
        let key: String = node.key.chars().skip(32).take(8).collect();
        let (slots, used) = (node.slots, node.utilisation * 100.0);
        let (tokens_in, tokens_out) = (node.input_tokens, node.output_tokens);
        let (class, receipts, list) = (&node.class, node.receipts, node.list_msat);
        writeln!(
            text,
            "| {key} | {class} | {slots} | {used:.1} % | {receipts} | {tokens_in} | {tokens_out} | {list} |"
        )?;
    }
    writeln!(
        text,
        "\nRelays took {} events, lost {} and repeated {}; {} node crashes, {} router crashes, {} runner hangs.",
        network.events_published,
        network.events_dropped,
        network.events_duplicated,
        network.node_crashes,
        network.router_crashes,
        network.runner_hangs
    )?;
    report.market.as_ref().map_or(Ok(()), |market| market.write(text))
}
