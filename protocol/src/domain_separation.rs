//! One constant for everything that is hashed or signed outside an event id, so that a digest made for one purpose is
//! worthless for every other. Each carries a version.

use sha2::{Digest, Sha256};

/// The node's identity vouching for a session key: (job, Sn, Sc).
pub const SESSION_ACCEPT: &str = "fed_ai/session-accept/v1";
/// A ticket key vouching for an acknowledgement: (receipt, Sc).
pub const TICKET_PROOF: &str = "fed_ai/ticket-proof/v1";
/// Commitment of a receipt to what was asked and answered.
pub const RECEIPT_COMMITMENT: &str = "fed_ai/receipt-commitment/v1";
/// Link between lines of a receipts file.
pub const RECEIPTS_FILE: &str = "fed_ai/receipts-file/v1";
/// Digest of a decision record.
pub const DECISION_RECORD: &str = "fed_ai/decision-record/v1";
/// Root over the receipts of a usage summary.
pub const USAGE_ROOT: &str = "fed_ai/usage-root/v1";
/// Link between frames of the journal.
pub const JOURNAL: &str = "fed_ai/journal/v1";
/// Hash of a request body.
pub const REQUEST: &str = "fed_ai/request/v1";

/// SHA-256 over a domain and length-prefixed parts: no two different lists of parts give the same input.
#[must_use]
pub fn digest(domain: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update((domain.len() as u64).to_be_bytes());
    hasher.update(domain.as_bytes());
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_byte_between_parts_changes_the_digest() {
        assert_ne!(digest(REQUEST, &[b"ab", b"c"]), digest(REQUEST, &[b"a", b"bc"]));
        assert_ne!(digest(REQUEST, &[b"a"]), digest(JOURNAL, &[b"a"]));
        assert_ne!(digest(REQUEST, &[]), digest(REQUEST, &[b""]));
    }
}
