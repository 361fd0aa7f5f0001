//! What will happen, in the one order in which it happens: by time, and by the order of asking among equals.
//!
//! The clock is virtual and moves only when the next thing is taken. It never runs back: what is asked for in the past
//! happens now, after everything that was asked for before.
//!
//! A radix heap (Ahuja, Mehlhorn, Orlin and Tarjan 1990) makes use of that: things lie by the highest bit in which
//! their time differs from the clock, in the order of asking, and are looked at again only when the clock comes
//! near. A heap of comparisons goes through cold memory once for each of its levels, each time.

use std::collections::VecDeque;

use fedai_protocol::UnixMicros;

/// Bits in which a time may differ from the clock.
const BITS: usize = u64::BITS as usize;

/// The future. What happens lies in slots that are used again; only its time and its slot are put in order.
#[derive(Clone, Debug)]
pub struct Agenda<E> {
    now: UnixMicros,
    len: usize,
    /// What happens now, the first asked for in front.
    due: VecDeque<usize>,
    /// What happens later: times whose highest bit that differs from the clock's is this one.
    later: Vec<Vec<Entry>>,
    events: Vec<Option<E>>,
    free: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: UnixMicros,
    slot: usize,
}

impl<E> Agenda<E> {
    /// Nothing will happen.
    #[must_use]
    pub fn new(now: UnixMicros) -> Self {
        let later = vec![Vec::new(); BITS];
        Self { now, len: 0, due: VecDeque::new(), later, events: Vec::new(), free: Vec::new() }
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> UnixMicros {
        self.now
    }

    /// Number of things to come.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True when nothing will happen any more.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds something.
    pub fn at(&mut self, at: UnixMicros, event: E) {
        let slot = self.free.pop().unwrap_or(self.events.len());
        match self.events.get_mut(slot) {
            Some(place) => *place = Some(event),
            None => self.events.push(Some(event)),
        }
        self.len += 1;
        self.sort_in(Entry { at: at.max(self.now), slot });
    }

    /// Moves the clock to the next thing and gives it.
    pub fn take_next(&mut self) -> Option<E> {
        if self.due.is_empty() {
            self.move_clock();
        }
        let slot = self.due.pop_front()?;
        self.len -= 1;
        self.free.push(slot);
        self.events.get_mut(slot)?.take()
    }

    /// To the earliest time of all, which lies in the lowest bucket that has anything. All of that bucket shares the
    /// clock's bits from there upwards then, and goes to lower ones, which are empty: equals keep the order of asking.
    fn move_clock(&mut self) {
        let Some(bucket) = self.later.iter().position(|bucket| !bucket.is_empty()) else { return };
        let Some(mut entries) = self.later.get_mut(bucket).map(core::mem::take) else { return };
        self.now = entries.iter().map(|entry| entry.at).min().unwrap_or(self.now);
        for entry in entries.drain(..) {
            self.sort_in(entry);
        }
        // Still empty: its memory is kept for the next ones.
        self.later.iter_mut().skip(bucket).take(1).for_each(|place| *place = core::mem::take(&mut entries));
    }

    fn sort_in(&mut self, entry: Entry) {
        let differs = entry.at.0 ^ self.now.0;
        match differs.checked_ilog2().and_then(|bit| self.later.get_mut(bit as usize)) {
            Some(bucket) => bucket.push(entry),
            None => self.due.push_back(entry.slot),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::chance::{Chance, Stream};

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

    #[test]
    fn things_at_all_distances_happen_as_in_a_sorted_tree() {
        for seed in 0..20 {
            let mut chance = Chance::new(seed, Stream::Relay);
            let mut agenda = Agenda::new(UnixMicros(1 << 50));
            let mut tree = BTreeMap::new();
            for number in 0..4_000_u64 {
                // Few distances, so that equals that were asked for at different times are many.
                let away = chance.between(0, 3) << chance.between(0, 39);
                let at = UnixMicros((agenda.now().0 + away).saturating_sub(chance.between(0, 2)));
                agenda.at(at, number);
                tree.insert((at.max(agenda.now()), number), number);
                if chance.happens(400) {
                    let first = tree.pop_first();
                    assert_eq!(agenda.take_next(), first.map(|(_, number)| number), "seed {seed}");
                    assert!(first.is_none_or(|((at, _), _)| at == agenda.now()), "seed {seed}");
                }
            }
            assert_eq!((agenda.len(), agenda.is_empty()), (tree.len(), false));
            let rest: Vec<u64> = core::iter::from_fn(|| agenda.take_next()).collect();
            assert_eq!(rest, tree.into_values().collect::<Vec<u64>>(), "seed {seed}");
            assert!(agenda.is_empty());
        }
    }
}
