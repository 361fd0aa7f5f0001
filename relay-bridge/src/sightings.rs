//! By which relays an author was heard, and when last: the same event comes once to a subscriber, but a copy by another
//! relay shows that this relay works, too. Only signed events count, and a bounded number of authors is remembered.

use std::collections::BTreeMap;
use std::sync::Mutex;

use fedai_protocol::limits::{ANNOUNCED_URLS_MAX, ROUTER_NODES_MAX};
use fedai_protocol::{PublicKey, UnixSeconds};

use crate::lock::lock;

/// Silence after which an author may be forgotten for another one, in seconds.
const FORGET_SECONDS: u64 = 3_600;

/// Who was heard by which relay.
#[derive(Debug)]
pub struct Sightings {
    kinds: Vec<u16>,
    authors_max: usize,
    authors: Mutex<BTreeMap<PublicKey, Vec<(String, UnixSeconds)>>>,
}

impl Sightings {
    /// Remembers authors of these kinds.
    pub(crate) fn new(kinds: &[u16]) -> Self {
        Self { kinds: kinds.to_vec(), authors_max: ROUTER_NODES_MAX, authors: Mutex::default() }
    }

    /// The relays by which an author was heard, with the time of the last event by each.
    #[must_use]
    pub fn of(&self, author: &PublicKey) -> Vec<(String, UnixSeconds)> {
        lock(&self.authors).get(author).cloned().unwrap_or_default()
    }

    pub(crate) fn is_watched(&self, kind: u16) -> bool {
        self.kinds.contains(&kind)
    }

    pub(crate) fn note(&self, author: PublicKey, relay: &str, now: UnixSeconds) {
        let mut authors = lock(&self.authors);
        if !authors.contains_key(&author) && authors.len() >= self.authors_max {
            authors.retain(|_, heard| heard.iter().any(|(_, at)| now.since(*at) < FORGET_SECONDS));
            if authors.len() >= self.authors_max {
                return;
            }
        }
        let heard = authors.entry(author).or_default();
        let has_room = heard.len() < ANNOUNCED_URLS_MAX;
        match heard.iter_mut().find(|(url, _)| url == relay) {
            Some((_, at)) => *at = now.max(*at),
            None if has_room => heard.push((relay.to_owned(), now)),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use fedai_protocol::SigningKey;
    use fedai_protocol::entropy::CountingEntropy;

    use super::*;

    #[test]
    fn every_relay_has_its_own_time_and_a_full_book_only_forgets_the_silent() {
        let mut entropy = CountingEntropy(1);
        let [a, b, c] = core::array::from_fn(|_| SigningKey::generate(&mut entropy).public_key());
        let sightings = Sightings { authors_max: 2, ..Sightings::new(&[21_434]) };
        sightings.note(a, "wss://one", UnixSeconds(100));
        sightings.note(a, "wss://two", UnixSeconds(150));
        sightings.note(a, "wss://one", UnixSeconds(120));
        assert_eq!(
            sightings.of(&a),
            [("wss://one".to_owned(), UnixSeconds(120)), ("wss://two".to_owned(), UnixSeconds(150))]
        );
        sightings.note(b, "wss://one", UnixSeconds(160));
        sightings.note(c, "wss://one", UnixSeconds(170));
        assert!(sightings.of(&c).is_empty(), "full of authors that were heard lately");
        sightings.note(b, "wss://one", UnixSeconds(5_000));
        sightings.note(c, "wss://one", UnixSeconds(5_000));
        assert!(sightings.of(&a).is_empty() && !sightings.of(&b).is_empty() && !sightings.of(&c).is_empty());
    }
}
