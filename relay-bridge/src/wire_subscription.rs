//! What relays know as one subscription of ours.
//!
//! Mostly one [`crate::Subscription`] has it alone. A relay allows a connection some twenty, so beyond a few, those
//! that ask for short-lived events to their keys (answers of routers, frames of sessions) share a few: when one more
//! joins, the same id is asked for again with the keys of all.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, RwLock};

use fedai_protocol::event_kinds::KindClass;
use fedai_protocol::limits::{
    RELAY_SHARED_KEYS_MAX, RELAY_SHARED_SUBSCRIPTIONS_MAX, RELAY_SUBSCRIPTIONS_MAX,
};
use fedai_protocol::{UnixSeconds, VerifiedEvent};
use nostr::{Alphabet, EventId, Filter, SingleLetterTag};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::lock::{read, write};
use crate::relay_list::RelayRole;
use crate::subscription::SubscriptionState;

/// All of one process, by the id that relays know.
pub(crate) struct WireSubscriptions {
    by_id: HashMap<String, Arc<WireSubscription>>,
    next: u64,
    alone_max: usize,
}

/// One id, and who listens under it.
pub(crate) struct WireSubscription {
    pub(crate) id: String,
    pub(crate) role: RelayRole,
    pub(crate) is_shared: bool,
    listeners: RwLock<Listeners>,
    /// Held from the look at the listeners until a relay was handed what they ask for, so that no older request comes
    /// after a newer one. Relays that are to be asked again later.
    pub(crate) asking: Mutex<BTreeSet<usize>>,
}

/// Cheap to take out of its lock, which happens for each event.
type Listeners = Arc<[Arc<SubscriptionState>]>;

/// Where a new subscription is.
pub(crate) struct Place {
    pub(crate) state: Arc<SubscriptionState>,
    pub(crate) queue: mpsc::Receiver<VerifiedEvent>,
    /// None when there was no room: it hears nothing.
    pub(crate) wire: Option<Arc<WireSubscription>>,
}

/// What is left to tell relays when a subscription has ended.
pub(crate) enum Ended {
    /// Nothing: it has ended before, or others listen under the same id.
    Nothing,
    /// Nobody listens under its id any more.
    Id(Arc<WireSubscription>),
}

