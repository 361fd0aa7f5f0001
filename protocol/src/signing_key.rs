//! A secret key that signs, and says nothing else about itself: no `Debug`, no `Display`, no serialisation.

use nostr::secp256k1::{Keypair, Message as Digest, XOnlyPublicKey, schnorr};
use nostr::{Event, Kind, PublicKey, SECP256K1, SecretKey, Tag, Tags, Timestamp};

use crate::crypto_counts::{CryptoStep, note};
use crate::entropy::Entropy;
use crate::event_id::event_id;
use crate::message::Draft;
use crate::verified_event::VerifiedEvent;

/// A secp256k1 secret key with its public half. Erased from memory when it is dropped.
#[derive(Clone)]
pub struct SigningKey {
    secret: SecretKey,
    pair: Keypair,
    public: PublicKey,
}

impl SigningKey {
    /// Wraps a secret key.
    #[must_use]
    pub fn new(secret: SecretKey) -> Self {
        let pair = Keypair::from_secret_key(SECP256K1, &secret);
        let (x_only, _parity) = pair.x_only_public_key();
        let public = PublicKey::from_byte_array(x_only.serialize());
        Self { secret, pair, public }
    }

    /// A fresh key from the given entropy.
    pub fn generate(entropy: &mut impl Entropy) -> Self {
        Self::new(entropy.secret_key())
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    /// The secret half, for key agreement and for storage at rest. Never for logs.
    #[must_use]
    pub fn secret_key(&self) -> &SecretKey {
        &self.secret
    }

    /// Signs a draft: one hash, one Schnorr signature (BIP-340), nothing verified twice.
    #[must_use]
    pub fn sign(&self, draft: Draft, entropy: &mut impl Entropy) -> VerifiedEvent {
        let Draft { kind, tags, content, created_at, .. } = draft;
        let tags = Tags::from_list(tags.into_iter().filter_map(|tag| Tag::parse(tag).ok()).collect());
        let created_at = Timestamp::from_secs(created_at.0);
        let kind = Kind::from(kind);
        let author = self.public_key();
        let id = event_id(&author, &created_at, &kind, &tags, &content);
        note(CryptoStep::Sign(Some(kind.as_u16())));
        let sig = self.sign_bytes(id.to_bytes(), entropy);
        VerifiedEvent::signed_here(Event::new(id, author, created_at, kind, tags.to_vec(), content, sig))
    }

    /// Signs 32 bytes that come from [`crate::domain_separation::digest`].
    #[must_use]
    pub fn sign_digest(&self, digest: [u8; 32], entropy: &mut impl Entropy) -> schnorr::Signature {
        note(CryptoStep::Sign(None));
        self.sign_bytes(digest, entropy)
    }

    fn sign_bytes(&self, digest: [u8; 32], entropy: &mut impl Entropy) -> schnorr::Signature {
        SECP256K1.sign_schnorr_with_aux_rand(&Digest::from_digest(digest), &self.pair, &entropy.bytes32())
    }
}

impl Drop for SigningKey {
    fn drop(&mut self) {
        // `SecretKey` of the Nostr library erases itself; the copy inside the pair does not.
        self.pair.non_secure_erase();
    }
}

/// Checks a signature over 32 bytes that come from [`crate::domain_separation::digest`].
#[must_use]
pub fn verify_digest(author: &PublicKey, digest: [u8; 32], signature_hex: &str) -> bool {
    note(CryptoStep::Verify(None));
    let Ok(bytes) = hex::decode(signature_hex) else { return false };
    let Ok(signature) = schnorr::Signature::from_slice(&bytes) else { return false };
    let Ok(key) = XOnlyPublicKey::from_slice(author.as_bytes()) else { return false };
    SECP256K1.verify_schnorr(&signature, &Digest::from_digest(digest), &key).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::CountingEntropy;

    #[test]
    fn a_digest_signature_holds_for_its_author_and_digest_only() {
        let mut entropy = CountingEntropy(1);
        let (one, two) = (SigningKey::generate(&mut entropy), SigningKey::generate(&mut entropy));
        let signature = one.sign_digest([7; 32], &mut entropy).to_string();
        assert!(verify_digest(&one.public_key(), [7; 32], &signature));
        assert!(!verify_digest(&two.public_key(), [7; 32], &signature));
        assert!(!verify_digest(&one.public_key(), [8; 32], &signature));
        assert!(!verify_digest(&one.public_key(), [7; 32], "zz"));
    }
}
