//! Kind 31435: one model at one node, its price and its limits.
//!
//! One event per model, because in one event `#m` and `#b` match independently: a multi-model advertisement would match
//! "llama" and "cheap" although the cheap one is another model.

use nostr::PublicKey;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::event_kinds;
use crate::limits::NAME_BYTES_MAX;
use crate::message::{BodyPlace, Message, ParseError, is_name, tag};
use crate::msat::Tokens;
use crate::payment_offer::PaymentMethod;
use crate::price::Price;

/// A model, a price and the limits of both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelOffer {
    /// Unique per node key (`d`).
    pub slug: String,
    /// Name of the node (`d` of its descriptor).
    pub node: String,
    /// Model name (`m`), lowercase, as clients ask for it.
    pub model: String,
    /// Quantization or number format (`f`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<String>,
    /// Digest of the weights as the node declares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Digest of the tokenizer as the node declares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// Price.
    pub price: Price,
    /// Context window.
    pub context_tokens: Tokens,
    /// Most output tokens of one job.
    pub max_output_tokens: Tokens,
    /// Jobs that run at once.
    pub slots: u32,
    /// Decode speed that the node claims, tokens a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<u32>,
    /// What it takes and gives: `text`, `image`, `embedding`.
    pub modalities: Vec<String>,
    /// What the runner can do: `tools`, `json`, `logprobs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// Payment methods taken for this model.
    pub payment: Vec<PaymentMethod>,
}

impl ModelOffer {
    /// The address of this offer.
    #[must_use]
    pub fn address(&self, author: &PublicKey) -> Address {
        Address { kind: event_kinds::MODEL_OFFER, author: *author, identifier: self.slug.clone() }
    }

    /// The address of the descriptor that this offer lives and dies with.
    #[must_use]
    pub fn descriptor_address(&self, author: &PublicKey) -> Address {
        Address { kind: event_kinds::NODE_DESCRIPTOR, author: *author, identifier: self.node.clone() }
    }
}

impl Message for ModelOffer {
    const KIND: u16 = event_kinds::MODEL_OFFER;
    const PLACE: BodyPlace = BodyPlace::SpecTag;

    fn tags(&self, author: &PublicKey) -> Vec<Vec<String>> {
        let mut tags = vec![
            tag("d", &self.slug),
            tag("a", self.descriptor_address(author).to_string()),
            tag("m", &self.model),
            tag("t", "inference"),
        ];
        tags.extend(self.modalities.iter().map(|modality| tag("t", modality)));
        if let Some(quantization) = &self.quantization {
            tags.push(tag("f", quantization));
        }
        tags.extend(self.price.ladder_tags());
        tags.extend(self.price.tags());
        tags.push(tag("ctx", self.context_tokens.get().to_string()));
        if let Some(speed) = self.tokens_per_second {
            tags.push(tag("tps", speed.to_string()));
        }
        let mut pay = vec!["pay".to_owned()];
        pay.extend(self.payment.iter().map(|method| method.as_str().to_owned()));
        tags.push(pay);
        let cost = self.price.output.get();
        tags.push(tag("alt", format!("AI model offer: {}, {cost} msat per 1M output tokens", self.model)));
        tags
    }

    fn check(&self) -> Result<(), ParseError> {
        let optional = [&self.quantization, &self.digest, &self.tokenizer];
        let named = [&self.slug, &self.node, &self.model].into_iter().chain(optional.into_iter().flatten());
        if named.into_iter().any(|text| !is_name(text, NAME_BYTES_MAX)) {
            return Err(ParseError::Limit("name in offer"));
        }
        if self.model.chars().any(char::is_uppercase) {
            return Err(ParseError::Malformed("model name must be lowercase".into()));
        }
        let words = self.modalities.iter().chain(&self.features);
        if self.modalities.is_empty()
            || self.modalities.len() + self.features.len() > 16
            || words.into_iter().any(|word| !is_name(word, 32))
            || self.payment.is_empty()
            || self.payment.len() > 8
        {
            return Err(ParseError::Limit("list in offer"));
        }
        if self.slots == 0 || self.context_tokens.get() == 0 || self.max_output_tokens.get() == 0 {
            return Err(ParseError::Limit("capacity in offer"));
        }
        let free = self.payment == [PaymentMethod::Free];
        if free && !self.price.is_free() {
            return Err(ParseError::Malformed("a free offer has a price".into()));
        }
        Ok(())
    }

    fn summary(&self) -> String {
        let format = self.quantization.as_deref().map(|q| format!(" {q}")).unwrap_or_default();
        let price = if self.price.is_free() {
            "Free.".to_owned()
        } else {
            format!("{} in, {} out.", self.price.input, self.price.output)
        };
        format!(
            "**{}**{format}, {} tokens of context, {} at once. {price}",
            self.model,
            self.context_tokens.get(),
            self.slots
        )
    }
}
