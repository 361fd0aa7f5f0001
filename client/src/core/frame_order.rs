//! Puts a node's frames in order by their number alone: relays shuffle, duplicate and drop.
//!
//! Each number is handed on exactly once. What lies too far ahead is dropped and asked for again later, so memory is
//! bounded whatever arrives.

use std::collections::BTreeMap;

use fedai_protocol::limits::REORDER_FRAMES_MAX;
use fedai_protocol::session_frame::FrameBody;

/// Numbered frames of one direction of one session.
#[derive(Clone, Debug, Default)]
pub struct FrameOrder {
    next: u64,
    known_end: u64,
    waiting: BTreeMap<u64, FrameBody>,
}

impl FrameOrder {
    /// Number of the next frame that is handed on.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// True when a frame is missing that is known to exist.
    #[must_use]
    pub fn has_gap(&self) -> bool {
        self.known_end > self.next
    }

    /// Takes a numbered frame; gives those that are now in order.
    pub fn push(&mut self, s: u64, body: FrameBody) -> Vec<FrameBody> {
        self.known_end = self.known_end.max(s.saturating_add(1));
        let window_end = self.next.saturating_add(REORDER_FRAMES_MAX as u64);
        if s >= self.next && s < window_end {
            self.waiting.entry(s).or_insert(body);
        }
        let mut ready = Vec::new();
        while let Some(body) = self.waiting.remove(&self.next) {
            self.next = self.next.saturating_add(1);
            ready.push(body);
        }
        ready
    }

    /// Learns from a frame without a number of its own that everything below `s` was sent.
    pub fn heard_of(&mut self, s: u64) {
        self.known_end = self.known_end.max(s);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use fedai_protocol::payment_offer::Balance;
    use fedai_protocol::session_frame::Chunk;

    fn chunk(n: u64) -> FrameBody {
        FrameBody::Chunk(Chunk { data: n.to_string(), balance: Balance::default() })
    }

    #[test]
    fn shuffled_and_doubled_frames_come_out_once_and_in_order() {
        let mut order = FrameOrder::default();
        let mut out = Vec::new();
        for n in [2, 0, 0, 3, 2, 1, 1, 4] {
            out.extend(order.push(n, chunk(n)));
        }
        assert_eq!(out, (0..5).map(chunk).collect::<Vec<_>>());
        assert!(!order.has_gap());
    }

    #[test]
    fn the_window_ends_where_the_limit_says() {
        let mut order = FrameOrder::default();
        let last = REORDER_FRAMES_MAX as u64;
        assert!(order.push(last - 1, chunk(1)).is_empty());
        assert!(order.push(last, chunk(1)).is_empty());
        assert_eq!(order.waiting.len(), 1, "one past the window is dropped");
        assert!(order.has_gap());
        assert!(order.push(u64::MAX, chunk(1)).is_empty());
    }

    #[test]
    fn a_lost_tail_shows_in_the_number_of_a_later_frame() {
        let mut order = FrameOrder::default();
        order.push(0, chunk(0));
        assert!(!order.has_gap());
        order.heard_of(3);
        assert!(order.has_gap());
    }
}
