//! Continuations against each other. Greedy output of the same weights is the same text, or the same for a while:
//! another machine rounds otherwise, and from the first token that tips over all may differ. Other weights part early.

use std::collections::BTreeMap;

use fedai_protocol::PublicKey;

use super::{Answers, AuditVerdict, Comparable, JUDGED_MIN};

/// An answer agrees when it is the expected one at least up to this part of it.
const AGREES_FROM: f64 = 0.5;
/// An outlier is one whose answers would agree so rarely by chance at most this often, if it were as the others are.
const CHANCE_MAX: f64 = 0.001;
/// The others' rate of agreement is taken to be no better than this: a perfect record of few answers proves little.
const RATE_MAX: f64 = 0.95;
/// With a known answer, an honest node agrees at least this often.
const KNOWN_RATE: f64 = 0.8;
/// Below this the others do not agree among themselves, and nothing can be said.
const RATE_MIN: f64 = 0.5;
/// Nodes that have to answer before most of them are believed.
const NODES_MIN: usize = 3;

/// What the continuations of one node say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) compared: u32,
    pub(super) exact: u32,
    pub(super) agreeing: u32,
    pub(super) divergence_chars: Option<usize>,
    pub(super) verdict: AuditVerdict,
}

/// Compares all nodes of one make.
pub(super) fn compare(answers: &Answers<'_>, known: Option<&PublicKey>) -> BTreeMap<PublicKey, Seen> {
    let mut similar: BTreeMap<PublicKey, Vec<(f64, usize)>> = BTreeMap::new();
    for of_canary in answers.values() {
        if known.is_none() && of_canary.len() < NODES_MIN {
            continue;
        }
        let Some(expected) = expected(of_canary, known) else { continue };
        for answer in of_canary {
            similar.entry(answer.node).or_default().push(similarity(expected, answer.text));
        }
    }
    let rates: BTreeMap<PublicKey, (u32, u32)> = similar
        .iter()
        .map(|(node, answers)| (*node, (agreeing(answers), u32::try_from(answers.len()).unwrap_or(u32::MAX))))
        .collect();
    let seen = |(node, answers): (&PublicKey, &Vec<(f64, usize)>)| {
        let (agreeing, compared) = rates.get(node).copied().unwrap_or_default();
        let mut parted: Vec<usize> =
            answers.iter().filter(|(part, _)| *part < 1.0).map(|(_, chars)| *chars).collect();
        parted.sort_unstable();
        let seen = Seen {
            compared,
            exact: u32::try_from(answers.len() - parted.len()).unwrap_or(u32::MAX),
            agreeing,
            divergence_chars: parted.get(parted.len() / 2).copied(),
            verdict: verdict(node, &rates, known),
        };
        (*node, seen)
    };
    similar.iter().map(seen).collect()
}

fn agreeing(answers: &[(f64, usize)]) -> u32 {
    u32::try_from(answers.iter().filter(|(part, _)| *part >= AGREES_FROM).count()).unwrap_or(u32::MAX)
}

/// The known answer, or the one that the others are most like.
fn expected<'a>(of_canary: &[Comparable<'a>], known: Option<&PublicKey>) -> Option<&'a str> {
    if let Some(known) = known {
        return of_canary.iter().find(|answer| answer.node == *known).map(|answer| answer.text);
    }
    let likeness = |text: &str| of_canary.iter().map(|other| similarity(text, other.text).0).sum::<f64>();
    let scored = of_canary.iter().map(|answer| (likeness(answer.text), answer.text));
    scored.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, text)| text)
}

/// How much of the longer text two texts have in common from the start, as a part and in characters.
pub(super) fn similarity(a: &str, b: &str) -> (f64, usize) {
    let common = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let longer = a.chars().count().max(b.chars().count());
    (if longer == 0 { 1.0 } else { common as f64 / longer as f64 }, common)
}

fn verdict(
    node: &PublicKey,
    rates: &BTreeMap<PublicKey, (u32, u32)>,
    known: Option<&PublicKey>,
) -> AuditVerdict {
    let (agreeing, compared) = rates.get(node).copied().unwrap_or_default();
    if (compared as usize) < JUDGED_MIN || known == Some(node) {
        return AuditVerdict::Inconclusive;
    }
    let others = rates.iter().filter(|(other, _)| *other != node && known != Some(other));
    let (agree, all) = others.fold((0_u32, 0_u32), |sum, (_, rate)| (sum.0 + rate.0, sum.1 + rate.1));
    let seen = if all == 0 { 0.0 } else { f64::from(agree) / f64::from(all) };
    // Where the answer is known, a majority of others that differ from it excuses nobody.
    let rate = if known.is_some() { seen.max(KNOWN_RATE) } else { seen };
    if rate < RATE_MIN {
        return AuditVerdict::Inconclusive;
    }
    if at_most(agreeing, compared, rate.min(RATE_MAX)) <= CHANCE_MAX {
        AuditVerdict::Outlier
    } else {
        AuditVerdict::Consistent
    }
}

/// The chance of at most `hits` in `tries`, each with chance `rate`.
fn at_most(hits: u32, tries: u32, rate: f64) -> f64 {
    let mut term = (0..tries).fold(1.0, |product, _| product * (1.0 - rate));
    let mut sum = term;
    for hit in 0..hits {
        term *= f64::from(tries - hit) / f64::from(hit + 1) * rate / (1.0 - rate);
        sum += term;
    }
    sum
}
