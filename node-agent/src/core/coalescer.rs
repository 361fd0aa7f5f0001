//! Gathers output lines into frames: the first words leave at once, later ones about 40 ms at a time. Where the client
//! reads nothing before the end, the first words wait a moment for the rest, and later ones for a second.
//!
//! One relay event per token would cost more than the token and tell its length. The longer an answer gets, the larger
//! its frames, so that a long one does not use up what a relay allows.

use fedai_protocol::UnixMicros;
use fedai_protocol::limits::OUTPUT_CHUNK_BYTES_MAX;

/// Output that has not been sent yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coalescer {
    pending: String,
    since: Option<UnixMicros>,
    is_whole: bool,
    words_sent: bool,
    frames: u64,
}

impl Coalescer {
    /// For an answer of which nothing is read before its end.
    pub(crate) fn for_whole_answer() -> Self {
        Self { is_whole: true, ..Self::default() }
    }

    /// Adds a piece. `has_words` says that text has been delivered so far, not just a role or an empty delta.
    pub(crate) fn push(&mut self, now: UnixMicros, piece: &str, has_words: bool) -> bool {
        self.since.get_or_insert(now);
        self.pending.push_str(piece);
        let first_words = has_words && !self.words_sent && !self.is_whole;
        first_words || self.is_due(now)
    }

    /// True when what is pending should leave.
    pub(crate) fn is_due(&self, now: UnixMicros) -> bool {
        !self.pending.is_empty()
            && (self.pending.len() >= FRAME_BYTES_MAX || self.due_at().is_some_and(|at| at <= now))
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
        match (self.is_whole, self.words_sent) {
            (true, false) => WHOLE_FIRST_MS,
            (true, true) => WHOLE_INTERVAL_MS,
            (false, _) => INTERVAL_MS.saturating_add(self.frames / 8).min(INTERVAL_MS_MAX),
        }
    }
}

/// Reading speed is far below 25 frames a second, and a tenth of a second still feels immediate.
const INTERVAL_MS: u64 = 40;
const INTERVAL_MS_MAX: u64 = 160;
/// The client measures the time to the first words all the same: they wait for a short answer's end, and no longer.
const WHOLE_FIRST_MS: u64 = 5;
/// Well within the silence after which a client asks whether the node is there.
const WHOLE_INTERVAL_MS: u64 = 1_000;
/// What a runner says in one breath leaves in one frame: a signature and a verification cost more than its bytes.
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
        assert!(coalescer.push(T0, &"x".repeat(FRAME_BYTES_MAX), true));
    }

    #[test]
    fn what_nobody_reads_before_its_end_waits_for_the_rest() {
        let mut coalescer = Coalescer::for_whole_answer();
        assert!(!coalescer.push(T0, "a\n", true));
        assert!(!coalescer.push(T0, "b\n", true));
        assert!(!coalescer.is_due(T0.plus_millis(WHOLE_FIRST_MS - 1)));
        assert!(coalescer.is_due(T0.plus_millis(WHOLE_FIRST_MS)), "the time to the first words is measured");
        assert_eq!(coalescer.take(true), ["a\nb\n"]);
        assert!(!coalescer.push(T0, "c\n", true));
        assert_eq!(coalescer.due_at(), Some(T0.plus_millis(WHOLE_INTERVAL_MS)));
        assert!(coalescer.push(T0, &"x".repeat(FRAME_BYTES_MAX), true));
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
