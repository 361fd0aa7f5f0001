//! A request too large for its job open: pieces that arrive as numbered frames, in any order, each at most once.
//!
//! Relays shuffle and duplicate; the number inside the sealed frame is the only order. Memory is bounded by
//! the manifest,
//! which was checked before the first byte was taken.

use std::collections::BTreeMap;

use fedai_protocol::chunking::{Assembly, ChunkError, ChunkManifest};
use fedai_protocol::limits::REORDER_FRAMES_MAX;
use fedai_protocol::sealed_session::base64_decode;

/// The pieces so far.
#[derive(Clone, Debug)]
pub(crate) struct BulkRequest {
    assembly: Assembly,
    next: u64,
    early: BTreeMap<u64, Vec<u8>>,
    chunks: u64,
}

impl BulkRequest {
    /// Begins; refuses a manifest whose numbers cannot be true.
    pub(crate) fn new(manifest: &ChunkManifest) -> Result<Self, ChunkError> {
        let assembly = Assembly::new(manifest.clone())?;
        Ok(Self { assembly, next: 0, early: BTreeMap::new(), chunks: u64::from(manifest.chunks) })
    }

    /// Takes the piece with number `s`; true when all are there.
    pub(crate) fn push(&mut self, s: u64, data: &str) -> Result<bool, ChunkError> {
        if s < self.next || self.early.contains_key(&s) {
            return Ok(self.is_complete());
        }
        if s >= self.chunks {
            return Err(ChunkError::Mismatch);
        }
        let piece = base64_decode(data).ok_or(ChunkError::Mismatch)?;
        if s != self.next {
            // What does not fit the window is asked for again, it is not lost.
            if self.early.len() < REORDER_FRAMES_MAX {
                self.early.insert(s, piece);
            }
            return Ok(false);
        }
        self.assembly.push(&piece)?;
        self.next = self.next.saturating_add(1);
        while let Some(piece) = self.early.remove(&self.next) {
            self.assembly.push(&piece)?;
            self.next = self.next.saturating_add(1);
        }
        Ok(self.is_complete())
    }

    /// First piece that is still missing.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// The request, when all pieces are there and open.
    pub(crate) fn open(self) -> Result<String, ChunkError> {
        String::from_utf8(self.assembly.open()?).map_err(|_| ChunkError::Cipher)
    }

    const fn is_complete(&self) -> bool {
        self.next == self.chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedai_protocol::chunking::split;
    use fedai_protocol::entropy::CountingEntropy;
    use fedai_protocol::sealed_session::base64_encode;

    fn pieces(text: &str) -> (ChunkManifest, Vec<String>) {
        let (manifest, pieces) = split(text.as_bytes(), &mut CountingEntropy(9)).unwrap();
        (manifest, pieces.iter().map(|piece| base64_encode(piece)).collect())
    }

    #[test]
    fn any_order_with_repeats_gives_the_request() {
        let text = "a long prompt ".repeat(9_000);
        let (manifest, pieces) = pieces(&text);
        let mut bulk = BulkRequest::new(&manifest).unwrap();
        let last = pieces.len() as u64 - 1;
        for s in (0..=last).rev().chain(0..=last) {
            bulk.push(s, &pieces[s as usize]).unwrap();
        }
        assert_eq!(bulk.next(), last + 1);
        assert_eq!(bulk.open().unwrap(), text);
    }

    #[test]
    fn a_foreign_number_and_a_piece_of_another_size_are_refused() {
        let (manifest, pieces) = pieces(&"x".repeat(50_000));
        let mut bulk = BulkRequest::new(&manifest).unwrap();
        assert!(bulk.push(pieces.len() as u64, &pieces[0]).is_err());
        assert!(bulk.push(0, "AAAA").is_err());
        assert!(bulk.push(0, "not base64").is_err());
    }
}
