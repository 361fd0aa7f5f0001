//! Who gets an event: subscriptions found by (kind, `p`) and by kind, so that ten thousand sessions on one relay cost
//! no more per event than one. What the index finds is matched against the whole filter.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use fedai_protocol::{PublicKey, VerifiedEvent};
use nostr::filter::MatchEventOptions;
use nostr::{Alphabet, Filter, SingleLetterTag};

use crate::relay_session::Peer;

/// Keys one filter may put into the (kind, `p`) index; a larger one is found by its kinds only.
const INDEX_KEYS_MAX: usize = 4_096;

/// All subscriptions of all connections.
#[derive(Debug, Default)]
pub(crate) struct RelayRoutes {
    subscriptions: HashMap<u64, Arc<Route>>,
    by_name: HashMap<(u64, String), u64>,
    by_kind_and_key: HashMap<(u16, PublicKey), Vec<u64>>,
    by_kind: HashMap<u16, Vec<u64>>,
    of_any_kind: Vec<u64>,
    next: u64,
}

/// One subscription of one connection.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) peer: Arc<Peer>,
    pub(crate) subscription: String,
    filters: Vec<Filter>,
    places: Vec<Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    KindAndKey(u16, PublicKey),
    Kind(u16),
    Any,
}

impl RelayRoutes {
    /// Adds a subscription, replacing the connection's earlier one of the same name.
    pub(crate) fn add(&mut self, peer: &Arc<Peer>, subscription: String, filters: Vec<Filter>) {
        self.remove(peer.number, &subscription);
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let mut places: Vec<Place> = filters.iter().flat_map(places).collect();
        places.sort_unstable();
        places.dedup();
        for place in &places {
            self.list(*place).push(number);
        }
        self.by_name.insert((peer.number, subscription.clone()), number);
        let route = Route { peer: Arc::clone(peer), subscription, filters, places };
        self.subscriptions.insert(number, Arc::new(route));
    }

    /// Ends one subscription; false when there was none.
    pub(crate) fn remove(&mut self, peer: u64, subscription: &str) -> bool {
        let Some(number) = self.by_name.remove(&(peer, subscription.to_owned())) else { return false };
        let Some(route) = self.subscriptions.remove(&number) else { return false };
        for place in &route.places {
            let list = self.list(*place);
            list.retain(|other| *other != number);
            if list.is_empty() {
                match place {
                    Place::KindAndKey(kind, key) => drop(self.by_kind_and_key.remove(&(*kind, *key))),
                    Place::Kind(kind) => drop(self.by_kind.remove(kind)),
                    Place::Any => {}
                }
            }
        }
        true
    }

    /// Ends all subscriptions of a connection.
    pub(crate) fn remove_all(&mut self, peer: u64, subscriptions: impl IntoIterator<Item = String>) {
        for subscription in subscriptions {
            self.remove(peer, &subscription);
        }
    }

    /// The subscriptions that an event goes to.
    pub(crate) fn matching(&self, event: &VerifiedEvent) -> Vec<Arc<Route>> {
        let mut found: BTreeMap<u64, &Arc<Route>> = BTreeMap::new();
        let kind = event.kind();
        let mut look = |numbers: Option<&Vec<u64>>| {
            for number in numbers.into_iter().flatten() {
                if let Some(route) = self.subscriptions.get(number) {
                    found.insert(*number, route);
                }
            }
        };
        for key in event.tags("p").filter_map(|value| PublicKey::from_hex(value).ok()) {
            look(self.by_kind_and_key.get(&(kind, key)));
        }
        look(self.by_kind.get(&kind));
        look(Some(&self.of_any_kind));
        found.into_values().filter(|route| route.matches(event)).cloned().collect()
    }

    /// The subscriptions that asked for this kind by the key that the event is addressed to, and no others.
    pub(crate) fn addressed(&self, event: &VerifiedEvent) -> Vec<Arc<Route>> {
        let Some(key) = event.tag("p").and_then(|value| PublicKey::from_hex(value).ok()) else {
            return Vec::new();
        };
        let numbers = self.by_kind_and_key.get(&(event.kind(), key)).into_iter().flatten();
        numbers.filter_map(|number| self.subscriptions.get(number)).cloned().collect()
    }

    /// True when a subscription asks for this kind by this key.
    pub(crate) fn is_asked_for(&self, kind: u16, key: PublicKey) -> bool {
        self.by_kind_and_key.contains_key(&(kind, key))
    }

    fn list(&mut self, place: Place) -> &mut Vec<u64> {
        match place {
            Place::KindAndKey(kind, key) => self.by_kind_and_key.entry((kind, key)).or_default(),
            Place::Kind(kind) => self.by_kind.entry(kind).or_default(),
            Place::Any => &mut self.of_any_kind,
        }
    }
}

impl Route {
    fn matches(&self, event: &VerifiedEvent) -> bool {
        self.filters.iter().any(|filter| filter.match_event(event.as_event(), MatchEventOptions::new()))
    }
}

fn places(filter: &Filter) -> Vec<Place> {
    let Some(kinds) = filter.kinds.as_ref().filter(|kinds| !kinds.is_empty()) else {
        return vec![Place::Any];
    };
    let kinds = || kinds.iter().map(|kind| kind.as_u16());
    let keys = filter.generic_tags.get(&SingleLetterTag::lowercase(Alphabet::P));
    if let Some(keys) = keys {
        let keys: Vec<PublicKey> = keys.iter().filter_map(|key| PublicKey::from_hex(key).ok()).collect();
        if kinds().count().saturating_mul(keys.len()) <= INDEX_KEYS_MAX {
            return kinds()
                .flat_map(|kind| keys.iter().map(move |key| Place::KindAndKey(kind, *key)))
                .collect();
        }
    }
    kinds().map(Place::Kind).collect()
}
