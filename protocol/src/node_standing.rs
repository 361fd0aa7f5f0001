//! Kind 31439: what one router tells one node about the decisions it was part of. Sealed to the node.
//!
//! It answers "why does no work come": what was filtered and by which code, where the price and the speed stand in the
//! fleet, by which relays the node was heard. Addressable, so that an operator who asks later still finds the newest
//! one, and a relay keeps one a router and node. Sealed to the node's *identity* key: inbox keys rotate and die with
//! the process, and a standing has to be readable after a restart. It is a router's claim, and names no client.

use std::collections::BTreeMap;

use nostr::PublicKey;
use serde::{Deserialize, Serialize};

use crate::entropy::Entropy;
use crate::event_kinds;
use crate::limits::{
    ANNOUNCED_URLS_MAX, NAME_BYTES_MAX, STANDING_CODES_MAX, STANDING_OFFERS_MAX, URL_BYTES_MAX,
};
use crate::message::{Draft, Message, ParseError, Received, body_json, is_name, tag};
use crate::msat::Tokens;
use crate::sealed_session::Conversation;
use crate::signing_key::SigningKey;
use crate::trust_assertion::TrustDimensions;
use crate::unix_time::UnixSeconds;
use crate::verified_event::VerifiedEvent;

/// Where one value stands among all live offers of the model. The unit is that of the field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetRank {
    /// 1 is the best; equal values share a place.
    pub place: u32,
    /// Offers compared.
    pub of: u32,
    /// This offer's value.
    pub own: u64,
    /// The fleet's median.
    pub median: u64,
    /// The best value.
    pub best: u64,
    /// False when the router never measured it here and assumes the fleet's median.
    pub is_measured: bool,
}

/// State of the router's breaker for one node and model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerWord {
    /// Jobs pass.
    #[default]
    Closed,
    /// Nothing is sent: it kept failing.
    Open,
    /// One job at a time is tried.
    HalfOpen,
    /// A word that this version does not know.
    #[serde(other)]
    Unknown,
}

/// The job that values are compared by: the median of what was asked for lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsualJob {
    /// Prompt tokens.
    pub prompt_tokens: Tokens,
    /// Output tokens.
    pub max_output_tokens: Tokens,
}

/// One offer of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferStanding {
    /// Slug of the offer, which names it among the node's own.
    pub slug: String,
    /// Model.
    pub model: String,
    /// Decisions in which it was a candidate.
    pub decisions: u32,
    /// Decisions in which every candidate was looked at for this account; the next three are counted in these.
    pub looked_at: u32,
    /// How often it was not eligible, by filter code.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub filtered: BTreeMap<String, u32>,
    /// Eligible, but not drawn.
    pub not_drawn: u32,
    /// Drawn, but the other one of the two was better.
    pub lost_pair: u32,
    /// Chosen.
    pub chosen: u32,
    /// Named as a further fallback.
    pub fallback: u32,
    /// Filter code that the usual job would meet now; none when it would be eligible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
    /// The usual job.
    pub usual: UsualJob,
    /// Most that the usual job costs, in msat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<FleetRank>,
    /// Time to first token of the usual job on an idle node, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token: Option<FleetRank>,
    /// Time per output token, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_token: Option<FleetRank>,
    /// The breaker.
    #[serde(default)]
    pub breaker: BreakerWord,
    /// When an open breaker lets a job through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker_until: Option<UnixSeconds>,
    /// Jobs at once that the node took before it said busy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned_cap: Option<u32>,
    /// Jobs of this router under way.
    pub in_flight: u32,
    /// The last load ping that counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_ping_at: Option<UnixSeconds>,
}

/// When the node was heard last on one of the router's relays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeardOn {
    /// The relay.
    pub relay: String,
    /// Last load ping; none when none came by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_ping: Option<UnixSeconds>,
    /// Last descriptor or offer; none when none came by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<UnixSeconds>,
}

/// What a router tells a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStanding {
    /// The node.
    pub node: PublicKey,
    /// Counts begin here.
    pub since: UnixSeconds,
    /// Counts end here; every age is relative to it.
    pub at: UnixSeconds,
    /// End of the node's lease, as the router knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<UnixSeconds>,
    /// Lower bound of trust, in thousandths: the worst dimension.
    pub trust_permille: u16,
    /// What is behind it.
    pub dimensions: TrustDimensions,
    /// Acknowledged receipts behind it.
    pub receipts: u64,
    /// The router's relays, and when the node was heard on each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heard: Vec<HeardOn>,
    /// The offers about which something was decided, most decisions first.
    pub offers: Vec<OfferStanding>,
    /// Not worth reading after this.
    pub expires_at: UnixSeconds,
}

impl NodeStanding {
    /// Writes it for its node alone.
    pub fn seal(
        &self,
        router: &SigningKey,
        now: UnixSeconds,
        entropy: &mut impl Entropy,
    ) -> Result<VerifiedEvent, ParseError> {
        self.check()?;
        let sealed = Conversation::derive(router, &self.node)
            .and_then(|conversation| conversation.seal(&body_json(self).unwrap_or_default(), entropy));
        let tags = self.tags(&router.public_key());
        let content = sealed.map_err(|_| ParseError::Sealed)?;
        Ok(router.sign(Draft::new(Self::KIND, tags, content, now), entropy))
    }

