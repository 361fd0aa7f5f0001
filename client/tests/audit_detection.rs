//! How often an audit finds what it looks for, and how often it accuses an honest node: measured on simulated nodes,
//! and kept in docs/trust-and-attestation.md. Written anew by:
//! FEDAI_WRITE_DETECTION=1 cargo test -p fedai-client --test audit_detection

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use fedai_client::core::audit::{AuditVerdict, CanaryAnswer, CanaryOutcome, NodeFinding, judge};
use fedai_protocol::domain_separation::digest;
use fedai_protocol::{Entropy, PublicKey};

/// Audits behind each figure.
const TRIALS: u64 = 400;
/// Answers of an honest node that part from the others', because its machine rounds otherwise.
const HONEST_DIVERGENCE_PERCENT: u64 = 5;
const JOBS: [usize; 4] = [3, 6, 12, 24];
const BEGIN: &str = "<!-- detection table: begin -->\n";
const END: &str = "<!-- detection table: end -->";

#[derive(Clone, Copy)]
enum Conduct {
    Honest,
    /// Counts input and output times this, in percent.
    OverCount(u64),
    /// Counts output times this, in percent.
    OverCountOutput(u64),
    /// Another model, which gives the same answer in so many percent.
    OtherModel(u64),
}

fn key(n: u64) -> PublicKey {
    PublicKey::from_byte_array(digest("test", &[&n.to_be_bytes()]))
}

/// A small generator: a figure rests on millions of draws.
struct SplitMix(u64);

impl Entropy for SplitMix {
    fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            part.copy_from_slice(&mixed.to_be_bytes()[..part.len()]);
        }
    }
}

/// Words of two to nine letters; each is a token, and a long one two.
fn words(count: u64, chance: &mut SplitMix) -> Vec<String> {
    let mut word = || {
        let drawn = chance.below(1 << 48);
        (0..2 + drawn % 8).map(|at| char::from(b'a' + ((drawn >> (3 + 5 * at)) % 26) as u8)).collect()
    };
    (0..count).map(|_| word()).collect()
}

fn tokens(words: &[String]) -> u64 {
    words.iter().map(|word| if word.len() > 6 { 2 } else { 1 }).sum()
}

/// The same text up to a part of it, then another one of about the same length.
fn parted(text: &[String], after_percent: u64, chance: &mut SplitMix) -> Vec<String> {
    let kept = text.len() as u64 * after_percent / 100;
    let rest = (text.len() as u64 - kept) * (80 + chance.below(41)) / 100;
    text.iter().take(kept as usize).cloned().chain(words(rest, chance)).collect()
}

fn answer(
    node: u64,
    canary: usize,
    conduct: Conduct,
    prompt_tokens: u64,
    greedy: &[String],
    chance: &mut SplitMix,
) -> CanaryAnswer {
    let percent = chance.below(100);
    let text = match conduct {
        Conduct::OtherModel(same) if percent >= same => {
            let early = chance.below(30);
            parted(greedy, early, chance)
        }
        Conduct::OtherModel(_) => greedy.to_vec(),
        _ if percent < HONEST_DIVERGENCE_PERCENT => {
            let anywhere = chance.below(100);
            parted(greedy, anywhere, chance)
        }
        _ => greedy.to_vec(),
    };
    // The template of the first node adds its own system prompt.
    let template = if node == 0 { 19 } else { 0 };
    let (input, output) = (prompt_tokens + template, tokens(&text));
    let (input, output) = match conduct {
        Conduct::OverCount(percent) => (input * percent / 100, output * percent / 100),
        Conduct::OverCountOutput(percent) => (input, output * percent / 100),
        _ => (input, output),
    };
    let outcome = CanaryOutcome::Answered {
        text: text.join(" "),
        input_tokens: input,
        output_tokens: output,
        dispute: None,
    };
    CanaryAnswer { node: key(node), make: String::new(), canary, outcome }
}

/// One audit: the last node behaves like that, the others are honest.
fn audit(nodes: u64, jobs: usize, conduct: Conduct, trial: u64) -> Vec<NodeFinding> {
    let mut chance = SplitMix(trial);
    let mut answers = Vec::new();
    for canary in 0..jobs {
        let prompt_tokens = 40 + 400 * canary as u64 / jobs as u64 + chance.below(40);
        let length = 20 + chance.below(90);
        let greedy = words(length, &mut chance);
        for node in 0..nodes {
            let conduct = if node + 1 == nodes { conduct } else { Conduct::Honest };
            answers.push(answer(node, canary, conduct, prompt_tokens, &greedy, &mut chance));
        }
    }
    judge(&answers, None)
}

/// Percent of audits in which the last node, and percent of honest nodes that, are called an outlier.
fn rates(nodes: u64, jobs: usize, conduct: Conduct) -> (f64, f64) {
    let (mut found, mut accused, mut honest) = (0_u64, 0_u64, 0_u64);
    for trial in 0..TRIALS {
        for finding in audit(nodes, jobs, conduct, trial) {
            let is_last = finding.node == key(nodes - 1);
            let is_outlier = [finding.metering, finding.identity].contains(&AuditVerdict::Outlier);
            found += u64::from(is_last && is_outlier);
            accused += u64::from(!is_last && is_outlier);
            honest += u64::from(!is_last);
        }
    }
    (found as f64 * 100.0 / TRIALS as f64, accused as f64 * 100.0 / honest as f64)
}

#[test]
fn the_published_detection_rates_are_what_comes_out() {
    let rows: [(&str, u64, Conduct); 11] = [
        ("honest (false alarms)", 5, Conduct::Honest),
        ("honest (false alarms), 3 nodes", 3, Conduct::Honest),
        ("counts everything × 1.1", 5, Conduct::OverCount(110)),
        ("counts everything × 1.1, 3 nodes", 3, Conduct::OverCount(110)),
        ("counts everything × 2", 5, Conduct::OverCount(200)),
        ("counts output × 1.1", 5, Conduct::OverCountOutput(110)),
        ("counts output × 1.2", 5, Conduct::OverCountOutput(120)),
        ("other model, same answer in 10 %", 5, Conduct::OtherModel(10)),
        ("other model, same answer in 10 %, 3 nodes", 3, Conduct::OtherModel(10)),
        ("other model, same answer in 50 %", 5, Conduct::OtherModel(50)),
        ("other model, same answer in 80 %", 5, Conduct::OtherModel(80)),
    ];
    let mut table =
        String::from("| Node | 3 jobs | 6 jobs | 12 jobs | 24 jobs | honest ones accused beside it |\n");
    table.push_str("|---|---|---|---|---|---|\n");
    for (name, nodes, conduct) in rows {
        let rates: Vec<(f64, f64)> = JOBS.iter().map(|jobs| rates(nodes, *jobs, conduct)).collect();
        let found: Vec<String> = rates.iter().map(|(found, _)| format!("{found:.1} %")).collect();
        let most_accused = rates.iter().map(|(_, accused)| *accused).fold(0.0, f64::max);
        table.push_str(&format!("| {name} | {} | ≤ {most_accused:.1} % |\n", found.join(" | ")));
        assert!(most_accused <= 2.0, "{name}: {most_accused} % of honest nodes are accused");
    }
    let path = format!("{}/../docs/trust-and-attestation.md", env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = document.split_once(BEGIN).expect("the table's place in the document");
    let (published, after) = rest.split_once(END).unwrap();
    if std::env::var_os("FEDAI_WRITE_DETECTION").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(published, table, "see the head of this file");
}
