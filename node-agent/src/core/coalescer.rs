//! Gathers output lines into frames: the first words leave at once, later ones about 40 ms or 200 bytes at a time.
//!
//! One relay event per token would cost more than the token and tell its length. The longer an answer gets,
//! the larger
//! its frames, so that a long one does not use up what a relay allows.

use fedai_protocol::UnixMicros;
use fedai_protocol::limits::OUTPUT_CHUNK_BYTES_MAX;

/// Output that has not been sent yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coalescer {
    pending: String,
    since: Option<UnixMicros>,
    words_sent: bool,
    frames: u64,
}

impl Coalescer {
    /// Adds a piece. `has_words` says that text has been delivered so far, not just a role or an empty delta.
    pub(crate) fn push(&mut self, now: UnixMicros, piece: &str, has_words: bool) -> bool {
        self.since.get_or_insert(now);
        self.pending.push_str(piece);
        let first_words = has_words && !self.words_sent;
        first_words || self.is_due(now)
    }

    /// True when what is pending should leave.
    pub(crate) fn is_due(&self, now: UnixMicros) -> bool {
        !self.pending.is_empty()
            && (self.pending.len() >= self.bytes_goal() || self.due_at().is_some_and(|at| at <= now))
    }

    /// When what is pending should leave at the latest.
    pub(crate) fn due_at(&self) -> Option<UnixMicros> {
        self.since.map(|since| since.plus_millis(self.interval_ms()))
    }

    /// Takes everything, cut into pieces that fit a frame. `has_words` as in [`Coalescer::push`].
    pub(crate) fn take(&mut self, has_words: bool) -> Vec<String> {
        self.since = None;
        self.words_sent |= has_words;
        let mut rest = core::mem::take(&mut self.pending);
        let mut pieces = Vec::new();
        while rest.len() > OUTPUT_CHUNK_BYTES_MAX {
            let tail = rest.split_off(rest.floor_char_boundary(OUTPUT_CHUNK_BYTES_MAX));
            pieces.push(core::mem::replace(&mut rest, tail));
        }
        if !rest.is_empty() {
            pieces.push(rest);
        }
        self.frames = self.frames.saturating_add(pieces.len() as u64);
        pieces
    }

    fn interval_ms(&self) -> u64 {
        INTERVAL_MS.saturating_add(self.frames / 8).min(INTERVAL_MS_MAX)
    }

    fn bytes_goal(&self) -> usize {
        let grown = usize::try_from(self.frames).unwrap_or(usize::MAX).saturating_mul(16);
        FRAME_BYTES.saturating_add(grown).min(FRAME_BYTES_MAX)
    }
}

/// Reading speed is far below 25 frames a second, and a tenth of a second still feels immediate.
const INTERVAL_MS: u64 = 40;
const INTERVAL_MS_MAX: u64 = 160;
const FRAME_BYTES: usize = 200;
const FRAME_BYTES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    const T0: UnixMicros = UnixMicros(1_000_000);

    #[test]
    fn the_first_words_leave_at_once_and_a_role_alone_waits_for_them() {
        let mut coalescer = Coalescer::default();
        assert!(!coalescer.push(T0, "{\"role\"}\n", false));
        assert!(coalescer.push(T0.plus_millis(5), "{\"Hi\"}\n", true));
        assert_eq!(coalescer.take(true), ["{\"role\"}\n{\"Hi\"}\n"]);
    }

    #[test]
    fn later_words_wait_for_the_interval_or_the_bytes() {
        let mut coalescer = Coalescer::default();
        assert!(coalescer.push(T0, "a\n", true));
        coalescer.take(true);
        assert!(!coalescer.push(T0, "b\n", true));
        assert!(!coalescer.is_due(T0.plus_millis(INTERVAL_MS - 1)));
        assert!(coalescer.is_due(T0.plus_millis(INTERVAL_MS)));
        assert_eq!(coalescer.due_at(), Some(T0.plus_millis(INTERVAL_MS)));
        assert!(coalescer.push(T0, &"x".repeat(FRAME_BYTES + 16), true));
    }

    #[test]
    fn a_long_line_is_cut_at_the_limit_and_nothing_is_lost() {
        let mut coalescer = Coalescer::default();
        let long = "ü".repeat(OUTPUT_CHUNK_BYTES_MAX);
        coalescer.push(T0, &long, true);
        let pieces = coalescer.take(true);
        assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.len() <= OUTPUT_CHUNK_BYTES_MAX));
        assert_eq!(pieces.concat(), long);
        assert!(coalescer.take(true).is_empty());
        assert_eq!(coalescer.due_at(), None);
    }
}
