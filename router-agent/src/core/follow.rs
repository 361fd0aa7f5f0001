//! What others say of nodes: assertions (30382) of the reporters that the operator chose to follow, and of nobody else.
//!
//! For each dimension the book takes the weighted median over reporters and turns it into a bounded amount of evidence.
//! One reporter among three cannot move it beyond what the others say; one alone moves it by its weight and no further.

use std::collections::BTreeMap;

use fedai_protocol::limits::ROUTER_NODES_MAX;
use fedai_protocol::message::Received;
use fedai_protocol::trust_assertion::{EvidenceWeights, TrustAssertion};
use fedai_protocol::{PublicKey, UnixMicros, UnixSeconds};

use super::estimate::half_life_decay;
use super::trust::{Opinion, Pseudo};

/// Most evidence that all reporters together are worth, in jobs of full weight: eight.
pub const OPINION_WEIGHT_MAX: f64 = 8.0;
/// Half-life of an assertion, in seconds: as that of good evidence.
const HALF_LIFE_SECONDS: f64 = 14.0 * 86_400.0;
/// Receipts at which a bare rank, without the evidence behind it, has half of its weight.
const RECEIPTS_HALF: f64 = 20.0;

/// What one reporter said of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    at: UnixSeconds,
    assertion: TrustAssertion,
}

/// The reporters that are followed and what they said.
#[derive(Clone, Debug, Default)]
pub struct FollowBook {
    followed: BTreeMap<PublicKey, f64>,
    said: BTreeMap<PublicKey, BTreeMap<PublicKey, Said>>,
}

impl FollowBook {
    /// Follows these keys, each with a weight from 0 to 1.
    #[must_use]
    pub fn new(followed: BTreeMap<PublicKey, f64>) -> Self {
        let clip = |weight: f64| if weight.is_finite() { weight.clamp(0.0, 1.0) } else { 0.0 };
        let followed = followed.into_iter().map(|(key, weight)| (key, clip(weight))).collect();
        Self { followed, said: BTreeMap::new() }
    }

    /// Takes an assertion. False when its author is not followed, it is old, or there is no room for one more node.
    pub fn hear(&mut self, now: UnixMicros, heard: &Received<TrustAssertion>) -> bool {
        let node = heard.message.node;
        if !self.followed.contains_key(&heard.author) || heard.author == node {
            return false;
        }
        if self.said.len() >= ROUTER_NODES_MAX && !self.said.contains_key(&node) {
            return false;
        }
        let of_node = self.said.entry(node).or_default();
        if of_node.get(&heard.author).is_some_and(|old| old.at >= heard.created_at) {
            return false;
        }
        // A date in the future would keep it fresh.
        let at = heard.created_at.min(now.seconds());
        of_node.insert(heard.author, Said { at, assertion: heard.message });
        true
    }

    /// What they say of a node.
    #[must_use]
    pub fn opinion(&self, now: UnixMicros, node: &PublicKey) -> Opinion {
        let Some(said) = self.said.get(node) else { return Opinion::default() };
        let of = |dimension: fn(&TrustAssertion) -> Option<(f64, f64)>| {
            let words = said.iter().filter_map(|(reporter, said)| {
                let (mean, weight) = dimension(&said.assertion)?;
                let fresh = half_life_decay(now, said.at.micros(), HALF_LIFE_SECONDS);
                let followed = self.followed.get(reporter)?;
                Some((mean, followed * fresh * (weight / OPINION_WEIGHT_MAX).min(1.0)))
            });
            settle(words.collect())
        };
        Opinion {
            delivery: of(|a| view(a, a.evidence.map(|e| e.delivery), a.dimensions.delivery_permille.into())),
            metering: of(|a| view(a, a.evidence.map(|e| e.metering), a.dimensions.metering_permille.into())),
            price: of(|a| view(a, a.evidence.map(|e| e.price), a.dimensions.price_permille.into())),
            identity: of(|a| view(a, a.evidence.map(|e| e.identity), a.dimensions.identity_permille)),
        }
    }
}

/// One reporter's view of a dimension: the part that is good, and how much stands behind it.
fn view(
    said: &TrustAssertion,
    evidence: Option<EvidenceWeights>,
    permille: Option<u16>,
) -> Option<(f64, f64)> {
    if let Some(EvidenceWeights { good_milli, bad_milli }) = evidence {
        let (good, bad) = (f64::from(good_milli) / 1_000.0, f64::from(bad_milli) / 1_000.0);
        return (good + bad > 0.0).then(|| (good / (good + bad), good + bad));
    }
    let receipts = said.receipts as f64;
    let known = receipts / (receipts + RECEIPTS_HALF);
    permille.map(|value| (f64::from(value) / 1_000.0, OPINION_WEIGHT_MAX * known))
}

/// The weighted median of (value, weight), the lower one between two, as evidence.
fn settle(mut words: Vec<(f64, f64)>) -> Pseudo {
    words.retain(|(_, weight)| *weight > 0.0);
    words.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let sum: f64 = words.iter().map(|(_, weight)| weight).sum();
    let mut reached = 0.0;
    let median = words.iter().find(|(_, weight)| {
        reached += weight;
        reached * 2.0 >= sum
    });
    let Some((value, _)) = median else { return Pseudo::default() };
    let weight = OPINION_WEIGHT_MAX * sum.min(1.0);
    Pseudo { good: weight * value, bad: weight * (1.0 - value) }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
