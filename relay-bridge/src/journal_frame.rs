//! The bytes of the journal: `length | header checksum | body checksum | previous hash | body`.
//!
//! The header has a checksum of its own, so that a damaged length is told from a frame that was cut short: only what
//! a crash can leave (the beginning of a frame, or zeros, at the end of the file) is cut off; all else is refused.

use fedai_protocol::domain_separation::{JOURNAL, digest};
use fedai_protocol::limits::JOURNAL_RECORD_BYTES_MAX;

/// First bytes of every journal.
pub(crate) const MAGIC: &[u8; 8] = b"fedaij1\n";
/// Bytes before a frame's body.
const HEADER_BYTES: usize = 44;

/// Hash that links frames.
pub(crate) type Hash = [u8; 32];

/// What is found at an offset.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// A whole frame: kind, payload, the hash that the next frame names, and the offset after it.
    Whole { kind: u8, payload: &'a [u8], hash: Hash, end: usize },
    /// The end of the file.
    End,
    /// The beginning of a frame that was never finished.
    Torn,
    /// Something that no crash leaves.
    Damaged(&'static str),
}

/// The hash before the first frame.
pub(crate) fn genesis() -> Hash {
    digest(JOURNAL, &[])
}

/// Writes one frame; returns the hash that the next one names.
pub(crate) fn write(previous: &Hash, kind: u8, payload: &[u8], into: &mut Vec<u8>) -> Hash {
    let length = u32::try_from(payload.len().saturating_add(1)).unwrap_or(u32::MAX);
    let mut body_hasher = crc32fast::Hasher::new();
    body_hasher.update(&[kind]);
    body_hasher.update(payload);
    let mut rest = Vec::with_capacity(HEADER_BYTES);
    rest.extend_from_slice(&body_hasher.finalize().to_be_bytes());
    rest.extend_from_slice(previous);
    into.extend_from_slice(&length.to_be_bytes());
    into.extend_from_slice(&header_checksum(length, &rest).to_be_bytes());
    into.extend_from_slice(&rest);
    into.push(kind);
    into.extend_from_slice(payload);
    digest(JOURNAL, &[previous, &[kind], payload])
}

/// Reads the frame at `offset`.
pub(crate) fn read<'a>(file: &'a [u8], offset: usize, previous: &Hash) -> Frame<'a> {
    let rest = file.get(offset..).unwrap_or_default();
    if rest.is_empty() {
        return Frame::End;
    }
    if rest.iter().all(|byte| *byte == 0) {
        return Frame::Torn;
    }
    let Some((header, after)) = rest.split_at_checked(HEADER_BYTES) else {
        return Frame::Torn;
    };
    let (Some(length), Some(header_crc), Some(body_crc), Some(linked)) =
        (u32_at(header, 0), u32_at(header, 4), u32_at(header, 8), header.get(12..))
    else {
        return Frame::Damaged("unreadable header");
    };
    if header.get(8..).map(|rest| header_checksum(length, rest)) != Some(header_crc) {
        return Frame::Damaged("header checksum does not hold");
    }
    if linked != previous {
        return Frame::Damaged("does not follow from the frame before it");
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length == 0 || length > JOURNAL_RECORD_BYTES_MAX.saturating_add(1) {
        return Frame::Damaged("impossible length");
    }
    let Some(body) = after.get(..length) else { return Frame::Torn };
    if crc32fast::hash(body) != body_crc {
        return Frame::Damaged("checksum does not hold");
    }
    let Some((kind, payload)) = body.split_first() else { return Frame::Damaged("empty body") };
    let end = offset.saturating_add(HEADER_BYTES).saturating_add(length);
    Frame::Whole { kind: *kind, payload, hash: digest(JOURNAL, &[previous, &[*kind], payload]), end }
}

fn header_checksum(length: u32, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_be_bytes());
    hasher.update(rest);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let part = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(part.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_back_and_any_prefix_of_it_is_torn() {
        let mut file = Vec::new();
        let hash = write(&genesis(), 7, b"payload", &mut file);
        let Frame::Whole { kind: 7, payload: b"payload", hash: read_hash, end } = read(&file, 0, &genesis())
        else {
            panic!("not read back");
        };
        assert_eq!((read_hash, end), (hash, file.len()));
        assert_eq!(read(&file, end, &hash), Frame::End);
        for length in 1..file.len() {
            assert_eq!(read(&file[..length], 0, &genesis()), Frame::Torn, "{length}");
        }
        assert!(matches!(read(&file, 0, &hash), Frame::Damaged(_)));
    }
}
