//! Proof that a word on a receipt comes from the client that a ticket was made for.
//!
//! A receipt names the session key *Sc* of its job, and only the node says that this key belongs to the ticket. The
//! ticket key *T* signs (receipt, *Sc*), and so nobody but the ticket's client can vouch for an acknowledgement.
//! *T* is the public author of quote requests, and a bare signature would let anybody who tries every *T* link it to
//! *Sc*: the signature and *T* travel sealed from *Sc* to the router's session key. The router that made the ticket
//! knows both keys already; others see bytes of one length.

use nostr::{EventId, PublicKey};
use serde::{Deserialize, Serialize};

use crate::domain_separation::{TICKET_PROOF, digest};
use crate::entropy::Entropy;
use crate::sealed_session::{Conversation, SealError};
use crate::signing_key::{SigningKey, verify_digest};

/// What is inside the seal.
#[derive(Serialize, Deserialize)]
struct TicketSignature {
    ticket: PublicKey,
    sig: String,
}

/// Signs as the ticket's client and seals for the router's session key. `session` is the key that the receipt names.
pub fn seal(
    ticket: &SigningKey,
    session: &SigningKey,
    router_session: &PublicKey,
    receipt: &EventId,
    entropy: &mut impl Entropy,
) -> Result<String, SealError> {
    let sig = ticket.sign_digest(signed(receipt, &session.public_key()), entropy).to_string();
    let proof = TicketSignature { ticket: ticket.public_key(), sig };
    let body = serde_json::to_string(&proof).map_err(|_| SealError::Key)?;
    Conversation::derive(session, router_session)?.seal(&body, entropy)
}

/// Opens a proof with the router's session key. Gives the ticket key that has signed for this receipt and session;
/// whether it is the right one is for the holder of the ticket to say.
#[must_use]
pub fn open(
    sealed: &str,
    router_session: &SigningKey,
    session: &PublicKey,
    receipt: &EventId,
) -> Option<PublicKey> {
    let body = Conversation::derive(router_session, session).ok()?.open(sealed).ok()?;
    let proof: TicketSignature = serde_json::from_str(&body).ok()?;
    verify_digest(&proof.ticket, signed(receipt, session), &proof.sig).then_some(proof.ticket)
}

fn signed(receipt: &EventId, session: &PublicKey) -> [u8; 32] {
    digest(TICKET_PROOF, &[receipt.as_bytes(), session.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::CountingEntropy;
    use crate::limits::TICKET_PROOF_BYTES_MAX;

    fn keys() -> [SigningKey; 4] {
        let mut entropy = CountingEntropy(1);
        core::array::from_fn(|_| SigningKey::generate(&mut entropy))
    }

    fn receipt(n: u8) -> EventId {
        EventId::from_byte_array([n; 32])
    }

    #[test]
    fn only_the_router_reads_it_and_only_for_this_receipt_and_session() {
        let [ticket, session, router, other] = keys();
        let sealed =
            seal(&ticket, &session, &router.public_key(), &receipt(1), &mut CountingEntropy(9)).unwrap();
        let read = |by: &SigningKey, session: &SigningKey, at: u8| {
            open(&sealed, by, &session.public_key(), &receipt(at))
        };
        assert_eq!(read(&router, &session, 1), Some(ticket.public_key()));
        assert_eq!(read(&other, &session, 1), None, "somebody else's key");
        assert_eq!(read(&router, &other, 1), None, "moved to another session");
        assert_eq!(read(&router, &session, 2), None, "moved to another receipt");
        assert_eq!(open("A", &router, &session.public_key(), &receipt(1)), None);
    }

    #[test]
    fn a_node_that_knows_both_public_keys_cannot_make_one() {
        let [ticket, session, router, node] = keys();
        // It signs with its own key and names the client's.
        let body = serde_json::to_string(&TicketSignature {
            ticket: ticket.public_key(),
            sig: node
                .sign_digest(signed(&receipt(1), &session.public_key()), &mut CountingEntropy(3))
                .to_string(),
        })
        .unwrap();
        let forged = Conversation::derive(&session, &router.public_key())
            .unwrap()
            .seal(&body, &mut CountingEntropy(4))
            .unwrap();
        assert_eq!(open(&forged, &router, &session.public_key(), &receipt(1)), None);
        // It signs with its own key and says so: read, and not the ticket's key.
        let own = seal(&node, &session, &router.public_key(), &receipt(1), &mut CountingEntropy(5)).unwrap();
        assert_eq!(
            open(&own, &router, &session.public_key(), &receipt(1)),
            Some(node.public_key()),
            "the book compares it with the ticket"
        );
    }

    #[test]
    fn every_proof_has_one_length_and_shows_neither_key() {
        let mut entropy = CountingEntropy(70);
        let router = SigningKey::generate(&mut entropy).public_key();
        let mut lengths = std::collections::BTreeSet::new();
        for n in 0..20 {
            let [ticket, session] = core::array::from_fn(|_| SigningKey::generate(&mut entropy));
            let sealed = seal(&ticket, &session, &router, &receipt(n), &mut entropy).unwrap();
            assert!(!sealed.contains(&ticket.public_key().to_hex()));
            lengths.insert(sealed.len());
        }
        assert_eq!(lengths.len(), 1);
        assert!(lengths.iter().all(|length| *length <= TICKET_PROOF_BYTES_MAX), "{lengths:?}");
    }
}
