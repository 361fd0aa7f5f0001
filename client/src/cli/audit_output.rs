//! What `fedai audit` prints. The schema is in docs/schema/audit.json.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::answer_report::npub;
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
    /// Node (hex).
    pub node: String,
    /// The same as npub.
    pub node_npub: String,
    /// Quantization and digest, as offered; only nodes of one make are compared.
    pub make: String,
    /// Jobs sent.
    pub jobs: u32,
    /// Jobs answered.
    pub answered: u32,
    /// Failures by code.
    pub failures: BTreeMap<String, u32>,
    /// Disputed receipts by code.
    pub disputes: BTreeMap<String, u32>,
    /// Prompt tokens counted for each one that the others count.
    pub input_ratio: Option<f64>,
    /// Output tokens counted for each one that the others would count for the same text.
    pub output_ratio: Option<f64>,
    /// Answers that could be compared.
    pub compared: u32,
    /// Answers that were the expected one, letter by letter.
    pub exact: u32,
    /// Answers that were it, or parted from it late.
    pub agreeing: u32,
    /// Where the others part from it, in characters: the median.
    pub divergence_chars: Option<usize>,
    /// `consistent`, `outlier` or `inconclusive`.
    pub metering: String,
    /// `consistent`, `outlier` or `inconclusive`.
    pub identity: String,
}

impl AuditRow {
    /// The row of a finding.
    #[must_use]
    pub fn new(finding: &NodeFinding, name: &str) -> Self {
        let rounded = |ratio: f64| (ratio * 1_000.0).round() / 1_000.0;
        Self {
            name: name.to_owned(),
            node: finding.node.to_hex(),
            node_npub: npub(&finding.node),
            make: finding.make.clone(),
            jobs: finding.jobs,
            answered: finding.answered,
            failures: finding.failures.clone(),
            disputes: finding.disputes.clone(),
            input_ratio: finding.input_ratio.map(rounded),
            output_ratio: finding.output_ratio.map(rounded),
            compared: finding.compared,
            exact: finding.exact,
            agreeing: finding.agreeing,
            divergence_chars: finding.divergence_chars,
            metering: finding.metering.as_str().to_owned(),
            identity: finding.identity.as_str().to_owned(),
        }
    }
}

impl AuditOutput {
    /// Prints the table.
    pub fn print(&self) -> std::io::Result<()> {
        let ratio =
            |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("× {ratio:.2}"));
        let rows = self.nodes.iter().map(|row| {
            let disputed: u32 = row.disputes.values().sum();
            vec![
                row.name.clone(),
                terminal::short(&row.node).to_owned(),
                row.make.clone(),
                format!("{}/{}", row.answered, row.jobs),
                disputed.to_string(),
                ratio(row.input_ratio),
                ratio(row.output_ratio),
                format!("{}/{}", row.agreeing, row.compared),
                row.metering.clone(),
                row.identity.clone(),
            ]
        });
        let header = [
            "node", "key", "make", "answered", "disputed", "input", "output", "agree", "metering", "identity",
        ];
        terminal::print_table(&header, rows.collect())
    }
}
