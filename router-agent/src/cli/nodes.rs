//! `nodes`: what the router knows of each node, from its status file.

use std::process::ExitCode;

use super::Look;
use super::output::{failure, json, plain, table, text};
use crate::core::status::NodeStatusLine;
use crate::shell::data_files::{StatusFile, read, status_path};

/// Lists the nodes.
pub(super) fn list(look: &Look) -> ExitCode {
    let status: StatusFile = match read(&status_path(&look.data)) {
        Ok(status) => status,
        Err(error) => return failure(1, &error),
    };
    if look.json {
        return json(&status.router.nodes);
    }
    if status.router.nodes.is_empty() {
        return text("no nodes yet: none has announced itself on this router's relays");
    }
    let header = ["NODE", "NAME", "STATE", "MODEL", "MSAT/1M IN", "OUT", "JOBS", "TOK/S", "TTFT P50", "RANK"];
    let mut rows = vec![header.iter().map(|cell| (*cell).to_owned()).collect()];
    rows.extend(status.router.nodes.iter().flat_map(lines));
    text(&table(&rows))
}

fn lines(node: &NodeStatusLine) -> Vec<Vec<String>> {
    let key: String = node.node.to_hex().chars().take(12).collect();
    let state = if node.live { "live" } else { "gone" };
    let rank = if node.receipts == 0 { "new".to_owned() } else { node.rank.to_string() };
    let unknown = || "-".to_owned();
    node.models
        .iter()
        .map(|model| {
            vec![
                key.clone(),
                plain(&node.name),
                if model.breaker_until.is_some() { "resting".to_owned() } else { state.to_owned() },
                plain(&model.model),
                model.input.get().to_string(),
                model.output.get().to_string(),
                model.in_flight.to_string(),
                model.tokens_per_second.map_or_else(unknown, |speed| format!("{speed:.1}")),
                model.ttft_p50_ms.map_or_else(unknown, |ms| format!("{ms} ms")),
                rank.clone(),
            ]
        })
        .collect()
}