    /// Reads one that is addressed to the holder of `identity`.
    pub fn open(event: &VerifiedEvent, identity: &SigningKey) -> Result<Received<Self>, ParseError> {
        if event.kind() != Self::KIND {
            return Err(ParseError::WrongKind(event.kind()));
        }
        if event.tag("p") != Some(&identity.public_key().to_hex()) {
            return Err(ParseError::WrongAudience);
        }
        let opened = Conversation::derive(identity, &event.author())
            .and_then(|conversation| conversation.open(event.content()));
        Self::parse_body(event, &opened.map_err(|_| ParseError::Sealed)?)
    }
}

impl Message for NodeStanding {
    const KIND: u16 = event_kinds::NODE_STANDING;

    fn tags(&self, _author: &PublicKey) -> Vec<Vec<String>> {
        vec![
            tag("d", self.node.to_hex()),
            tag("p", self.node.to_hex()),
            tag("expiration", self.expires_at.to_string()),
        ]
    }

    fn check(&self) -> Result<(), ParseError> {
        if self.offers.len() > STANDING_OFFERS_MAX || self.heard.len() > ANNOUNCED_URLS_MAX {
            return Err(ParseError::Limit("list in standing"));
        }
        let is_word = |text: &String| is_name(text, NAME_BYTES_MAX);
        let fits = |offer: &OfferStanding| {
            is_word(&offer.slug)
                && is_word(&offer.model)
                && offer.now.as_ref().is_none_or(is_word)
                && offer.filtered.len() <= STANDING_CODES_MAX
                && offer.filtered.keys().all(is_word)
        };
        if !self.offers.iter().all(fits) || self.heard.iter().any(|on| !is_name(&on.relay, URL_BYTES_MAX)) {
            return Err(ParseError::Limit("text in standing"));
        }
        if self.trust_permille > 1_000 || self.since > self.at {
            return Err(ParseError::Limit("field of standing"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::CountingEntropy;

    const AT: UnixSeconds = UnixSeconds(1_800_000_000);

    fn standing(node: PublicKey, offers: usize, codes: usize) -> NodeStanding {
        let filtered: BTreeMap<String, u32> =
            (0..codes).map(|n| (format!("a_code_of_some_length_{n}"), 9)).collect();
        let rank = Some(FleetRank {
            place: 9_999,
            of: 10_000,
            own: u64::MAX,
            median: u64::MAX,
            best: 1,
            is_measured: true,
        });
        let offer = |n: usize| OfferStanding {
            slug: format!("{n}-{}", "s".repeat(NAME_BYTES_MAX - 4)),
            model: "m".repeat(NAME_BYTES_MAX),
            filtered: filtered.clone(),
            price: rank,
            first_token: rank,
            per_token: rank,
            ..OfferStanding::default()
        };
        let heard = HeardOn { relay: "wss://relay.example".into(), load_ping: Some(AT), descriptor: None };
        NodeStanding {
            node,
            since: AT.minus(60),
            at: AT,
            lease_until: Some(AT.plus(900)),
            trust_permille: 1_000,
            dimensions: TrustDimensions::default(),
            receipts: 1,
            heard: vec![heard; ANNOUNCED_URLS_MAX],
            offers: (0..offers).map(offer).collect(),
            expires_at: AT.plus(3_600),
        }
    }

    #[test]
    fn only_its_node_reads_it_and_the_largest_one_fits_an_event() {
        let mut entropy = CountingEntropy(7);
        let [router, node, other] = core::array::from_fn(|_| SigningKey::generate(&mut entropy));
        let largest = standing(node.public_key(), STANDING_OFFERS_MAX, STANDING_CODES_MAX);
        let event = largest.seal(&router, AT, &mut entropy).unwrap();
        let read = NodeStanding::open(&event, &node).unwrap();
        assert_eq!((read.message, read.author), (largest, router.public_key()));
        assert_eq!(NodeStanding::open(&event, &other), Err(ParseError::WrongAudience));
        assert!(!event.to_json().contains("relay.example"));
    }

    #[test]
    fn one_offer_or_one_code_more_is_refused() {
        let mut entropy = CountingEntropy(7);
        let [router, node] = core::array::from_fn(|_| SigningKey::generate(&mut entropy));
        for (offers, codes) in [(STANDING_OFFERS_MAX + 1, 0), (1, STANDING_CODES_MAX + 1)] {
            let refused = standing(node.public_key(), offers, codes).seal(&router, AT, &mut entropy);
            assert!(matches!(refused, Err(ParseError::Limit(_))), "{offers} offers, {codes} codes");
        }
    }

    #[test]
    fn a_standing_of_another_node_sealed_to_us_is_refused() {
        let mut entropy = CountingEntropy(7);
        let [router, node, other] = core::array::from_fn(|_| SigningKey::generate(&mut entropy));
        let lie = standing(other.public_key(), 1, 0);
        let conversation = Conversation::derive(&router, &node.public_key()).unwrap();
        let content = conversation.seal(&body_json(&lie).unwrap(), &mut entropy).unwrap();
        let tags = standing(node.public_key(), 1, 0).tags(&router.public_key());
        let draft = Draft::new(NodeStanding::KIND, tags, content, AT);
        let event = router.sign(draft, &mut entropy);
        assert!(matches!(NodeStanding::open(&event, &node), Err(ParseError::TagMismatch(_))));
    }
}
