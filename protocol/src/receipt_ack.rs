//! Kind 1435: somebody's word on a receipt: the client that got the answer, or a router.
//!
//! It embeds the receipt whole, because a node can ask relays to delete its own events.

use nostr::PublicKey;
use serde::{Deserialize, Serialize};

use crate::event_kinds;
use crate::limits::{QUOTE_NODES_MAX, TICKET_PROOF_BYTES_MAX};
use crate::message::{Message, ParseError, Received, is_name, tag};
use crate::receipt::Receipt;
use crate::verified_event::VerifiedEvent;

/// What is said of the receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckVerdict {
    /// It says what happened.
    Accepted,
    /// It does not; a stable code says why.
    Disputed(String),
}

/// A word on a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptAck {
    /// The receipt (kind 1434).
    pub receipt: VerifiedEvent,
    /// What is said of it.
    pub verdict: AckVerdict,
    /// Rating from 0 to 100, when given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rating: Option<u8>,
    /// Time to first token as the client saw it, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_ttft_ms: Option<u64>,
    /// Total time as the client saw it, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_total_ms: Option<u64>,
    /// Nodes of the ticket that said `busy` at once, so that nobody takes them for broken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turned_away: Vec<PublicKey>,
    /// For the router that made the ticket: proof that its client says this ([`crate::ticket_proof`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket_proof: Option<String>,
}

impl ReceiptAck {
    /// Reads the embedded receipt.
    pub fn read_receipt(&self) -> Result<Received<Receipt>, ParseError> {
        Receipt::parse(&self.receipt)
    }

    /// True when `author` is the client that the receipt names.
    #[must_use]
    pub fn is_by_client(&self, author: &PublicKey) -> bool {
        self.receipt.tag("p") == Some(author.to_hex().as_str())
    }
}

impl Message for ReceiptAck {
    const KIND: u16 = event_kinds::RECEIPT_ACK;

    #[cfg(feature = "simulation")]
    fn simulated_salt(&self) -> u64 {
        crate::simulated::fold(self.receipt.id().as_bytes())
    }

    fn tags(&self, _author: &PublicKey) -> Vec<Vec<String>> {
        let verdict = match &self.verdict {
            AckVerdict::Accepted => vec!["verdict".to_owned(), "accepted".to_owned()],
            AckVerdict::Disputed(code) => vec!["verdict".to_owned(), "disputed".to_owned(), code.clone()],
        };
        let mut tags = vec![
            tag("e", self.receipt.id().to_hex()),
            tag("p", self.receipt.author().to_hex()),
            tag("k", event_kinds::RECEIPT.to_string()),
            verdict,
        ];
        if let Some(rating) = self.rating {
            tags.push(tag("rating", rating.to_string()));
        }
        tags.push(tag("alt", "Word on a metering receipt"));
        tags
    }

    fn check(&self) -> Result<(), ParseError> {
        if self.receipt.kind() != event_kinds::RECEIPT {
            return Err(ParseError::WrongKind(self.receipt.kind()));
        }
        if self.rating.is_some_and(|rating| rating > 100) {
            return Err(ParseError::Limit("rating"));
        }
        if self.turned_away.len() > QUOTE_NODES_MAX {
            return Err(ParseError::Limit("nodes that turned the job away"));
        }
        if self.ticket_proof.as_ref().is_some_and(|proof| proof.len() > TICKET_PROOF_BYTES_MAX) {
            return Err(ParseError::Limit("ticket proof"));
        }
        if matches!(&self.verdict, AckVerdict::Disputed(code) if !is_name(code, 64)) {
            return Err(ParseError::Limit("dispute code"));
        }
        Ok(())
    }
}
