//! NIP-44 v2 under a cached conversation key, with the checks that the library's outer function makes.
//!
//! Deriving the key costs about 45 µs, sealing under it 2 µs: one derivation serves a whole session. Callers verify the
//! outer event's signature before they open anything, so a stranger without a valid signature never reaches the MAC.

use nostr::PublicKey;
use nostr::nips::nip44::v2::{ConversationKey, decrypt_to_bytes, encrypt_to_bytes_with_rng};
use nostr::secp256k1::rand::{CryptoRng, Error as RandError, RngCore};

use crate::crypto_counts::{CryptoStep, note};
use crate::entropy::Entropy;
use crate::limits::SEALED_PLAINTEXT_BYTES_MAX;
use crate::signing_key::SigningKey;

/// Key shared by two parties.
#[derive(Clone)]
pub struct Conversation {
    key: ConversationKey,
}

/// Why something could not be sealed or opened. Says nothing about the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The other key is not a point on the curve.
    #[error("public key is invalid")]
    Key,
    /// Plaintext is empty or above the limit.
    #[error("plaintext is empty or larger than {0} bytes")]
    Size(usize),
    /// Not base64, wrong version, wrong length, wrong MAC or bad padding.
    #[error("sealed content does not open")]
    Open,
}

impl Conversation {
    /// Derives the key between our secret and their public key.
    pub fn derive(ours: &SigningKey, theirs: &PublicKey) -> Result<Self, SealError> {
        note(CryptoStep::Agree);
        ConversationKey::derive(ours.secret_key(), theirs).map(|key| Self { key }).map_err(|_| SealError::Key)
    }

    /// The key itself, where it is known already (official test vectors, a stored session).
    #[must_use]
    pub fn from_bytes(key: [u8; 32]) -> Self {
        Self { key: ConversationKey::new(key) }
    }

    /// Seals a text of at most [`SEALED_PLAINTEXT_BYTES_MAX`] bytes.
    pub fn seal(&self, plaintext: &str, entropy: &mut impl Entropy) -> Result<String, SealError> {
        self.seal_bounded(plaintext, entropy, SEALED_PLAINTEXT_BYTES_MAX)
    }

    /// As [`Conversation::seal`] with another bound: the outer layer of a wrap carries an already sealed inner one.
    pub(crate) fn seal_bounded(
        &self,
        plaintext: &str,
        entropy: &mut impl Entropy,
        bytes_max: usize,
    ) -> Result<String, SealError> {
        if plaintext.is_empty() || plaintext.len() > bytes_max {
            return Err(SealError::Size(bytes_max));
        }
        note(CryptoStep::Seal);
        let mut rng = EntropyRng(entropy);
        #[expect(clippy::disallowed_methods, reason = "this is the checking wrapper")]
        let raw = encrypt_to_bytes_with_rng(&mut rng, &self.key, plaintext.as_bytes())
            .map_err(|_| SealError::Open)?;
        Ok(base64_encode(&raw))
    }

    /// Opens a sealed text.
    pub fn open(&self, sealed: &str) -> Result<String, SealError> {
        // The version byte of NIP-44 v2 encodes to a leading 'A'; '#' announces a future encoding.
        if !sealed.starts_with('A') {
            return Err(SealError::Open);
        }
        note(CryptoStep::Open);
        let raw = base64_decode(sealed).ok_or(SealError::Open)?;
        if raw.first() != Some(&2) {
            return Err(SealError::Open);
        }
        #[expect(clippy::disallowed_methods, reason = "this is the checking wrapper")]
        let plain = decrypt_to_bytes(&self.key, &raw).map_err(|_| SealError::Open)?;
        String::from_utf8(plain).map_err(|_| SealError::Open)
    }
}

/// Standard base64 with padding.
#[must_use]
pub fn base64_encode(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Reads standard base64 with padding.
#[must_use]
pub fn base64_decode(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// Our entropy in the shape that the Nostr library asks for.
struct EntropyRng<'a, E: Entropy>(&'a mut E);

impl<E: Entropy> RngCore for EntropyRng<'_, E> {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        self.0.fill(dest);
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), RandError> {
        self.0.fill(dest);
        Ok(())
    }
}

impl<E: Entropy> CryptoRng for EntropyRng<'_, E> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::CountingEntropy;

    #[test]
    fn both_sides_open_what_the_other_sealed_and_nobody_else_does() {
        let mut entropy = CountingEntropy(1);
        let [a, b, c] = core::array::from_fn(|_| SigningKey::generate(&mut entropy));
        let ab = Conversation::derive(&a, &b.public_key()).unwrap();
        let ba = Conversation::derive(&b, &a.public_key()).unwrap();
        let ca = Conversation::derive(&c, &a.public_key()).unwrap();
        let sealed = ab.seal("a prompt", &mut entropy).unwrap();
        assert_eq!(ba.open(&sealed).unwrap(), "a prompt");
        assert_eq!(ca.open(&sealed), Err(SealError::Open));
    }

    #[test]
    fn the_limit_is_sealed_and_fits_a_strict_relay_and_one_byte_more_is_refused() {
        let mut entropy = CountingEntropy(1);
        let [a, b] = core::array::from_fn(|_| SigningKey::generate(&mut entropy));
        let ab = Conversation::derive(&a, &b.public_key()).unwrap();
        let sealed = ab.seal(&"x".repeat(SEALED_PLAINTEXT_BYTES_MAX), &mut entropy).unwrap();
        assert!(sealed.len() + 400 < crate::limits::EVENT_BYTES_MAX);
        assert!(ab.seal(&"x".repeat(SEALED_PLAINTEXT_BYTES_MAX + 1), &mut entropy).is_err());
        assert!(ab.seal("", &mut entropy).is_err());
    }

    #[test]
    fn altered_or_foreign_payloads_do_not_open() {
        let mut entropy = CountingEntropy(1);
        let [a, b] = core::array::from_fn(|_| SigningKey::generate(&mut entropy));
        let ab = Conversation::derive(&a, &b.public_key()).unwrap();
        let sealed = ab.seal("a prompt", &mut entropy).unwrap();
        for (at, byte) in sealed.char_indices().step_by(7) {
            let other = if byte == 'B' { 'C' } else { 'B' };
            let mut altered = sealed.clone();
            altered.replace_range(at..=at, &other.to_string());
            assert_eq!(ab.open(&altered), Err(SealError::Open), "at {at}");
        }
        for text in ["", "#x", "AAAA", "A", "not base64 at all"] {
            assert_eq!(ab.open(text), Err(SealError::Open));
        }
    }
}