impl WireSubscriptions {
    /// None yet. So many for prompt traffic may be alone.
    pub(crate) fn new(alone_max: usize) -> Self {
        Self { by_id: HashMap::new(), next: 0, alone_max }
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<WireSubscription>> {
        self.by_id.get(id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<WireSubscription>> {
        self.by_id.values().cloned().collect()
    }

    pub(crate) fn clear(&mut self) {
        self.by_id.clear();
    }

    /// Finds a place for one more.
    pub(crate) fn place(&mut self, role: RelayRole, filters: Vec<Filter>) -> Place {
        let wire = self.room(role, &filters);
        let id = wire.as_ref().map_or_else(|| "silent".to_owned(), |wire| wire.id.clone());
        let (state, queue) = SubscriptionState::new(id, role, filters);
        if let Some(wire) = &wire {
            wire.change(|listeners| listeners.push(Arc::clone(&state)));
        }
        Place { state, queue, wire }
    }

    /// Takes one out.
    pub(crate) fn end(&mut self, ended: &SubscriptionState) -> Ended {
        let Some(wire) = self.by_id.get(&ended.id) else { return Ended::Nothing };
        let is_left = wire.change(|listeners| {
            listeners.retain(|listener| !core::ptr::eq(&raw const **listener, ended));
            !listeners.is_empty()
        });
        if is_left {
            // Its keys go with the next request. Until then what comes to them is nobody's.
            return Ended::Nothing;
        }
        self.by_id.remove(&ended.id).map_or(Ended::Nothing, Ended::Id)
    }

    fn room(&mut self, role: RelayRole, filters: &[Filter]) -> Option<Arc<WireSubscription>> {
        let prompt = |wire: &&Arc<WireSubscription>| wire.role != RelayRole::Discovery;
        let alone = self.by_id.values().filter(prompt).filter(|wire| !wire.is_shared).count();
        let Some(keys) = keys_to_share(filters).filter(|_| alone >= self.alone_max) else {
            return (self.by_id.len() < RELAY_SUBSCRIPTIONS_MAX).then(|| self.open(role, false));
        };
        let shared = self.by_id.values().filter(|wire| wire.is_shared && wire.role == role);
        let (count, least) = shared.fold((0, None), |(count, least), wire| {
            let held = wire.keys();
            let is_less = least.as_ref().is_none_or(|(least, _)| held < *least);
            (count + 1, if is_less { Some((held, Arc::clone(wire))) } else { least })
        });
        match least {
            Some((held, wire)) if count >= RELAY_SHARED_SUBSCRIPTIONS_MAX => {
                (held.saturating_add(keys) <= RELAY_SHARED_KEYS_MAX).then_some(wire)
            }
            _ => Some(self.open(role, true)),
        }
    }

    fn open(&mut self, role: RelayRole, is_shared: bool) -> Arc<WireSubscription> {
        let id = format!("fed{}", self.next);
        self.next = self.next.wrapping_add(1);
        let (listeners, asking) = (RwLock::new(Vec::new().into()), Mutex::default());
        let wire = Arc::new(WireSubscription { id, role, is_shared, listeners, asking });
        self.by_id.insert(wire.id.clone(), Arc::clone(&wire));
        wire
    }
}

impl WireSubscription {
    /// Everybody who listens under this id.
    pub(crate) fn listeners(&self) -> Listeners {
        Arc::clone(&read(&self.listeners))
    }

    /// One of them had it, so whoever it is for had it.
    pub(crate) fn has_seen(&self, id: &EventId) -> bool {
        read(&self.listeners).iter().any(|listener| listener.has_seen(id))
    }

    /// The filters to send to a relay now, and notes that they were sent.
    pub(crate) fn begin_request(&self, link: usize, now: UnixSeconds, at: Instant) -> Vec<Filter> {
        let listeners = self.listeners();
        let each =
            listeners.iter().flat_map(|listener| listener.begin_request(link, now, at, self.is_shared));
        if self.is_shared { merged(each) } else { each.collect() }
    }

    /// What was begun then could not be handed over.
    pub(crate) fn request_failed(&self, link: usize, at: Instant) {
        for listener in self.listeners().iter() {
            listener.request_failed(link, at);
        }
    }

    fn keys(&self) -> usize {
        self.listeners().iter().map(|listener| listener.keys()).sum()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<Arc<SubscriptionState>>) -> T) -> T {
        let mut listeners = write(&self.listeners);
        let mut changed = listeners.to_vec();
        let outcome = change(&mut changed);
        *listeners = changed.into();
        outcome
    }
}

/// The number of keys that filters name, if others may be asked for beside them: only such that name short-lived kinds
/// and keys, and nothing else.
pub(crate) fn keys_to_share(filters: &[Filter]) -> Option<usize> {
    let keys = filters.iter().map(|filter| {
        let kinds = filter.kinds.iter().flatten();
        let is_short_lived = kinds.clone().count() > 0
            && kinds.clone().all(|kind| KindClass::of(kind.as_u16()) == KindClass::Ephemeral);
        let (rest, keys) = without_keys(filter.clone());
        let is_all = Filter { kinds: rest.kinds.clone(), ..Filter::default() } == rest;
        (is_short_lived && is_all && !keys.is_empty()).then_some(keys.len())
    });
    keys.sum::<Option<usize>>().filter(|keys| *keys > 0)
}

/// One filter for all that differ in their keys only.
fn merged(filters: impl Iterator<Item = Filter>) -> Vec<Filter> {
    let mut all: Vec<(Filter, BTreeSet<String>)> = Vec::new();
    for filter in filters {
        let (rest, keys) = without_keys(filter);
        match all.iter_mut().find(|(same, _)| *same == rest) {
            Some((_, known)) => known.extend(keys),
            None => all.push((rest, keys)),
        }
    }
    all.into_iter().map(|(rest, keys)| rest.custom_tags(ADDRESSEE, keys)).collect()
}

fn without_keys(mut filter: Filter) -> (Filter, BTreeSet<String>) {
    let keys = filter.generic_tags.remove(&ADDRESSEE).unwrap_or_default();
    (filter, keys)
}

/// The tag by which events are addressed.
const ADDRESSEE: SingleLetterTag = SingleLetterTag::lowercase(Alphabet::P);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by it")]
mod tests {
    use fedai_protocol::event_kinds::{QUOTE, RECEIPT, SESSION_FRAME};
    use fedai_protocol::{PublicKey, SigningKey};

    use super::*;
    use crate::entropy::SystemEntropy;
    use crate::filters;

    const ALONE: usize = 3;

    fn key() -> PublicKey {
        SigningKey::generate(&mut SystemEntropy).public_key()
    }

    fn frames_to(keys: impl IntoIterator<Item = PublicKey>) -> Vec<Filter> {
        vec![filters::of_kinds_to(&[SESSION_FRAME], keys)]
    }

    #[test]
    fn only_short_lived_kinds_by_key_and_nothing_else_are_shared() {
        let to_key = || filters::of_kinds_to(&[SESSION_FRAME], [key()]);
        let cases = [
            (vec![to_key()], Some(1)),
            (vec![to_key(), filters::of_kinds_to(&[QUOTE, SESSION_FRAME], [key(), key()])], Some(3)),
            (vec![], None),
            (vec![filters::of_kinds(&[SESSION_FRAME])], None),
            (vec![to_key(), filters::of_kinds(&[SESSION_FRAME])], None),
            (vec![filters::of_kinds_to(&[RECEIPT], [key()])], None),
            (vec![to_key().author(key())], None),
            (vec![to_key().limit(1)], None),
            (vec![filters::with_tag(to_key(), 'e', ["x"])], None),
            (vec![Filter::new().pubkey(key())], None),
        ];
        for (filters, keys) in cases {
            assert_eq!(keys_to_share(&filters), keys, "{filters:?}");
        }
    }

    #[test]
    fn the_first_have_ids_of_their_own_and_further_ones_share_two_for_each_role() {
        let mut all = WireSubscriptions::new(ALONE);
        let mut places = Vec::new();
        for role in [RelayRole::Stream, RelayRole::Control] {
            for _ in 0..40 {
                places.push(all.place(role, frames_to([key()])));
            }
        }
        let ids: BTreeSet<&str> = places.iter().map(|place| place.state.id.as_str()).collect();
        assert_eq!(ids.len(), ALONE + 2 * RELAY_SHARED_SUBSCRIPTIONS_MAX);
        let sizes: BTreeSet<usize> = all.all().iter().map(|wire| wire.keys()).collect();
        assert_eq!(sizes, BTreeSet::from([1, 18, 19, 20]), "shared evenly");
        // What cannot be shared has an id of its own, also beyond those.
        let stored = all.place(RelayRole::Discovery, vec![filters::of_kinds(&[RECEIPT])]);
        assert!(!stored.wire.unwrap().is_shared);
        assert_eq!(all.all().len(), ids.len() + 1);
    }

    #[test]
    fn a_shared_request_names_the_keys_of_all_who_are_there() {
        let mut all = WireSubscriptions::new(0);
        let keys: Vec<PublicKey> = (0..RELAY_SHARED_SUBSCRIPTIONS_MAX + 2).map(|_| key()).collect();
        let places: Vec<Place> =
            keys.iter().map(|key| all.place(RelayRole::Stream, frames_to([*key]))).collect();
        let wire = places[0].wire.clone().unwrap();
        let now = UnixSeconds(1_800_000_000);
        let asked = wire.begin_request(0, now, Instant::now());
        let mine: BTreeSet<String> =
            (0..keys.len()).filter(|n| places[*n].state.id == wire.id).map(|n| keys[n].to_hex()).collect();
        assert_eq!((asked.len(), &asked[0].generic_tags[&ADDRESSEE], mine.len()), (1, &mine, 2));
        assert!(matches!(all.end(&places[0].state), Ended::Nothing), "another one listens");
        let left = wire.begin_request(0, now, Instant::now());
        assert_eq!(left[0].generic_tags[&ADDRESSEE].len(), 1);
        assert!(matches!(all.end(&places[0].state), Ended::Nothing), "ended before");
        let other = places.iter().skip(1).find(|place| place.state.id == wire.id).unwrap();
        assert!(matches!(all.end(&other.state), Ended::Id(_)));
        assert!(all.get(&wire.id).is_none());
    }

    #[test]
    fn what_is_live_stays_so_when_another_one_joins() {
        let mut all = WireSubscriptions::new(0);
        let first = all.place(RelayRole::Stream, frames_to([key()]));
        let wire = first.wire.unwrap();
        let now = UnixSeconds(1_800_000_000);
        wire.begin_request(0, now, Instant::now());
        first.state.end_of_stored(0);
        wire.begin_request(0, now, Instant::now());
        assert!(first.state.is_live(0));
        first.state.closed(0);
        wire.begin_request(0, now, Instant::now());
        assert!(!first.state.is_live(0), "the relay had ended it");
    }

    #[test]
    fn short_lived_events_are_asked_for_since_two_minutes_unless_a_time_was_given() {
        let mut all = WireSubscriptions::new(ALONE);
        let now = UnixSeconds(1_800_000_000);
        for (filter, since) in [
            (filters::of_kinds(&[SESSION_FRAME]), now.minus(120)),
            (filters::since(filters::of_kinds(&[SESSION_FRAME]), UnixSeconds(0)), UnixSeconds(0)),
        ] {
            let wire = all.place(RelayRole::Stream, vec![filter]).wire.unwrap();
            let asked = wire.begin_request(0, now, Instant::now());
            assert_eq!(asked[0].since.unwrap().as_secs(), since.0);
        }
    }

    #[test]
    fn there_is_a_limit_on_keys() {
        let mut all = WireSubscriptions::new(0);
        let room = RELAY_SHARED_KEYS_MAX * RELAY_SHARED_SUBSCRIPTIONS_MAX;
        let places: Vec<Place> =
            (0..=room).map(|_| all.place(RelayRole::Stream, frames_to([key()]))).collect();
        assert!(places[..room].iter().all(|place| place.wire.is_some()) && places[room].wire.is_none());
    }
}
