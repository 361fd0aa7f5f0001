//! What the pool does with everything that relays say. Runs in the connection's own task, so an event reaches its
//! subscriber over one channel.
//!
//! Order of the checks: known subscription, seen before (by a verified id), verified, matching, in time. A copy that
//! is dropped as seen has an id that was verified before; anything else is verified before it is believed.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use fedai_protocol::event_kinds::{EPHEMERAL_GIFT_WRAP, KindClass};
use fedai_protocol::message::Draft;
use fedai_protocol::verified_event::{TimeError, VerifyError};
use fedai_protocol::{PublicKey, SigningKey, VerifiedEvent};
use nostr::{Event, EventId};
use tokio::time::Instant;

use crate::connection::{Command, ConnectionState, Incoming, IncomingSink, SendError};
use crate::drop_counts::DropReason;
use crate::entropy::SystemEntropy;
use crate::lock::{lock, read};
use crate::pool_link::Link;
use crate::relay_pool::PoolInner;
use crate::wall_clock;
use crate::wire_subscription::WireSubscription;

/// First wait before a subscription that a relay ended is asked for again; doubles up to a minute.
const CLOSED_BACKOFF: Duration = Duration::from_millis(500);
const CLOSED_BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Kind of the answer to a challenge (NIP-42).
const AUTH_KIND: u16 = 22_242;

/// Connects one link's connection with the pool, without keeping the pool alive.
pub(crate) struct LinkSink {
    pub(crate) pool: Weak<PoolInner>,
    pub(crate) link: Arc<Link>,
}

/// A relay's word on an event.
#[derive(Clone, Debug)]
pub(crate) struct Ack {
    pub(crate) link: usize,
    pub(crate) accepted: bool,
    pub(crate) message: String,
}

impl IncomingSink for LinkSink {
    fn incoming(&self, message: Incoming) {
        if let Some(pool) = self.pool.upgrade() {
            pool.incoming(&self.link, message);
        }
    }
}

impl PoolInner {
    fn incoming(self: &Arc<Self>, link: &Arc<Link>, message: Incoming) {
        if !matches!(message, Incoming::State(..) | Incoming::Lagged(_)) {
            link.heard(wall_clock::now_seconds());
        }
        match message {
            Incoming::Event { subscription, event } => self.event(link, &subscription, *event),
            Incoming::EndOfStored { subscription } => {
                if let Some(wire) = self.subscription(&subscription) {
                    wire.listeners().iter().for_each(|listener| listener.end_of_stored(link.number));
                }
            }
            Incoming::Closed { subscription, message } => self.closed(link, &subscription, &message),
            Incoming::Ok { event_id, accepted, message } => {
                self.acknowledged(link, event_id, accepted, message)
            }
            Incoming::State(state, reason) => self.state_changed(link, state, reason),
            Incoming::Auth(challenge) => answer_challenge(link, &challenge),
            Incoming::Notice(text) => tracing::debug!(relay = %link.url, notice = ?text, "relay says"),
            Incoming::Lagged(lost) => self.lagged(link, lost),
            Incoming::Unreadable { oversize } => {
                link.dropped.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(relay = %link.url, oversize, "unreadable message");
                self.drops.count(DropReason::Oversize);
            }
            Incoming::RoundTrip(rtt) => link.set_rtt(rtt),
        }
    }

    fn event(&self, link: &Link, subscription: &str, event: Event) {
        link.received.fetch_add(1, Ordering::Relaxed);
        let Some(wire) = self.subscription(subscription) else {
            return self.kept_out(link, DropReason::NotMatching);
        };
        let (id, author, kind) = (event.id, event.pubkey, event.kind.as_u16());
        let outcome = self.admit(&wire, event);
        for listener in wire.listeners().iter() {
            if let Some(sightings) = listener.sightings_of(kind)
                && self.is_genuine(outcome, id, author)
            {
                sightings.note(author, &link.url, wall_clock::now_seconds());
            }
        }
        match outcome {
            // Asked for by somebody who has left since.
            Err(DropReason::NotMatching) if wire.is_shared => self.drops.count(DropReason::NotMatching),
            Err(reason) => self.kept_out(link, reason),
            Ok(()) => {}
        }
    }

