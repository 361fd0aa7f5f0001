//! A standing question to all relays of a role.
//!
//! What comes out was verified, matches the filters as they are now, is in time, and comes once whatever the number
//! of relays. A consumer that is too slow loses events only against a counter. Dropping the subscription ends it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use fedai_protocol::event_kinds::KindClass;
use fedai_protocol::limits::{EPHEMERAL_AGE_SECONDS_MAX, SUBSCRIPTION_EVENTS_MAX};
use fedai_protocol::{UnixSeconds, VerifiedEvent};
use nostr::filter::MatchEventOptions;
use nostr::{EventId, Filter, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::event_cache::SeenEvents;
use crate::lock::lock;
use crate::relay_list::RelayRole;
use crate::relay_pool::RelayPool;
use crate::sightings::Sightings;
use crate::wire_subscription::{Place, keys_to_share};

/// A relay that says nothing after a REQ is taken to have it after this long: not all send EOSE. Long enough for a
/// relay under load to have read the REQ: an ephemeral answer that comes before that is lost for good.
const ASSUMED_LIVE_AFTER: Duration = Duration::from_secs(3);
/// How often a relay that says nothing is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How far before the loss of a connection the catch-up begins: authors' clocks differ, and events are resent late.
const CATCH_UP_MARGIN_SECONDS: u64 = 900;
/// Ephemeral kinds are asked for from this long ago: some relays keep them for minutes.
const EPHEMERAL_SINCE_SECONDS: u64 = EPHEMERAL_AGE_SECONDS_MAX + 30;

/// Events that match some filters, from all relays of a role.
pub struct Subscription {
    pool: RelayPool,
    state: Arc<SubscriptionState>,
    queue: mpsc::Receiver<VerifiedEvent>,
    has_place: bool,
}

impl Subscription {
    pub(crate) fn new(pool: RelayPool, place: Place) -> Self {
        let Place { state, queue, wire } = place;
        Self { pool, state, queue, has_place: wire.is_some() }
    }

    /// False when this process had too many when this one was made: it hears nothing, for good.
    #[must_use]
    pub const fn has_place(&self) -> bool {
        self.has_place
    }

    /// The next event. `None` only after the pool was shut down. Cancel-safe.
    pub async fn recv(&mut self) -> Option<VerifiedEvent> {
        self.queue.recv().await
    }

    /// [`Subscription::recv`] for who waits for several at once.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<VerifiedEvent>> {
        self.queue.poll_recv(context)
    }

    /// The next event, if one is waiting.
    pub fn try_recv(&mut self) -> Option<VerifiedEvent> {
        self.queue.try_recv().ok()
    }

    /// Waits until at least one relay has the current filters; how many have. 0 when the time is over.
    ///
    /// A relay has them when it has sent EOSE, or said nothing for three seconds after it was handed the REQ. Under a
    /// shared id that EOSE may be an earlier one's: then the REQ is under way before what is published next.
    pub async fn ready(&self, timeout: Duration) -> usize {
        self.wait(Instant::now() + timeout, || self.live_relays()).await
    }

    /// [`Subscription::ready`], but content from half the time on with a relay that was only handed the REQ: the
    /// other half is for the answer.
    pub(crate) async fn ready_to_ask(&self, timeout: Duration) -> usize {
        match self.ready(timeout / 2).await {
            0 => self.wait(Instant::now() + timeout / 2, || self.requested_relays()).await,
            live => live,
        }
    }

    async fn wait(&self, deadline: Instant, relays: impl Fn() -> usize) -> usize {
        let mut progress = self.state.progress.subscribe();
        loop {
            let found = relays();
            if found > 0 || Instant::now() >= deadline {
                return found;
            }
            let look_again = deadline.min(Instant::now() + LOOK_AGAIN);
            // Both outcomes lead to another look.
            drop(tokio::time::timeout_at(look_again, progress.changed()).await);
        }
    }

    fn requested_relays(&self) -> usize {
        self.pool.links(|link| link.is_connected() && self.state.is_requested(link.number)).len()
    }

    /// Relays that have the current filters.
    #[must_use]
    pub fn live_relays(&self) -> usize {
        self.pool.links(|link| link.is_connected() && self.state.is_live(link.number)).len()
    }

    /// Replaces the filters, under the same subscription id: what both match is not interrupted.
    pub fn update(&self, filters: Vec<Filter>) {
        self.state.replace_filters(filters);
        self.pool.request_again(&self.state);
    }

    /// Remembers from now on by which relays authors of these kinds are heard. The kinds of the first call count.
    #[must_use]
    pub fn watch(&self, kinds: &[u16]) -> Arc<Sightings> {
        Arc::clone(self.state.sightings.get_or_init(|| Arc::new(Sightings::new(kinds))))
    }

    /// Events lost because this consumer was too slow.
    #[must_use]
    pub fn gaps(&self) -> u64 {
        self.state.gaps.load(Ordering::Relaxed)
    }

    /// True when every connected relay of the role has sent all it had (or has ended the subscription).
    pub(crate) fn is_complete(&self) -> bool {
        let connected = self.pool.links(|link| link.is_connected() && link.serves(self.state.role));
        !connected.is_empty() && connected.iter().all(|link| self.state.is_answered(link.number))
    }

    pub(crate) fn progress(&self) -> watch::Receiver<u64> {
        self.state.progress.subscribe()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.pool.end_subscription(&self.state);
    }
}

