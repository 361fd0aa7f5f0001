//! What will happen, in the one order in which it happens: by time, and by the order of asking among equals.
//!
//! The clock is virtual and moves only when the next thing is taken. It never runs back: what is asked for in the past
//! happens now, after everything that was asked for before.

use core::cmp::Ordering;
use std::collections::BinaryHeap;

use fedai_protocol::UnixMicros;

/// The future. What happens lies in slots that are used again; only its time and its slot are put in order.
#[derive(Clone, Debug)]
pub struct Agenda<E> {
    now: UnixMicros,
    asked: u64,
    entries: BinaryHeap<Entry>,
    events: Vec<Option<E>>,
    free: Vec<usize>,
}

/// The earliest is the greatest, as the heap gives the greatest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    at: UnixMicros,
    number: u64,
    slot: usize,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Agenda<E> {
    /// Nothing will happen.
    #[must_use]
    pub fn new(now: UnixMicros) -> Self {
        Self { now, asked: 0, entries: BinaryHeap::new(), events: Vec::new(), free: Vec::new() }
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> UnixMicros {
        self.now
    }

    /// Number of things to come.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when nothing will happen any more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds something.
    pub fn at(&mut self, at: UnixMicros, event: E) {
        self.asked = self.asked.saturating_add(1);
        let slot = self.free.pop().unwrap_or(self.events.len());
        match self.events.get_mut(slot) {
            Some(place) => *place = Some(event),
            None => self.events.push(Some(event)),
        }
        self.entries.push(Entry { at: at.max(self.now), number: self.asked, slot });
    }

    /// Moves the clock to the next thing and gives it.
    pub fn take_next(&mut self) -> Option<E> {
        let Entry { at, slot, .. } = self.entries.pop()?;
        self.now = at;
        self.free.push(slot);
        self.events.get_mut(slot)?.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_runs_back_and_equals_keep_their_order() {
        let mut agenda = Agenda::new(UnixMicros(10));
        agenda.at(UnixMicros(30), "c");
        agenda.at(UnixMicros(20), "a");
        agenda.at(UnixMicros(20), "b");
        assert_eq!((agenda.take_next(), agenda.now()), (Some("a"), UnixMicros(20)));
        agenda.at(UnixMicros(5), "late");
        let order: Vec<&str> = core::iter::from_fn(|| agenda.take_next()).collect();
        assert_eq!((order, agenda.now()), (vec!["b", "late", "c"], UnixMicros(30)));
        assert_eq!(agenda.events.len(), 3, "slots are used again");
    }
}
