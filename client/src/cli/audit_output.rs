//! What `fedai audit` prints. The schema is in docs/schema/audit.json.

use schemars::JsonSchema;
use serde::Serialize;

use super::terminal;
use crate::core::audit::NodeFinding;

/// `fedai audit`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AuditOutput {
    /// Version of this form.
    pub v: u64,
    /// Model.
    pub model: String,
    /// Canaries; each went to every node.
    pub canaries: u32,
    /// Node whose answers were taken as known (hex), with `--reference`.
    pub reference: Option<String>,
    /// Key that signed the published findings (npub), with `--publish`.
    pub auditor_npub: Option<String>,
    /// Findings that a relay took.
    pub published: u32,
    /// Nodes, by make and key.
    pub nodes: Vec<AuditRow>,
}

/// One node.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AuditRow {
    /// Name of the node.
    pub name: String,
    /// Its key as npub.
    pub node_npub: String,
    /// What was found.
    #[serde(flatten)]
    pub finding: NodeFinding,
}

impl AuditOutput {
    /// Prints the table.
    pub fn print(&self) -> std::io::Result<()> {
        let ratio =
            |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("× {ratio:.2}"));
        let rows = self.nodes.iter().map(|AuditRow { name, finding: row, .. }| {
            let disputed: u32 = row.disputes.values().sum();
            vec![
                name.clone(),
                terminal::short(&row.node.to_hex()).to_owned(),
                row.make.clone(),
                format!("{}/{}", row.answered, row.jobs),
                disputed.to_string(),
                ratio(row.input_ratio),
                ratio(row.output_ratio),
                format!("{}/{}", row.agreeing, row.compared),
                row.metering.as_str().to_owned(),
                row.identity.as_str().to_owned(),
            ]
        });
        let header = [
            "node", "key", "make", "answered", "disputed", "input", "output", "agree", "metering", "identity",
        ];
        terminal::print_table(&header, rows.collect())
    }
}
