//! Kind 21436: a router's binding answer to a quote request, or its refusal.
//!
//! A quote carries the node-signed offers and descriptors that it rests on, whole: the client checks price and author
//! itself and needs no further round trip. What is charged later can never exceed the quote. So a router can steer, but
//! cannot change a price or invent a node.

use std::sync::Arc;

use nostr::{EventId, PublicKey};
use serde::{Deserialize, Serialize};

use crate::decision_record::DecisionRecord;
use crate::event_kinds;
use crate::limits::{QUOTE_NODES_MAX, QUOTE_PEERS_MAX, URL_BYTES_MAX};
use crate::message::{Message, ParseError, Received, is_name, tag};
use crate::model_offer::ModelOffer;
use crate::msat::{Msat, Tokens};
use crate::node_descriptor::NodeDescriptor;
use crate::refusal::Refusal;
use crate::unix_time::UnixSeconds;
use crate::verified_event::VerifiedEvent;

/// One node of a quote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotedNode {
    /// The node's signed offer (kind 31435).
    pub offer: VerifiedEvent,
    /// The node's signed descriptor (kind 31434).
    pub descriptor: VerifiedEvent,
    /// Most that one job may cost at this node, without the fee.
    pub max_cost: Msat,
    /// Time to first token that the router expects.
    pub expected_ttft_ms: u64,
    /// Total time that the router expects.
    pub expected_total_ms: u64,
    /// Longest wait for a slot with which this node is still worth as much to the client as the next one of the quote,
    /// or as it is expected to be where there is no next one; missing where the router does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience_ms: Option<u64>,
}

/// A binding offer to route a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// The chosen node first, then up to two fallbacks.
    pub nodes: Vec<QuotedNode>,
    /// Model.
    pub model: String,
    /// Prompt tokens covered.
    pub prompt_tokens: Tokens,
    /// Output tokens covered.
    pub max_output_tokens: Tokens,
    /// The router's fee for one job.
    pub fee: Msat,
    /// Most that one job can cost in all, whichever node serves it.
    pub ceiling: Msat,
    /// Digest of the decision record (hex).
    pub decision: String,
    /// The decision record, cut to the candidates that mattered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Box<DecisionRecord>>,
    /// The ticket (kind 21437), when the request asked for it at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispatch: Option<VerifiedEvent>,
    /// When nothing has come from the first node for this long, a second copy at the next one is worth its cost.
    /// Missing where a second copy is not wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge_after_ms: Option<u64>,
    /// Not binding after this.
    pub expires_at: UnixSeconds,
}

/// What a router answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuoteOutcome {
    /// A binding quote.
    Quote(Box<Quote>),
    /// No, and why.
    Refusal(Refusal),
}

/// Another router, for who is refused here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRouter {
    /// Identity key.
    pub router: PublicKey,
    /// A relay on which its profile is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<String>,
}

/// The answer to one quote request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuoteReply {
    /// The request.
    pub request: EventId,
    /// Session key that asked.
    pub client: PublicKey,
    /// The answer.
    pub outcome: QuoteOutcome,
    /// Beside a refusal for want of room: routers that this one follows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<PeerRouter>,
    /// Worthless after this.
    pub expires_at: UnixSeconds,
}

/// Why a quote is not what its signed parts say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuoteCheckError {
    /// An embedded event is not what it should be.
    #[error("embedded {what} is invalid: {source}")]
    Embedded {
        /// Which one.
        what: &'static str,
        /// Why.
        source: ParseError,
    },
    /// Offer and descriptor are by different keys, or the offer names another node.
    #[error("offer and descriptor of a quoted node do not belong together")]
    Mismatch,
    /// Another model than was quoted.
    #[error("offer is for another model")]
    Model,
    /// The quoted cost is not what the node's own price gives.
    #[error("quoted {quoted} for a node whose own offer gives {signed}")]
    Price {
        /// In the quote.
        quoted: Msat,
        /// By the signed offer.
        signed: Msat,
    },
    /// The ceiling is below a part of it.
    #[error("the ceiling is below what a quoted node and the fee can cost")]
    Ceiling,
    /// A node is not live any more.
    #[error("a quoted node's lease has ended")]
    Expired,
}

/// A quoted node after its parts were read and checked against each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedNode {
    /// Identity key.
    pub node: PublicKey,
    /// Its offer.
    pub offer: Received<Arc<ModelOffer>>,
    /// Its descriptor.
    pub descriptor: Received<Arc<NodeDescriptor>>,
    /// Most that one job may cost at this node, without the fee.
    pub max_cost: Msat,
    /// Time to first token that the router expects.
    pub expected_ttft_ms: u64,
    /// Longest wait for a slot that the client should accept there.
    pub patience_ms: Option<u64>,
}

impl Quote {
    /// Checks every node of the quote against the node's own signed words.
    pub fn check_nodes(&self, now: UnixSeconds) -> Result<Vec<CheckedNode>, QuoteCheckError> {
        self.nodes.iter().map(|quoted| self.check_node(quoted, now)).collect()
    }

    fn check_node(&self, quoted: &QuotedNode, now: UnixSeconds) -> Result<CheckedNode, QuoteCheckError> {
        let embedded = |what| move |source| QuoteCheckError::Embedded { what, source };
        let offer = ModelOffer::parse_shared(&quoted.offer).map_err(embedded("offer"))?;
        let descriptor = NodeDescriptor::parse_shared(&quoted.descriptor).map_err(embedded("descriptor"))?;
        if offer.author != descriptor.author || offer.message.node != descriptor.message.name {
            return Err(QuoteCheckError::Mismatch);
        }
        if offer.message.model != self.model {
            return Err(QuoteCheckError::Model);
        }
        if !descriptor.message.is_live(now) {
            return Err(QuoteCheckError::Expired);
        }
        let signed =
            offer.message.price.ceiling(self.prompt_tokens, self.max_output_tokens).unwrap_or(Msat::MAX);
        if signed != quoted.max_cost {
            return Err(QuoteCheckError::Price { quoted: quoted.max_cost, signed });
        }
        if quoted.max_cost.checked_add(self.fee).is_none_or(|sum| sum > self.ceiling) {
            return Err(QuoteCheckError::Ceiling);
        }
        Ok(CheckedNode {
            node: offer.author,
            offer,
            descriptor,
            max_cost: quoted.max_cost,
            expected_ttft_ms: quoted.expected_ttft_ms,
            patience_ms: quoted.patience_ms,
        })
    }
}

impl Message for QuoteReply {
    const KIND: u16 = event_kinds::QUOTE;

    fn tags(&self, _author: &PublicKey) -> Vec<Vec<String>> {
        vec![
            tag("e", self.request.to_hex()),
            tag("p", self.client.to_hex()),
            tag("expiration", self.expires_at.to_string()),
        ]
    }

    fn check(&self) -> Result<(), ParseError> {
        let is_url = |peer: &PeerRouter| peer.relay.as_ref().is_none_or(|url| is_name(url, URL_BYTES_MAX));
        if self.peers.len() > QUOTE_PEERS_MAX || !self.peers.iter().all(is_url) {
            return Err(ParseError::Limit("peers in quote reply"));
        }
        match &self.outcome {
            QuoteOutcome::Quote(quote) if quote.nodes.is_empty() || quote.nodes.len() > QUOTE_NODES_MAX => {
                Err(ParseError::Limit("nodes in quote"))
            }
            _ => Ok(()),
        }
    }
}
