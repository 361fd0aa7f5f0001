//! What will happen, in the one order in which it happens: by time, and by the order of asking among equals.
//!
//! The clock is virtual and moves only when the next thing is taken. It never runs back: what is asked for in the past
//! happens now, after everything that was asked for before.

use core::cmp::Ordering;
use std::collections::BinaryHeap;

use fedai_protocol::UnixMicros;

/// The future.
#[derive(Clone, Debug)]
pub struct Agenda<E> {
    now: UnixMicros,
    asked: u64,
    entries: BinaryHeap<Entry<E>>,
}

/// The earliest is the greatest, as the heap gives the greatest first.
#[derive(Clone, Debug)]
struct Entry<E> {
    at: UnixMicros,
    number: u64,
    event: E,
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<E> Eq for Entry<E> {}

impl<E> Agenda<E> {
    /// Nothing will happen.
    #[must_use]
    pub fn new(now: UnixMicros) -> Self {
        Self { now, asked: 0, entries: BinaryHeap::new() }
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
        self.entries.push(Entry { at: at.max(self.now), number: self.asked, event });
    }

    /// Moves the clock to the next thing and gives it.
    pub fn take_next(&mut self) -> Option<E> {
        let Entry { at, event, .. } = self.entries.pop()?;
        self.now = at;
        Some(event)
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
    }
}