/// Answers to one question, until a deadline.
pub struct Replies {
    subscription: Subscription,
    deadline: Instant,
    asked: usize,
}

impl Replies {
    pub(crate) fn new(subscription: Subscription, deadline: Instant, asked: usize) -> Self {
        Self { subscription, deadline, asked }
    }

    /// The next answer; `None` when the deadline has passed.
    pub async fn next(&mut self) -> Option<VerifiedEvent> {
        tokio::time::timeout_at(self.deadline, self.subscription.recv()).await.ok().flatten()
    }

    /// Relays that were handed the question. 0: nobody can answer.
    #[must_use]
    pub const fn asked(&self) -> usize {
        self.asked
    }

    /// Goes on receiving without a deadline.
    #[must_use]
    pub fn into_subscription(self) -> Subscription {
        self.subscription
    }
}

/// The newest version of each address (`kind:author:d`): greatest `created_at`, then smallest id. Other kinds pass
/// unchanged. The order of the rest is kept.
#[must_use]
pub fn newest_per_address(events: Vec<VerifiedEvent>) -> Vec<VerifiedEvent> {
    let key = |event: &VerifiedEvent| {
        let identifier = match KindClass::of(event.kind()) {
            KindClass::Addressable => event.tag("d").unwrap_or_default().to_owned(),
            KindClass::Replaceable => String::new(),
            _ => return None,
        };
        Some((event.kind(), event.author(), identifier))
    };
    let mut newest: HashMap<_, (UnixSeconds, EventId)> = HashMap::new();
    for event in &events {
        let Some(address) = key(event) else { continue };
        let candidate = (event.created_at(), event.id());
        let slot = newest.entry(address).or_insert(candidate);
        if candidate.0 > slot.0 || (candidate.0 == slot.0 && candidate.1 < slot.1) {
            *slot = candidate;
        }
    }
    let mut kept = std::collections::HashSet::new();
    events
        .into_iter()
        .filter(|event| key(event).is_none_or(|a| newest.get(&a).is_some_and(|(_, id)| *id == event.id())))
        .filter(|event| kept.insert(event.id()))
        .collect()
}

/// What the pool keeps of a subscription.
pub(crate) struct SubscriptionState {
    /// The id that relays know; others may share it.
    pub(crate) id: String,
    pub(crate) role: RelayRole,
    filters: Mutex<Arc<[Filter]>>,
    keys: AtomicUsize,
    seen: Mutex<SeenEvents>,
    queue: mpsc::Sender<VerifiedEvent>,
    links: Mutex<HashMap<usize, Progress>>,
    progress: watch::Sender<u64>,
    gaps: AtomicU64,
    sightings: OnceLock<Arc<Sightings>>,
}

/// How far one relay is with one subscription.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    requested_at: Option<Instant>,
    end_of_stored: bool,
    closed_times: u32,
    complete_until: Option<UnixSeconds>,
}

impl SubscriptionState {
    pub(crate) fn new(
        id: String,
        role: RelayRole,
        filters: Vec<Filter>,
    ) -> (Arc<Self>, mpsc::Receiver<VerifiedEvent>) {
        let (queue, receiver) = mpsc::channel(SUBSCRIPTION_EVENTS_MAX);
        let state = Self {
            id,
            role,
            keys: AtomicUsize::new(keys_to_share(&filters).unwrap_or_default()),
            filters: Mutex::new(filters.into()),
            seen: Mutex::default(),
            queue,
            links: Mutex::default(),
            progress: watch::Sender::new(0),
            gaps: AtomicU64::new(0),
            sightings: OnceLock::new(),
        };
        (Arc::new(state), receiver)
    }

    pub(crate) fn sightings_of(&self, kind: u16) -> Option<&Sightings> {
        self.sightings.get().map(Arc::as_ref).filter(|sightings| sightings.is_watched(kind))
    }

    pub(crate) fn has_seen(&self, id: &EventId) -> bool {
        lock(&self.seen).contains(id)
    }

    /// Keys that its filters name.
    pub(crate) fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    pub(crate) fn matches(&self, event: &VerifiedEvent) -> bool {
        let filters = Arc::clone(&lock(&self.filters));
        filters.iter().any(|filter| filter.match_event(event.as_event(), MatchEventOptions::new()))
    }

