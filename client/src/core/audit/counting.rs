//! Token counts against each other. The same prompt has the same number of tokens wherever the same model runs, but for
//! what a template adds to every prompt alike; an answer has about as many tokens for its bytes as the others' answers.

use std::collections::BTreeMap;

use fedai_protocol::PublicKey;

use super::{Answers, AuditVerdict, JUDGED_MIN, median};

/// A count this much above the others' is an over-count: honest nodes with one tokenizer agree on every prompt.
const INPUT_TOLERANCE: f64 = 0.05;
/// The same for output, where texts may differ and so do tokens for a byte.
const OUTPUT_TOLERANCE: f64 = 0.07;
/// Standard errors above the tolerance that are no accident.
const SIGMAS: f64 = 3.0;
/// From the median distance to the standard deviation of a normal distribution.
const MAD_TO_SD: f64 = 1.482_6;
/// Nodes that have to answer before the middle one of them is believed.
const NODES_MIN: usize = 3;

/// What the counts of one node say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Counts {
    pub(super) input_ratio: Option<f64>,
    pub(super) output_ratio: Option<f64>,
    pub(super) verdict: AuditVerdict,
}

/// One node's counts beside what is expected, by canary.
#[derive(Default)]
struct Pairs {
    input: Vec<(f64, f64)>,
    output: Vec<(f64, f64)>,
}

/// Compares all nodes of one make.
pub(super) fn compare(answers: &Answers<'_>, known: Option<&PublicKey>) -> BTreeMap<PublicKey, Counts> {
    let mut pairs: BTreeMap<PublicKey, Pairs> = BTreeMap::new();
    let mut spread: Vec<f64> = Vec::new();
    for of_canary in answers.values() {
        let is_known = |node: &PublicKey| known.is_none_or(|known| known == node);
        if known.is_none() && of_canary.len() < NODES_MIN {
            continue;
        }
        let references = || of_canary.iter().filter(|answer| is_known(&answer.node));
        let input = median(references().map(|answer| answer.input_tokens as f64).collect());
        let density = |text: &str, tokens: u64| tokens as f64 / text.len().max(1) as f64;
        let densities =
            references().filter(|a| !a.text.is_empty()).map(|a| density(a.text, a.output_tokens)).collect();
        let (Some(input), Some(usual)) = (input, median(densities)) else { continue };
        for answer in of_canary {
            let of_node = pairs.entry(answer.node).or_default();
            of_node.input.push((input, answer.input_tokens as f64));
            // The same text as a reference has the same tokens; another one is judged by its length.
            let same = references().find(|reference| reference.text == answer.text && known.is_some());
            let expected =
                same.map_or(usual * answer.text.len() as f64, |reference| reference.output_tokens as f64);
            if expected >= 1.0 {
                of_node.output.push((expected, answer.output_tokens as f64));
                spread.push((answer.output_tokens as f64 / expected - 1.0).abs());
            }
        }
    }
    let sd = median(spread).unwrap_or_default() * MAD_TO_SD;
    pairs.into_iter().map(|(node, pairs)| (node, pairs.verdict(sd))).collect()
}

impl Pairs {
    fn verdict(&self, output_sd: f64) -> Counts {
        let input_ratio = slope(&self.input);
        let (expected, claimed) =
            self.output.iter().fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
        let output_ratio = (expected > 0.0).then(|| claimed / expected);
        let chance = SIGMAS * output_sd / (self.output.len().max(1) as f64).sqrt();
        let over_input = input_ratio.is_some_and(|ratio| ratio > 1.0 + INPUT_TOLERANCE);
        let over_output = output_ratio.is_some_and(|ratio| ratio > 1.0 + OUTPUT_TOLERANCE.max(chance));
        let verdict = if self.input.len() < JUDGED_MIN {
            AuditVerdict::Inconclusive
        } else if over_input || over_output {
            AuditVerdict::Outlier
        } else {
            AuditVerdict::Consistent
        };
        Counts { input_ratio, output_ratio, verdict }
    }
}

/// How fast the claimed count grows with the expected one: the median over all pairs of prompts, so that a template
/// that adds the same to each does not count, and one odd prompt neither.
fn slope(pairs: &[(f64, f64)]) -> Option<f64> {
    let mut slopes = Vec::new();
    for (at, (x, y)) in pairs.iter().enumerate() {
        for (other_x, other_y) in pairs.iter().skip(at + 1) {
            // Prompts of nearly one length say nothing of growth.
            if (x - other_x).abs() >= 8.0 {
                slopes.push((y - other_y) / (x - other_x));
            }
        }
    }
    median(slopes)
}
