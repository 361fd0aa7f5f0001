//! How a node takes payment, and how a job says that it pays.
//!
//! Money itself travels sealed; these are the terms and the envelope. What is unknown or missing is refused: there is
//! no mode in which payment is assumed.

use serde::{Deserialize, Serialize};

use crate::limits::{ANNOUNCED_URLS_MAX, URL_BYTES_MAX};
use crate::message::{ParseError, is_name, tag};
use crate::msat::Msat;

/// A way to pay. Unknown words read as [`PaymentMethod::Unknown`], which is never acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentMethod {
    /// Nothing is owed.
    Free,
    /// Cashu proofs locked to the node's payment key, one at a time.
    Ticket,
    /// Locked proofs whose hashlocks are links of one hash chain.
    Book,
    /// A bearer token.
    Bearer,
    /// Up to a limit, where the operator trusts the key.
    Credit,
    /// A method that this version does not know.
    #[serde(other)]
    Unknown,
}

impl PaymentMethod {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Ticket => "ticket",
            Self::Book => "book",
            Self::Bearer => "bearer",
            Self::Credit => "credit",
            Self::Unknown => "unknown",
        }
    }
}

/// One mint that is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintTerms {
    /// URL of the mint.
    pub url: String,
    /// Unit, as the mint names it.
    pub unit: String,
    /// Input fee in parts per thousand proofs.
    #[serde(default)]
    pub fee_ppk: u64,
}

/// Public payment terms of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentTerms {
    /// Methods taken, most preferred first.
    pub methods: Vec<PaymentMethod>,
    /// Mints taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mints: Vec<MintTerms>,
    /// Key that proofs are locked to (compressed, hex); not the identity key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paykey: Option<String>,
    /// Ticket values taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ticket_values: Vec<u64>,
    /// Shortest and longest locktime taken, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_seconds: Option<(u64, u64)>,
    /// Unpaid amount up to which work goes on.
    #[serde(default)]
    pub window: Msat,
}

impl PaymentTerms {
    /// Terms of a node that takes no money.
    #[must_use]
    pub fn free() -> Self {
        Self {
            methods: vec![PaymentMethod::Free],
            mints: Vec::new(),
            paykey: None,
            ticket_values: Vec::new(),
            lock_seconds: None,
            window: Msat::ZERO,
        }
    }

    /// The public tags.
    pub(crate) fn tags(&self) -> Vec<Vec<String>> {
        let mut pay = vec!["pay".to_owned()];
        pay.extend(self.methods.iter().map(|m| m.as_str().to_owned()));
        let mut tags = vec![pay];
        for mint in &self.mints {
            tags.push(vec!["mint".into(), mint.url.clone(), mint.unit.clone(), mint.fee_ppk.to_string()]);
        }
        if let Some(key) = &self.paykey {
            tags.push(tag("paykey", key));
        }
        if !self.ticket_values.is_empty() {
            let mut ticket = vec!["ticket".to_owned()];
            ticket.extend(self.ticket_values.iter().map(u64::to_string));
            tags.push(ticket);
        }
        if let Some((shortest, longest)) = self.lock_seconds {
            tags.push(vec!["lock".into(), shortest.to_string(), longest.to_string()]);
        }
        tags.push(tag("window", self.window.get().to_string()));
        tags
    }

    pub(crate) fn check(&self) -> Result<(), ParseError> {
        if self.methods.is_empty() || self.methods.len() > 8 || self.ticket_values.len() > 16 {
            return Err(ParseError::Limit("payment methods"));
        }
        if self.mints.len() > ANNOUNCED_URLS_MAX {
            return Err(ParseError::Limit("mints"));
        }
        let fits = |mint: &MintTerms| is_name(&mint.url, URL_BYTES_MAX) && is_name(&mint.unit, 16);
        if !self.mints.iter().all(fits) {
            return Err(ParseError::Limit("mint"));
        }
        Ok(())
    }
}

/// A payment inside a sealed message: method and method-specific tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// Method.
    pub method: PaymentMethod,
    /// Tickets, preimages or bearer tokens, as the method defines them; empty for `free`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<String>,
}

impl Payment {
    /// A job that owes nothing.
    #[must_use]
    pub const fn free() -> Self {
        Self { method: PaymentMethod::Free, tokens: Vec::new() }
    }
}

/// What is owed and paid so far in a session, as the node sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// Owed in all.
    pub due: Msat,
    /// Paid in all.
    pub paid: Msat,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_method_is_read_as_unknown_and_not_as_free() {
        let payment: Payment = serde_json::from_str(r#"{"method":"iou"}"#).unwrap();
        assert_eq!(payment.method, PaymentMethod::Unknown);
    }
}
