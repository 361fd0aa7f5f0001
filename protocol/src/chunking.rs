//! Bulk payloads: encrypted once with XChaCha20-Poly1305 under a random key, cut into pieces, the key carried in the
//! sealed message.
//!
//! Poly1305 is not key-committing, so a SHA-256 of the ciphertext travels beside the key. A key seals one payload only,
//! which is why a fixed nonce is safe.

use chacha20poly1305::aead::Aead;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::entropy::Entropy;
use crate::limits::{BULK_CHUNK_BYTES, REQUEST_BYTES_MAX};

/// What the receiver needs to put the pieces together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkManifest {
    /// Key (hex). Lives inside sealed messages only.
    pub key: String,
    /// SHA-256 of the ciphertext (hex).
    pub sha256: String,
    /// Bytes of ciphertext.
    pub bytes: u64,
    /// Number of pieces.
    pub chunks: u32,
}

/// Why a bulk payload is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Larger than the limit.
    #[error("payload is larger than {REQUEST_BYTES_MAX} bytes")]
    TooLarge,
    /// Size, number of pieces or digest do not fit together.
    #[error("pieces do not match their manifest")]
    Mismatch,
    /// Wrong key or altered ciphertext.
    #[error("payload does not open")]
    Cipher,
}

/// Seals a payload and cuts it.
pub fn split(
    plaintext: &[u8],
    entropy: &mut impl Entropy,
) -> Result<(ChunkManifest, Vec<Vec<u8>>), ChunkError> {
    if plaintext.len() > REQUEST_BYTES_MAX {
        return Err(ChunkError::TooLarge);
    }
    let key = entropy.bytes32();
    let cipher = XChaCha20Poly1305::new(&key.into());
    let sealed = cipher.encrypt(&XNonce::default(), plaintext).map_err(|_| ChunkError::Cipher)?;
    let pieces: Vec<Vec<u8>> = sealed.chunks(BULK_CHUNK_BYTES).map(<[u8]>::to_vec).collect();
    let manifest = ChunkManifest {
        key: hex::encode(key),
        sha256: hex::encode(Sha256::digest(&sealed)),
        bytes: sealed.len() as u64,
        chunks: u32::try_from(pieces.len()).map_err(|_| ChunkError::TooLarge)?,
    };
    Ok((manifest, pieces))
}

/// Collects the pieces of one payload, in order.
#[derive(Clone, Debug)]
pub struct Assembly {
    manifest: ChunkManifest,
    received: u32,
    sealed: Vec<u8>,
}

impl Assembly {
    /// Starts collecting; refuses a manifest whose numbers cannot be true before any memory is taken.
    pub fn new(manifest: ChunkManifest) -> Result<Self, ChunkError> {
        if manifest.bytes > REQUEST_BYTES_MAX as u64 + 16 {
            return Err(ChunkError::TooLarge);
        }
        let pieces = manifest.bytes.div_ceil(BULK_CHUNK_BYTES as u64);
        if manifest.bytes < 16 || u64::from(manifest.chunks) != pieces {
            return Err(ChunkError::Mismatch);
        }
        Ok(Self { manifest, received: 0, sealed: Vec::new() })
    }

    /// Adds the next piece; true when it was the last.
    pub fn push(&mut self, piece: &[u8]) -> Result<bool, ChunkError> {
        let last = self.received.saturating_add(1) == self.manifest.chunks;
        let expected = if last {
            usize::try_from(self.manifest.bytes).unwrap_or(usize::MAX).saturating_sub(self.sealed.len())
        } else {
            BULK_CHUNK_BYTES
        };
        if self.received >= self.manifest.chunks || piece.len() != expected {
            return Err(ChunkError::Mismatch);
        }
        self.sealed.extend_from_slice(piece);
        self.received = self.received.saturating_add(1);
        Ok(last)
    }

    /// Opens the payload when all pieces are there.
    pub fn open(self) -> Result<Vec<u8>, ChunkError> {
        if self.received != self.manifest.chunks
            || hex::encode(Sha256::digest(&self.sealed)) != self.manifest.sha256
        {
            return Err(ChunkError::Mismatch);
        }
        let key: [u8; 32] = hex::decode(&self.manifest.key)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(ChunkError::Cipher)?;
        let cipher = XChaCha20Poly1305::new(&key.into());
        cipher.decrypt(&XNonce::default(), self.sealed.as_slice()).map_err(|_| ChunkError::Cipher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::CountingEntropy;

    fn payload(size: usize) -> Vec<u8> {
        (0..size).map(|i| (i % 251) as u8).collect()
    }

    #[test]
    fn payloads_of_every_border_size_come_back_whole() {
        for size in
            [0, 1, BULK_CHUNK_BYTES - 17, BULK_CHUNK_BYTES - 16, BULK_CHUNK_BYTES, 3 * BULK_CHUNK_BYTES + 5]
        {
            let (manifest, pieces) = split(&payload(size), &mut CountingEntropy(3)).unwrap();
            let mut assembly = Assembly::new(manifest).unwrap();
            let ends: Vec<bool> = pieces.iter().map(|piece| assembly.push(piece).unwrap()).collect();
            assert_eq!(ends.last(), Some(&true), "{size}");
            assert_eq!(assembly.open().unwrap(), payload(size), "{size}");
        }
    }

    #[test]
    fn a_missing_altered_or_extra_piece_is_refused() {
        let (manifest, pieces) = split(&payload(BULK_CHUNK_BYTES * 2), &mut CountingEntropy(3)).unwrap();
        let mut short = Assembly::new(manifest.clone()).unwrap();
        short.push(&pieces[0]).unwrap();
        assert_eq!(short.open(), Err(ChunkError::Mismatch));
        let mut altered = Assembly::new(manifest.clone()).unwrap();
        let mut bad = pieces[0].clone();
        bad[5] ^= 1;
        altered.push(&bad).unwrap();
        for piece in &pieces[1..] {
            altered.push(piece).unwrap();
        }
        assert_eq!(altered.clone().open(), Err(ChunkError::Mismatch));
        assert_eq!(altered.push(&[0]), Err(ChunkError::Mismatch));
        let lying = ChunkManifest { bytes: u64::MAX, ..manifest.clone() };
        assert!(matches!(Assembly::new(lying), Err(ChunkError::TooLarge)));
        let lying = ChunkManifest { chunks: 1, ..manifest };
        assert!(matches!(Assembly::new(lying), Err(ChunkError::Mismatch)));
    }

    #[test]
    fn the_largest_payload_is_taken_and_one_byte_more_is_not() {
        assert!(split(&payload(REQUEST_BYTES_MAX), &mut CountingEntropy(3)).is_ok());
        assert_eq!(
            split(&payload(REQUEST_BYTES_MAX + 1), &mut CountingEntropy(3)).err(),
            Some(ChunkError::TooLarge)
        );
    }
}
