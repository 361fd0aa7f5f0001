//! Kind 1434: what a node says it delivered, signed by its identity key.
//!
//! Receipts of one node form a hash chain (`prev`, `seq`), so omissions and forks show. The request and the output are
//! bound by a commitment with a nonce, never by a bare hash, which could be guessed. The public part names the client
//! only by its throwaway session key.

use nostr::{EventId, PublicKey};
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::domain_separation::{self, digest};
use crate::event_kinds;
use crate::job_open::JobId;
use crate::limits::{NAME_BYTES_MAX, RECEIPT_EVENT_BYTES_MAX};
use crate::message::{Message, ParseError, Received, is_name, tag};
use crate::msat::Msat;
use crate::payment_offer::{Balance, PaymentMethod};
use crate::usage::Usage;
use crate::verified_event::VerifiedEvent;

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The model finished.
    Complete,
    /// Broken off after output had flowed.
    #[serde(other)]
    Partial,
}

/// The payment side of a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptPayment {
    /// Method.
    pub method: PaymentMethod,
    /// Owed and paid over the whole ticket so far.
    pub cumulative: Balance,
    /// Identifiers of tickets taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tickets: Vec<String>,
    /// Co-signatures that free tickets not used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub released: Vec<String>,
}

/// A metering receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Job.
    pub job: JobId,
    /// Ticket that the job was done under.
    pub dispatch: EventId,
    /// Author of the ticket.
    pub router: PublicKey,
    /// Session key of the client in this job.
    pub client: PublicKey,
    /// Offer that the price comes from.
    pub offer: EventId,
    /// Address of that offer.
    pub offer_address: Address,
    /// Model.
    pub model: String,
    /// Digest of the weights as the offer declares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_digest: Option<String>,
    /// What was counted.
    pub usage: Usage,
    /// From job open to the first token, in milliseconds.
    pub ttft_ms: u64,
    /// From job open to the end, in milliseconds.
    pub wall_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Amount owed for this job.
    pub amount: Msat,
    /// Payment.
    pub payment: ReceiptPayment,
    /// Commitment to request and output (hex).
    pub commitment: String,
    /// SHA-256 over the output (hex) is committed to, not shown; this is the number of output frames.
    pub frames: u64,
    /// Number of this receipt in the node's chain, from 0.
    pub seq: u64,
    /// Event id of the node's previous receipt; zeros for the first.
    pub prev: EventId,
}

/// The commitment of a receipt: only who knows nonce, request and output can make or check it.
#[must_use]
pub fn commitment(nonce_hex: &str, request_hash_hex: &str, output_sha256_hex: &str) -> String {
    let parts: [&[u8]; 3] = [nonce_hex.as_bytes(), request_hash_hex.as_bytes(), output_sha256_hex.as_bytes()];
    hex::encode(digest(domain_separation::RECEIPT_COMMITMENT, &parts))
}

impl Message for Receipt {
    const KIND: u16 = event_kinds::RECEIPT;

    #[cfg(feature = "simulation")]
    fn simulated_salt(&self) -> u64 {
        crate::simulated::fold(self.job.as_bytes()) ^ self.seq
    }

    /// Bounded in size before anything else: unknown fields and tags are ignored, so they must not be a way to make a
    /// receipt that nobody can acknowledge or keep.
    fn parse(event: &VerifiedEvent) -> Result<Received<Self>, ParseError> {
        #[cfg(feature = "simulation")]
        if let Some(receipt) = event.typed() {
            return Ok(receipt);
        }
        if event.to_json().len() > RECEIPT_EVENT_BYTES_MAX {
            return Err(ParseError::Limit("receipt"));
        }
        Self::parse_body(event, event.content())
    }

    fn tags(&self, _author: &PublicKey) -> Vec<Vec<String>> {
        let usage = &self.usage;
        vec![
            tag("a", self.offer_address.to_string()),
            tag("p", self.client.to_hex()),
            tag("m", &self.model),
            tag("x", &self.commitment),
            tag("prev", self.prev.to_hex()),
            vec!["usage".into(), usage.input_tokens.get().to_string(), usage.output_tokens.get().to_string()],
            vec!["amount".into(), self.amount.get().to_string(), "msat".into()],
            tag(
                "alt",
                format!("Metering receipt: {}, {} output tokens", self.model, usage.output_tokens.get()),
            ),
        ]
    }

    fn check(&self) -> Result<(), ParseError> {
        if !is_name(&self.model, NAME_BYTES_MAX) || self.commitment.len() != 64 {
            return Err(ParseError::Limit("field of receipt"));
        }
        let strings = || self.payment.tickets.iter().chain(&self.payment.released);
        if strings().count() > 256 || strings().any(|text| !is_name(text, 64)) {
            return Err(ParseError::Limit("tickets in receipt"));
        }
        if self.seq == 0 && self.prev != EventId::all_zeros() {
            return Err(ParseError::Malformed("the first receipt has a predecessor".into()));
        }
        Ok(())
    }
}
