//! Is a node what it says it is? The same prompts, answered greedily by every node that offers a model, and nothing but
//! comparison: token counts against each other and against the text, continuations against each other.
//!
//! [`judge`] is a pure function of the answers. It says *outlier*, never *fraud*: it sees that a node differs from the
//! others, or from a reference node whose answers are known. How often it is right is measured
//! (`tests/audit_detection.rs`), not promised.

mod assertion;
pub mod canary;
mod continuation;
mod counting;

use std::collections::{BTreeMap, BTreeSet};

use fedai_protocol::PublicKey;

pub use self::assertion::assertion;

/// Answers a node must have given before it is judged.
pub const JUDGED_MIN: usize = 3;

/// What a node gave for one canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryAnswer {
    /// Node.
    pub node: PublicKey,
    /// Nodes are compared with those of the same make only: quantization and digest as the offer says.
    pub make: String,
    /// Which canary.
    pub canary: usize,
    /// What came.
    pub outcome: CanaryOutcome,
}

/// What came of one canary at one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CanaryOutcome {
    /// An answer.
    Answered {
        /// Visible text.
        text: String,
        /// Prompt tokens that the node counted.
        input_tokens: u64,
        /// Output tokens that it counted.
        output_tokens: u64,
        /// Code of the dispute, when the receipt did not hold.
        dispute: Option<String>,
    },
    /// None; a stable code says why.
    Failed(String),
}

/// What the answers say of one dimension of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditVerdict {
    /// As the others.
    Consistent,
    /// Not as the others, and not by chance.
    Outlier,
    /// Too few answers or nodes, or they all differ: nothing can be said.
    Inconclusive,
}

impl AuditVerdict {
    /// Stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consistent => "consistent",
            Self::Outlier => "outlier",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// What was found of one node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeFinding {
    /// Node.
    pub node: PublicKey,
    /// Its make.
    pub make: String,
    /// Jobs sent.
    pub jobs: u32,
    /// Jobs answered.
    pub answered: u32,
    /// Failures by code.
    pub failures: BTreeMap<String, u32>,
    /// Receipts disputed, by code.
    pub disputes: BTreeMap<String, u32>,
    /// Prompt tokens that it counts for each one that the others count, without what its template adds to every prompt.
    pub input_ratio: Option<f64>,
    /// Output tokens that it counts for each one that the others would count for the same text.
    pub output_ratio: Option<f64>,
    /// Answers that could be compared with others.
    pub compared: u32,
    /// Answers that were the expected one, letter by letter.
    pub exact: u32,
    /// Answers that were it, or parted from it late.
    pub agreeing: u32,
    /// Where the answers that differ part from the expected one, in characters: the median.
    pub divergence_chars: Option<usize>,
    /// Token counts.
    pub metering: AuditVerdict,
    /// The model.
    pub identity: AuditVerdict,
}

impl NodeFinding {
    /// True when it is an outlier in anything.
    #[must_use]
    pub fn is_outlier(&self) -> bool {
        self.metering == AuditVerdict::Outlier || self.identity == AuditVerdict::Outlier
    }
}

/// An answer that can be compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Comparable<'a> {
    pub(crate) node: PublicKey,
    pub(crate) text: &'a str,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
}

/// The answers of one make, by canary.
pub(crate) type Answers<'a> = BTreeMap<usize, Vec<Comparable<'a>>>;

/// Compares. With a `reference`, its answers are the known ones; without, those that most others agree with.
#[must_use]
pub fn judge(answers: &[CanaryAnswer], reference: Option<&PublicKey>) -> Vec<NodeFinding> {
    let makes: BTreeSet<&str> = answers.iter().map(|answer| answer.make.as_str()).collect();
    let mut findings = Vec::new();
    for make in makes {
        let of_make: Vec<&CanaryAnswer> = answers.iter().filter(|answer| answer.make == make).collect();
        let comparable = comparable(&of_make);
        let nodes: BTreeSet<PublicKey> = of_make.iter().map(|answer| answer.node).collect();
        let known = reference.filter(|node| nodes.contains(*node));
        let counting = counting::compare(&comparable, known);
        let continuations = continuation::compare(&comparable, known);
        for node in &nodes {
            let mut finding = tally(*node, make, &of_make);
            if let Some(counts) = counting.get(node) {
                (finding.input_ratio, finding.output_ratio) = (counts.input_ratio, counts.output_ratio);
                finding.metering = counts.verdict;
            }
            if let Some(seen) = continuations.get(node) {
                (finding.compared, finding.exact, finding.agreeing) =
                    (seen.compared, seen.exact, seen.agreeing);
                (finding.divergence_chars, finding.identity) = (seen.divergence_chars, seen.verdict);
            }
            findings.push(finding);
        }
    }
    findings.sort_by(|a, b| a.make.cmp(&b.make).then(a.node.cmp(&b.node)));
    findings
}

/// A list by canary; the same node twice counts once.
fn comparable<'a>(answers: &[&'a CanaryAnswer]) -> Answers<'a> {
    let mut by_canary = Answers::new();
    for answer in answers {
        let CanaryOutcome::Answered { text, input_tokens, output_tokens, .. } = &answer.outcome else {
            continue;
        };
        let of_canary = by_canary.entry(answer.canary).or_default();
        if of_canary.iter().all(|known| known.node != answer.node) {
            of_canary.push(Comparable {
                node: answer.node,
                text,
                input_tokens: *input_tokens,
                output_tokens: *output_tokens,
            });
        }
    }
    for of_canary in by_canary.values_mut() {
        of_canary.sort_by_key(|answer| answer.node);
    }
    by_canary
}

fn tally(node: PublicKey, make: &str, answers: &[&CanaryAnswer]) -> NodeFinding {
    let mut finding = NodeFinding {
        node,
        make: make.to_owned(),
        jobs: 0,
        answered: 0,
        failures: BTreeMap::new(),
        disputes: BTreeMap::new(),
        input_ratio: None,
        output_ratio: None,
        compared: 0,
        exact: 0,
        agreeing: 0,
        divergence_chars: None,
        metering: AuditVerdict::Inconclusive,
        identity: AuditVerdict::Inconclusive,
    };
    for answer in answers.iter().filter(|answer| answer.node == node) {
        finding.jobs += 1;
        match &answer.outcome {
            CanaryOutcome::Answered { dispute, .. } => {
                finding.answered += 1;
                if let Some(code) = dispute {
                    *finding.disputes.entry(code.clone()).or_default() += 1;
                }
            }
            CanaryOutcome::Failed(code) => *finding.failures.entry(code.clone()).or_default() += 1,
        }
    }
    finding
}

/// The middle one; the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    let lower = if values.len() % 2 == 1 { upper } else { *values.get(middle.checked_sub(1)?)? };
    Some((lower + upper) / 2.0)
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