    /// Queues a verified event once; false when the consumer is too slow for it.
    pub(crate) fn deliver(&self, event: VerifiedEvent) -> bool {
        let mut seen = lock(&self.seen);
        let id = event.id();
        if seen.contains(&id) {
            return true;
        }
        match self.queue.try_send(event) {
            Ok(()) => {
                seen.insert(id);
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                if self.gaps.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::warn!(subscription = %self.id, "consumer is too slow: events are being lost");
                }
                false
            }
        }
    }

    fn replace_filters(&self, filters: Vec<Filter>) {
        self.keys.store(keys_to_share(&filters).unwrap_or_default(), Ordering::Relaxed);
        *lock(&self.filters) = filters.into();
        lock(&self.links).clear();
    }

    /// The filters to send to a relay now, and notes that they were sent. Those of who shares an id are mostly sent
    /// again because another one joined: what is live stays live.
    pub(crate) fn begin_request(
        &self,
        link: usize,
        now: UnixSeconds,
        at: Instant,
        is_shared: bool,
    ) -> Vec<Filter> {
        let mut links = lock(&self.links);
        let progress = links.entry(link).or_default();
        if !is_shared || progress.requested_at.is_none() {
            progress.requested_at = Some(at);
            progress.end_of_stored = false;
        }
        let complete_until = progress.complete_until;
        drop(links);
        let filters = Arc::clone(&lock(&self.filters));
        filters.iter().map(|filter| with_since(filter.clone(), complete_until, now)).collect()
    }

    /// What was begun then could not be handed over.
    pub(crate) fn request_failed(&self, link: usize, at: Instant) {
        let mut links = lock(&self.links);
        if let Some(progress) = links.get_mut(&link).filter(|progress| progress.requested_at == Some(at)) {
            progress.requested_at = None;
        }
    }

    pub(crate) fn end_of_stored(&self, link: usize) {
        let mut links = lock(&self.links);
        let progress = links.entry(link).or_default();
        progress.end_of_stored = true;
        progress.closed_times = 0;
        drop(links);
        self.bump();
    }

    /// The relay ended it; how often in a row it did.
    pub(crate) fn closed(&self, link: usize) -> u32 {
        let mut links = lock(&self.links);
        let progress = links.entry(link).or_default();
        progress.requested_at = None;
        progress.end_of_stored = false;
        progress.closed_times = progress.closed_times.saturating_add(1);
        let times = progress.closed_times;
        drop(links);
        self.bump();
        times
    }

    /// The connection was lost: what was complete is complete up to the relay's last word.
    pub(crate) fn disconnected(&self, link: usize, last_heard: UnixSeconds) {
        let mut links = lock(&self.links);
        let progress = links.entry(link).or_default();
        if progress.end_of_stored {
            progress.complete_until = Some(last_heard);
        }
        progress.requested_at = None;
        progress.end_of_stored = false;
        drop(links);
        self.bump();
    }

    /// Something was lost on the way from this relay: ask again from the beginning.
    pub(crate) fn forget_progress(&self, link: usize) {
        lock(&self.links).remove(&link);
    }

    pub(crate) fn is_live(&self, link: usize) -> bool {
        let progress = lock(&self.links).get(&link).copied().unwrap_or_default();
        progress.end_of_stored || progress.requested_at.is_some_and(|at| at.elapsed() >= ASSUMED_LIVE_AFTER)
    }

    fn is_requested(&self, link: usize) -> bool {
        let progress = lock(&self.links).get(&link).copied().unwrap_or_default();
        progress.end_of_stored || progress.requested_at.is_some()
    }

    fn is_answered(&self, link: usize) -> bool {
        let progress = lock(&self.links).get(&link).copied().unwrap_or_default();
        progress.end_of_stored || progress.closed_times > 0
    }

    fn bump(&self) {
        self.progress.send_modify(|n| *n = n.wrapping_add(1));
    }
}

/// Who has set a time for short-lived events knows why: relays apply it to what comes live, too.
fn with_since(filter: Filter, complete_until: Option<UnixSeconds>, now: UnixSeconds) -> Filter {
    let is_ephemeral = |kind: &nostr::Kind| KindClass::of(kind.as_u16()) == KindClass::Ephemeral;
    let only_ephemeral =
        filter.kinds.as_ref().is_some_and(|kinds| !kinds.is_empty() && kinds.iter().all(is_ephemeral));
    let from = if only_ephemeral {
        filter.since.is_none().then(|| now.minus(EPHEMERAL_SINCE_SECONDS))
    } else {
        complete_until.map(|at| at.minus(CATCH_UP_MARGIN_SECONDS))
    };
    match from.map(|from| Timestamp::from_secs(from.0)) {
        Some(from) if filter.since.is_none_or(|since| since < from) => filter.since(from),
        _ => filter,
    }
}
