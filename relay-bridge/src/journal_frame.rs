//! The bytes of the journal: `length | header checksum | body checksum | previous hash | body`.
//!
//! The header has a checksum of its own, so that a damaged length is told from a frame that was cut short: only what
//! a crash can leave (the beginning of a frame, or zeros, at the end of the file) is cut off; all else is refused.

use std::io::{BufRead, Read};

use fedai_protocol::domain_separation::{JOURNAL, digest};
use fedai_protocol::limits::JOURNAL_RECORD_BYTES_MAX;

/// First bytes of every journal.
pub(crate) const MAGIC: &[u8; 8] = b"fedaij1\n";
/// Bytes before a frame's body.
const HEADER_BYTES: usize = 44;

/// Hash that links frames.
pub(crate) type Hash = [u8; 32];

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A whole frame: kind, payload, the hash that the next frame names, and the bytes it takes in the file.
    Whole { kind: u8, payload: Vec<u8>, hash: Hash, bytes: u64 },
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
    let mut rest = Vec::with_capacity(HEADER_BYTES);
    rest.extend_from_slice(&body_checksum(kind, payload).to_be_bytes());
    rest.extend_from_slice(previous);
    into.extend_from_slice(&length.to_be_bytes());
    into.extend_from_slice(&header_checksum(length, &rest).to_be_bytes());
    into.extend_from_slice(&rest);
    into.push(kind);
    into.extend_from_slice(payload);
    digest(JOURNAL, &[previous, &[kind], payload])
}

/// Reads the next frame; after anything but a whole one, `file` is of no more use.
pub(crate) fn read(file: &mut impl BufRead, previous: &Hash) -> std::io::Result<Frame> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    file.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut header)?;
    if header.is_empty() {
        return Ok(Frame::End);
    }
    if header.len() < HEADER_BYTES || (is_zero(&header) && has_only_zeros(file)?) {
        return Ok(Frame::Torn);
    }
    let (Some(length), Some(header_crc), Some(body_crc), Some(linked)) =
        (u32_at(&header, 0), u32_at(&header, 4), u32_at(&header, 8), header.get(12..))
    else {
        return Ok(Frame::Damaged("unreadable header"));
    };
    if header.get(8..).map(|rest| header_checksum(length, rest)) != Some(header_crc) {
        return Ok(Frame::Damaged("header checksum does not hold"));
    }
    if linked != previous {
        return Ok(Frame::Damaged("does not follow from the frame before it"));
    }
    let payload_bytes = usize::try_from(length).ok().and_then(|length| length.checked_sub(1));
    let Some(payload_bytes) = payload_bytes.filter(|bytes| *bytes <= JOURNAL_RECORD_BYTES_MAX) else {
        return Ok(Frame::Damaged("impossible length"));
    };
    let (mut kind, mut payload) = (Vec::with_capacity(1), Vec::with_capacity(payload_bytes));
    file.by_ref().take(1).read_to_end(&mut kind)?;
    file.by_ref().take(payload_bytes as u64).read_to_end(&mut payload)?;
    let Some(kind) = kind.first().copied().filter(|_| payload.len() == payload_bytes) else {
        return Ok(Frame::Torn);
    };
    if body_checksum(kind, &payload) != body_crc {
        return Ok(Frame::Damaged("checksum does not hold"));
    }
    let hash = digest(JOURNAL, &[previous, &[kind], &payload]);
    let bytes = (HEADER_BYTES as u64).saturating_add(u64::from(length));
    Ok(Frame::Whole { kind, payload, hash, bytes })
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn has_only_zeros(file: &mut impl BufRead) -> std::io::Result<bool> {
    loop {
        let some = file.fill_buf()?;
        if some.is_empty() || !is_zero(some) {
            return Ok(some.is_empty());
        }
        let length = some.len();
        file.consume(length);
    }
}

fn body_checksum(kind: u8, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(payload);
    hasher.finalize()
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
        // A reader that hands out three bytes at a time, and one that has all.
        for capacity in [3, 1_000] {
            let next = |file: &[u8], previous: &Hash| {
                read(&mut std::io::BufReader::with_capacity(capacity, file), previous).unwrap()
            };
            let whole =
                Frame::Whole { kind: 7, payload: b"payload".to_vec(), hash, bytes: file.len() as u64 };
            assert_eq!(next(&file, &genesis()), whole);
            assert_eq!(next(&[], &hash), Frame::End);
            for length in 1..file.len() {
                assert_eq!(next(&file[..length], &genesis()), Frame::Torn, "{length}");
            }
            assert!(matches!(next(&file, &hash), Frame::Damaged(_)));
            assert_eq!(next(&[0; 300], &genesis()), Frame::Torn);
            let after_zeros = [&[0; 300], file.as_slice()].concat();
            assert!(matches!(next(&after_zeros, &genesis()), Frame::Damaged(_)), "no crash leaves that");
        }
    }
}
