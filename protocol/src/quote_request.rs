//! Kind 21435: the shape of a job, without a word of its prompt.
//!
//! Written by a fresh session key. Addressed to one router (`p`), the body is sealed with NIP-44 to the
//! router's session key; open to all routers, it is plain. Sizes are in buckets, so that a request does not
//! fingerprint its prompt.

use nostr::PublicKey;
use serde::{Deserialize, Serialize};

use crate::event_kinds;
use crate::limits::{DISPATCH_USES_MAX, NAME_BYTES_MAX};
use crate::message::{Message, ParseError, is_name, tag};
use crate::msat::{Msat, Tokens};
use crate::payment_offer::PaymentMethod;
use crate::unix_time::UnixSeconds;

/// What is wanted of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelWanted {
    /// Model name; any model when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Quantizations taken; any when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantizations: Vec<String>,
    /// Modalities needed; `text` is implied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modalities: Vec<String>,
    /// Runner features needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// Smallest context window taken, beyond what prompt and output need.
    #[serde(default)]
    pub min_context: Tokens,
}

/// What the client values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Price before time.
    Cheapest,
    /// Time before price, below the ceiling.
    Fastest,
    /// Both, at the usual value of time.
    #[default]
    Balanced,
    /// Only nodes with a record.
    Trusted,
}

impl core::str::FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        serde_json::from_value(serde_json::Value::String(text.to_owned()))
            .map_err(|_| format!("unknown mode {text:?}: one of cheapest, fastest, balanced, trusted"))
    }
}

/// Hard conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraints {
    /// Regions taken; any when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
    /// Only these nodes; any when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only_nodes: Vec<PublicKey>,
    /// Never these nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_nodes: Vec<PublicKey>,
    /// Payment methods that the client can use, most preferred first.
    pub payment: Vec<PaymentMethod>,
}

/// A request for a quote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuoteRequest {
    /// Router asked; every router when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<PublicKey>,
    /// The model.
    pub wanted: ModelWanted,
    /// Prompt size, rounded up to a bucket.
    pub prompt_tokens: Tokens,
    /// Output limit, rounded up to a bucket.
    pub max_output_tokens: Tokens,
    /// Most that one job may cost, router fee included; no ceiling when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<Msat>,
    /// What the client values.
    #[serde(default)]
    pub mode: Mode,
    /// Hard conditions.
    pub constraints: Constraints,
    /// Jobs that the ticket should cover.
    pub uses: u16,
    /// True when the dispatch should come together with the quote.
    pub accept_auto: bool,
    /// Node that served the previous turn: its prefix cache is warm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_node: Option<PublicKey>,
    /// The request is worthless after this.
    pub expires_at: UnixSeconds,
}

impl QuoteRequest {
    fn lists_fit(&self) -> bool {
        let wanted = &self.wanted;
        let words = [&wanted.quantizations, &wanted.modalities, &wanted.features, &self.constraints.regions];
        words.iter().all(|list| list.len() <= 16 && list.iter().all(|word| is_name(word, 64)))
            && self.constraints.only_nodes.len() <= 64
            && self.constraints.not_nodes.len() <= 256
            && self.constraints.payment.len() <= 8
    }
}

impl Message for QuoteRequest {
    const KIND: u16 = event_kinds::QUOTE_REQUEST;

    fn tags(&self, _author: &PublicKey) -> Vec<Vec<String>> {
        let mut tags = vec![tag("expiration", self.expires_at.to_string())];
        if let Some(router) = &self.router {
            // Sealed: nothing but the audience shows.
            tags.push(tag("p", router.to_hex()));
        } else {
            if let Some(model) = &self.wanted.model {
                tags.push(tag("m", model));
            }
            if let Some(cost) = self.max_cost {
                tags.push(vec!["max".into(), cost.get().to_string(), "msat".into()]);
            }
        }
        tags
    }

    fn check(&self) -> Result<(), ParseError> {
        if self.wanted.model.as_ref().is_some_and(|model| !is_name(model, NAME_BYTES_MAX)) {
            return Err(ParseError::Limit("model name"));
        }
        if !self.lists_fit() {
            return Err(ParseError::Limit("list in quote request"));
        }
        if self.uses == 0 || self.uses > DISPATCH_USES_MAX {
            return Err(ParseError::Limit("uses"));
        }
        if self.max_output_tokens.get() == 0 {
            return Err(ParseError::Limit("max_output_tokens"));
        }
        Ok(())
    }
}

/// Rounds a token count up to its bucket: from 256, four to each doubling. Coarse enough to tell little of a prompt,
/// fine enough that a model's context is not half wasted.
#[must_use]
pub fn token_bucket(tokens: Tokens) -> Tokens {
    let tokens = tokens.get().max(256);
    let step = tokens.next_power_of_two() / 8;
    Tokens::saturating(tokens.next_multiple_of(step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_to_four_steps_a_doubling() {
        let bucket = |tokens| token_bucket(Tokens::saturating(tokens)).get();
        assert_eq!(
            [0, 256, 257, 320, 321, 1_100, 2_048, 2_049].map(bucket),
            [256, 256, 320, 320, 384, 1_280, 2_048, 2_560]
        );
        assert_eq!(token_bucket(Tokens::MAX), Tokens::MAX);
        for tokens in (256..20_000).step_by(7) {
            assert!((tokens..tokens + tokens / 4).contains(&bucket(tokens)), "{tokens}");
        }
    }

    #[test]
    fn modes_are_read_by_name() {
        assert_eq!("fastest".parse(), Ok(Mode::Fastest));
        assert!("quick".parse::<Mode>().is_err());
    }
}
