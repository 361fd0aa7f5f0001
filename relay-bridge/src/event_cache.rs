//! Verified events of the last moments, so that an event that comes from several relays or for several subscriptions
//! is verified once. Only what was verified is ever in here: a forged copy can never stand in for the genuine event.

use std::collections::{HashMap, HashSet, VecDeque};

use fedai_protocol::VerifiedEvent;
use nostr::EventId;

/// Bytes of content kept in all.
const CACHE_BYTES_MAX: usize = 16 * 1_048_576;
/// Events kept in all.
const CACHE_EVENTS_MAX: usize = 16_384;
/// Ids one subscription remembers: above what it can hold unread, so that several relays at different speeds agree.
const SEEN_IDS_MAX: usize = 65_536;

/// First in, first out, bounded in number and in bytes.
#[derive(Debug, Default)]
pub(crate) struct EventCache {
    events: HashMap<EventId, VerifiedEvent>,
    order: VecDeque<(EventId, usize)>,
    bytes: usize,
}

impl EventCache {
    pub(crate) fn get(&self, id: &EventId) -> Option<VerifiedEvent> {
        self.events.get(id).cloned()
    }

    pub(crate) fn insert(&mut self, event: VerifiedEvent) {
        let (id, bytes) = (event.id(), event.content().len());
        if self.events.insert(id, event).is_none() {
            self.bytes = self.bytes.saturating_add(bytes);
            self.order.push_back((id, bytes));
        }
        while self.order.len() > CACHE_EVENTS_MAX || self.bytes > CACHE_BYTES_MAX {
            let Some((oldest, bytes)) = self.order.pop_front() else { break };
            self.events.remove(&oldest);
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }
}

/// Ids that one subscription has handed out.
#[derive(Debug, Default)]
pub(crate) struct SeenEvents {
    ids: HashSet<EventId>,
    order: VecDeque<EventId>,
}

impl SeenEvents {
    pub(crate) fn contains(&self, id: &EventId) -> bool {
        self.ids.contains(id)
    }

    pub(crate) fn insert(&mut self, id: EventId) {
        if !self.ids.insert(id) {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > SEEN_IDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seen_ids_are_bounded_and_the_oldest_goes_first() {
        let mut seen = SeenEvents::default();
        let id = |n: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            EventId::from_byte_array(bytes)
        };
        (0..=SEEN_IDS_MAX).for_each(|n| seen.insert(id(n)));
        assert!(!seen.contains(&id(0)) && seen.contains(&id(1)) && seen.contains(&id(SEEN_IDS_MAX)));
    }
}
