//! Remembers ids for longer than anything may be accepted, within a fixed amount of memory.
//!
//! Relays deduplicate for their own sake, not for ours: four of five re-broadcast. An id is forgotten only when the
//! event could no longer pass [`crate::VerifiedEvent::check_time`]; when the memory is full, the new event is refused
//! (never an old id forgotten early), so a flood costs service and never safety.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::limits::{REPLAY_IDS_MAX, REPLAY_MEMORY_SECONDS};
use crate::unix_time::UnixSeconds;

/// Ids seen within the memory window.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    seen: BTreeSet<[u8; 32]>,
    order: VecDeque<(UnixSeconds, [u8; 32])>,
    capacity: usize,
    memory_seconds: u64,
}

/// Why an id is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Seen before.
    #[error("seen before")]
    Seen,
    /// No room to remember it.
    #[error("replay memory is full")]
    Full,
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::new(REPLAY_IDS_MAX, REPLAY_MEMORY_SECONDS)
    }
}

impl ReplayWindow {
    /// A window that remembers `capacity` ids for `memory_seconds` each.
    #[must_use]
    pub fn new(capacity: usize, memory_seconds: u64) -> Self {
        Self { seen: BTreeSet::new(), order: VecDeque::new(), capacity, memory_seconds }
    }

    /// Admits an id once.
    pub fn admit(&mut self, id: [u8; 32], now: UnixSeconds) -> Result<(), ReplayError> {
        self.forget_older(now);
        if self.seen.contains(&id) {
            return Err(ReplayError::Seen);
        }
        if self.seen.len() >= self.capacity {
            return Err(ReplayError::Full);
        }
        self.seen.insert(id);
        self.order.push_back((now, id));
        Ok(())
    }

    /// Number of ids remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// True when nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    fn forget_older(&mut self, now: UnixSeconds) {
        while let Some((at, id)) = self.order.front().copied() {
            if now.since(at) <= self.memory_seconds {
                break;
            }
            self.order.pop_front();
            self.seen.remove(&id);
        }
    }
}

/// Counts uses of tickets: an id may be used a stated number of times until it expires.
#[derive(Clone, Debug, Default)]
pub struct UseCounter {
    used: BTreeMap<[u8; 32], (UnixSeconds, u16)>,
}

impl UseCounter {
    /// Takes one of `uses` of `id`, which is forgotten after `expires_at`. Refuses when used up or when full.
    pub fn take(
        &mut self,
        id: [u8; 32],
        uses: u16,
        expires_at: UnixSeconds,
        now: UnixSeconds,
        capacity: usize,
    ) -> Result<u16, ReplayError> {
        if !self.used.contains_key(&id) && self.used.len() >= capacity {
            self.used.retain(|_, (expires, _)| *expires >= now);
            if self.used.len() >= capacity {
                return Err(ReplayError::Full);
            }
        }
        let (_, count) = self.used.entry(id).or_insert((expires_at, 0));
        if *count >= uses {
            return Err(ReplayError::Seen);
        }
        *count = count.saturating_add(1);
        Ok(*count)
    }

    /// Gives one use back (the job was refused before any work).
    pub fn give_back(&mut self, id: &[u8; 32]) {
        if let Some((_, count)) = self.used.get_mut(id) {
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_admitted_once_and_remembered_to_the_end_of_the_window() {
        let mut window = ReplayWindow::new(10, 100);
        assert_eq!(window.admit([1; 32], UnixSeconds(0)), Ok(()));
        assert_eq!(window.admit([1; 32], UnixSeconds(100)), Err(ReplayError::Seen));
        assert_eq!(window.admit([1; 32], UnixSeconds(101)), Ok(()));
    }

    #[test]
    fn a_full_window_refuses_the_new_and_keeps_the_old() {
        let mut window = ReplayWindow::new(2, 100);
        assert_eq!(window.admit([1; 32], UnixSeconds(0)), Ok(()));
        assert_eq!(window.admit([2; 32], UnixSeconds(0)), Ok(()));
        assert_eq!(window.admit([3; 32], UnixSeconds(0)), Err(ReplayError::Full));
        assert_eq!(window.admit([1; 32], UnixSeconds(0)), Err(ReplayError::Seen));
        assert_eq!(window.len(), 2);
    }

    #[test]
    fn a_ticket_is_used_as_often_as_it_says() {
        let mut counter = UseCounter::default();
        let (now, later) = (UnixSeconds(0), UnixSeconds(50));
        assert_eq!(counter.take([1; 32], 2, later, now, 1), Ok(1));
        assert_eq!(counter.take([1; 32], 2, later, now, 1), Ok(2));
        assert_eq!(counter.take([1; 32], 2, later, now, 1), Err(ReplayError::Seen));
        counter.give_back(&[1; 32]);
        assert_eq!(counter.take([1; 32], 2, later, now, 1), Ok(2));
        assert_eq!(counter.take([2; 32], 2, later, now, 1), Err(ReplayError::Full));
        assert_eq!(counter.take([2; 32], 2, later, UnixSeconds(51), 1), Ok(1));
    }
}