    fn kept_out(&self, link: &Link, reason: DropReason) {
        self.drops.count(reason);
        if reason != DropReason::Replay {
            link.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// True for an event that was let in, and for a copy of one that was verified before.
    fn is_genuine(&self, outcome: Result<(), DropReason>, id: EventId, author: PublicKey) -> bool {
        match outcome {
            Ok(()) => true,
            Err(DropReason::Replay) => {
                lock(&self.cache).get(&id).is_some_and(|known| known.author() == author)
            }
            Err(_) => false,
        }
    }

    fn admit(&self, wire: &WireSubscription, event: Event) -> Result<(), DropReason> {
        if wire.has_seen(&event.id) {
            return Err(DropReason::Replay);
        }
        let event = self.verified(event)?;
        let listeners = wire.listeners();
        let mut wanting = listeners.iter().filter(|listener| listener.matches(&event)).peekable();
        if wanting.peek().is_none() {
            return Err(DropReason::NotMatching);
        }
        let now = wall_clock::now_seconds();
        let in_time = event.check_time(now);
        if KindClass::of(event.kind()) == KindClass::Ephemeral && event.kind() != EPHEMERAL_GIFT_WRAP {
            lock(&self.skew).observe(event.author(), event.created_at(), now);
        }
        if self.check_time {
            in_time.map_err(|error| match error {
                TimeError::Expired => DropReason::Expired,
                TimeError::Future | TimeError::TooOld => DropReason::Stale,
            })?;
        }
        // Each of them is to have it, also after one that is too slow.
        let late = wanting.filter(|listener| !listener.deliver(event.clone())).count();
        if late == 0 { Ok(()) } else { Err(DropReason::SlowConsumer) }
    }

    fn verified(&self, event: Event) -> Result<VerifiedEvent, DropReason> {
        if let Some(known) = lock(&self.cache).get(&event.id) {
            return Ok(known);
        }
        let event = VerifiedEvent::from_event(event).map_err(|error| match error {
            VerifyError::TooLarge | VerifyError::TooManyTags => DropReason::Oversize,
            VerifyError::Json | VerifyError::Id | VerifyError::Signature => DropReason::BadSignature,
        })?;
        lock(&self.cache).insert(event.clone());
        Ok(event)
    }

    fn acknowledged(&self, link: &Link, event_id: EventId, accepted: bool, message: String) {
        if !accepted && !lock(&self.skew).observe_refusal(&message, wall_clock::now_seconds()) {
            tracing::debug!(relay = %link.url, reason = ?message, "event refused");
        }
        let waiting = lock(&self.acks).get(&event_id).cloned().unwrap_or_default();
        if waiting.is_empty() && !accepted {
            link.dropped.fetch_add(1, Ordering::Relaxed);
            link.set_error(message.clone());
        }
        for waiter in waiting {
            // A waiter that has gone had enough acknowledgements.
            drop(waiter.send(Ack { link: link.number, accepted, message: message.clone() }));
        }
    }

    fn state_changed(self: &Arc<Self>, link: &Arc<Link>, state: ConnectionState, reason: Option<String>) {
        match (&state, &reason) {
            (ConnectionState::Connected, _) => tracing::info!(relay = %link.url, "connected"),
            (_, Some(reason)) => tracing::debug!(relay = %link.url, ?reason, "not connected"),
            _ => {}
        }
        link.set_state(state, reason);
        // A loss may be noticed long after it happened: this machine may have slept since.
        let heard = link.last_heard().min(wall_clock::now_seconds());
        for wire in self.asked_of(link) {
            match state {
                ConnectionState::Connected => {
                    lock(&wire.asking).remove(&link.number);
                    self.request(&wire, link);
                }
                _ => wire.listeners().iter().for_each(|listener| listener.disconnected(link.number, heard)),
            }
        }
        self.bump();
    }

    fn closed(self: &Arc<Self>, link: &Arc<Link>, subscription: &str, message: &str) {
        let Some(wire) = self.subscription(subscription) else { return };
        let times = wire.listeners().iter().map(|listener| listener.closed(link.number)).max().unwrap_or(1);
        tracing::warn!(relay = %link.url, reason = ?message, times, "relay ended a subscription; asking again");
        self.request_later(&wire, link, times, &mut lock(&wire.asking));
        link.set_error(format!("subscription ended: {message}"));
    }

    fn lagged(self: &Arc<Self>, link: &Arc<Link>, lost: u64) {
        tracing::warn!(relay = %link.url, lost, "messages were lost inside the library; asking again");
        link.dropped.fetch_add(lost, Ordering::Relaxed);
        for wire in self.asked_of(link) {
            wire.listeners().iter().for_each(|listener| listener.forget_progress(link.number));
            self.request(&wire, link);
        }
    }

    fn asked_of(&self, link: &Link) -> Vec<Arc<WireSubscription>> {
        let mut all = read(&self.subscriptions).all();
        all.retain(|wire| link.serves(wire.role));
        all
    }

    /// Sends to a relay that is up what is asked for under an id.
    pub(crate) fn request(self: &Arc<Self>, wire: &WireSubscription, link: &Arc<Link>) {
        let mut later = lock(&wire.asking);
        // Who joins while the relay is given a pause is asked for at its end.
        if !link.is_connected() || wire.is_shared && later.contains(&link.number) {
            return;
        }
        let at = Instant::now();
        let filters = wire.begin_request(link.number, wall_clock::now_seconds(), at);
        let id = wire.id.clone();
        let command =
            if filters.is_empty() { Command::Unsubscribe { id } } else { Command::Subscribe { id, filters } };
        if let Err(error) = link.connection().send(command) {
            wire.request_failed(link.number, at);
            if error == SendError::Full {
                self.request_later(wire, link, 1, &mut later);
            }
        }
    }

    /// Asks again after a pause, unless there is one already: each request of many may be answered by an end.
    fn request_later(
        self: &Arc<Self>,
        wire: &WireSubscription,
        link: &Arc<Link>,
        times: u32,
        later: &mut BTreeSet<usize>,
    ) {
        if !later.insert(link.number) {
            return;
        }
        let wait = CLOSED_BACKOFF.saturating_mul(2_u32.saturating_pow(times.saturating_sub(1).min(10)));
        let (pool, link, id) = (Arc::downgrade(self), Arc::downgrade(link), wire.id.clone());
        self.runtime.spawn(async move {
            tokio::time::sleep(wait.min(CLOSED_BACKOFF_MAX)).await;
            let (Some(pool), Some(link)) = (pool.upgrade(), link.upgrade()) else { return };
            if let Some(wire) = pool.subscription(&id) {
                lock(&wire.asking).remove(&link.number);
                pool.request(&wire, &link);
            }
        });
    }
}

/// Answers with a throwaway key: an identity must not be told to a relay. Without `auth = true` nothing is said.
fn answer_challenge(link: &Link, challenge: &str) {
    if !link.auth {
        return;
    }
    let key = SigningKey::generate(&mut SystemEntropy);
    let tags =
        vec![vec!["relay".to_owned(), link.url.clone()], vec!["challenge".to_owned(), challenge.to_owned()]];
    let draft = Draft::new(AUTH_KIND, tags, String::new(), wall_clock::now_seconds());
    if let Err(error) = link.connection().send(Command::Auth(key.sign(draft, &mut SystemEntropy))) {
        tracing::debug!(relay = %link.url, %error, "challenge not answered");
    }
}
