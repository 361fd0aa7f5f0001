//! The only door for an event: its size, id and signature were checked, once, when it was made.
//!
//! Every typed message is parsed from a [`VerifiedEvent`], also the events that travel inside other messages: its
//! `Deserialize` verifies. There is no way to hold one that was not verified.

use std::cell::RefCell;
use std::sync::Arc;

use nostr::{Event, EventId, JsonUtil, PublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::crypto_counts::{CryptoStep, note};
use crate::event_id::event_id;
use crate::event_kinds::KindClass;
use crate::limits::{
    ANNOUNCEMENT_AGE_SECONDS_MAX, EPHEMERAL_AGE_SECONDS_MAX, EVENT_BYTES_MAX, EVENT_TAGS_MAX,
    FUTURE_SECONDS_MAX,
};
use crate::unix_time::UnixSeconds;

/// A Nostr event whose size, id and signature hold. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedEvent(Arc<Checked>);

#[derive(Debug, PartialEq, Eq)]
struct Checked {
    event: Event,
    #[cfg(feature = "simulation")]
    typed: Option<crate::simulated::TypedBody>,
}

thread_local! {
    /// What [`VerifiedEvent::reading_known`] was told, for as long as it reads: `Deserialize` takes no arguments.
    static KNOWN: RefCell<Option<VerifiedEvent>> = const { RefCell::new(None) };
}

/// Why an event is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// More bytes than any relay in wide use would carry.
    #[error("event is larger than {EVENT_BYTES_MAX} bytes")]
    TooLarge,
    /// More tags than the limit.
    #[error("event has more than {EVENT_TAGS_MAX} tags")]
    TooManyTags,
    /// Not the JSON of an event.
    #[error("not the JSON of a Nostr event")]
    Json,
    /// The id is not the hash of the content.
    #[error("event id does not match its content")]
    Id,
    /// The signature does not hold.
    #[error("event signature does not hold")]
    Signature,
}

/// Why a genuine event is not acted on now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// `created_at` lies too far ahead.
    #[error("event is from the future (clock skew?)")]
    Future,
    /// `created_at` lies too far back for its class.
    #[error("event is too old")]
    TooOld,
    /// The `expiration` tag (NIP-40) has passed.
    #[error("event has expired")]
    Expired,
}

impl VerifiedEvent {
    /// Parses and verifies the JSON of one event: size before parse, id and signature before meaning.
    pub fn from_json(json: &str) -> Result<Self, VerifyError> {
        if json.len() > EVENT_BYTES_MAX {
            return Err(VerifyError::TooLarge);
        }
        let event = Event::from_json(json).map_err(|_| VerifyError::Json)?;
        Self::verify_bounded(event)
    }

    /// Verifies an event that a library has parsed already.
    pub fn from_event(event: Event) -> Result<Self, VerifyError> {
        if approximate_bytes(&event) > EVENT_BYTES_MAX {
            return Err(VerifyError::TooLarge);
        }
        Self::verify_bounded(event)
    }

    /// Reads something in which `known` may be embedded: what is equal to it in every field, signature included, was
    /// verified when `known` was.
    pub(crate) fn reading_known<T>(known: Option<&Self>, read: impl FnOnce() -> T) -> T {
        let before = KNOWN.replace(known.cloned());
        let outcome = read();
        KNOWN.set(before);
        outcome
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one door")]
    fn verify_bounded(event: Event) -> Result<Self, VerifyError> {
        if let Some(known) = KNOWN.with_borrow(|known| known.clone().filter(|known| known.0.event == event)) {
            return Ok(known);
        }
        if event.tags.len() > EVENT_TAGS_MAX {
            return Err(VerifyError::TooManyTags);
        }
        let id = event_id(&event.pubkey, &event.created_at, &event.kind, &event.tags, &event.content);
        if id != event.id {
            return Err(VerifyError::Id);
        }
        note(CryptoStep::Verify(Some(event.kind.as_u16())));
        if !event.verify_signature() {
            return Err(VerifyError::Signature);
        }
        Ok(Self::signed_here(event))
    }

    /// An event that this process has just signed; checking our own signature would double its cost.
    pub(crate) fn signed_here(event: Event) -> Self {
        Self(Arc::new(Checked {
            event,
            #[cfg(feature = "simulation")]
            typed: None,
        }))
    }

    /// An event of a simulated world: it carries its message as a value, and nothing else.
    #[cfg(feature = "simulation")]
    pub(crate) fn simulated(draft: crate::message::Draft, author: PublicKey, id: EventId) -> Self {
        let typed = draft.typed.as_ref().map(|(body, _)| body.clone());
        Self(Arc::new(Checked { event: crate::simulated::bare_event(id, author, draft), typed }))
    }

    /// The message that a simulated event carries.
    #[cfg(feature = "simulation")]
    pub(crate) fn typed<M: crate::Message>(&self) -> Option<crate::Received<M>> {
        let message = self.0.typed.as_ref()?.get::<M>()?.clone();
        let (author, id, created_at) = (self.author(), self.id(), self.created_at());
        Some(crate::Received { message, author, id, created_at })
    }

    /// The same without a copy of it.
    #[cfg(feature = "simulation")]
    pub(crate) fn typed_shared<M: crate::Message>(&self) -> Option<crate::Received<Arc<M>>> {
        let message = self.0.typed.as_ref()?.shared::<M>()?;
        let (author, id, created_at) = (self.author(), self.id(), self.created_at());
        Some(crate::Received { message, author, id, created_at })
    }

    /// The event as the Nostr library knows it.
    #[must_use]
    pub fn as_event(&self) -> &Event {
        &self.0.event
    }

    /// Event id.
    #[must_use]
    pub fn id(&self) -> EventId {
        self.0.event.id
    }

    /// Author.
    #[must_use]
    pub fn author(&self) -> PublicKey {
        self.0.event.pubkey
    }

    /// Kind number.
    #[must_use]
    pub fn kind(&self) -> u16 {
        self.0.event.kind.as_u16()
    }

    /// Time that the author wrote down.
    #[must_use]
    pub fn created_at(&self) -> UnixSeconds {
        UnixSeconds(self.0.event.created_at.as_secs())
    }

    /// Content.
    #[must_use]
    pub fn content(&self) -> &str {
        &self.0.event.content
    }

    /// First value of the first tag with this name.
    #[must_use]
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.0.event.tags.iter().find_map(|tag| match tag.as_slice() {
            [first, value, ..] if first == name => Some(value.as_str()),
            _ => None,
        })
    }

    /// First values of all tags with this name.
    pub fn tags<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.event.tags.iter().filter_map(move |tag| match tag.as_slice() {
            [first, value, ..] if first == name => Some(value.as_str()),
            _ => None,
        })
    }

    /// The `expiration` tag (NIP-40), when there is a readable one.
    #[must_use]
    pub fn expiration(&self) -> Option<UnixSeconds> {
        self.tag("expiration").and_then(|value| value.parse().ok()).map(UnixSeconds)
    }

    /// Checks age and expiry against `now`. Relays need not enforce NIP-40 and never do for ephemerals: we do.
    pub fn check_time(&self, now: UnixSeconds) -> Result<(), TimeError> {
        if self.created_at() > now.plus(FUTURE_SECONDS_MAX) {
            return Err(TimeError::Future);
        }
        let age_max = match KindClass::of(self.kind()) {
            KindClass::Ephemeral => Some(EPHEMERAL_AGE_SECONDS_MAX),
            KindClass::Addressable | KindClass::Replaceable => Some(ANNOUNCEMENT_AGE_SECONDS_MAX),
            KindClass::Regular => None,
        };
        if age_max.is_some_and(|max| now.since(self.created_at()) > max) {
            return Err(TimeError::TooOld);
        }
        if self.expiration().is_some_and(|at| at < now) {
            return Err(TimeError::Expired);
        }
        Ok(())
    }

    /// Bytes of [`VerifiedEvent::to_json`]. What a simulated event carries is no JSON and has none.
    #[must_use]
    pub fn json_len(&self) -> usize {
        #[cfg(feature = "simulation")]
        if self.0.typed.is_some() {
            return 0;
        }
        self.to_json().len()
    }

    /// Canonical JSON of the event.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.0.event.as_json()
    }
}

/// A lower bound of the JSON size that costs no serialisation; the transport has bounded the frame already.
fn approximate_bytes(event: &Event) -> usize {
    let tags: usize = event.tags.iter().flat_map(|tag| tag.as_slice()).map(|value| value.len() + 3).sum();
    event.content.len() + tags + 330
}

impl Serialize for VerifiedEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.event.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for VerifiedEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_event(Event::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::CountingEntropy;
    use crate::message::Draft;
    use crate::signing_key::SigningKey;

    fn sample(kind: u16, tags: Vec<Vec<String>>) -> VerifiedEvent {
        let mut entropy = CountingEntropy(7);
        let key = SigningKey::generate(&mut entropy);
        let draft = Draft::new(kind, tags, "hello".into(), UnixSeconds(1_000_000));
        key.sign(draft, &mut entropy)
    }

    #[test]
    fn a_changed_byte_anywhere_is_refused() {
        let json = sample(1, vec![]).to_json();
        assert!(VerifiedEvent::from_json(&json).is_ok());
        assert_eq!(VerifiedEvent::from_json(&json.replace("hello", "hellO")), Err(VerifyError::Id));
        let mut forged = Event::from_json(&json).unwrap();
        forged.sig = sample(1, vec![vec!["t".into(), "x".into()]]).as_event().sig;
        assert_eq!(VerifiedEvent::from_event(forged), Err(VerifyError::Signature));
        assert_eq!(VerifiedEvent::from_json("{}"), Err(VerifyError::Json));
    }

    #[test]
    fn an_embedded_event_is_verified_when_it_is_read() {
        let json = sample(1, vec![]).to_json();
        assert!(serde_json::from_str::<VerifiedEvent>(&json).is_ok());
        assert!(serde_json::from_str::<VerifiedEvent>(&json.replace("hello", "hellO")).is_err());
    }

    #[test]
    fn a_known_event_is_not_verified_again_and_one_that_differs_is() {
        let (genuine, other) = (sample(1, vec![]), sample(2, vec![]));
        let mut forged = genuine.as_event().clone();
        forged.sig = other.as_event().sig;
        // Only a verification could tell that this one was not signed.
        let known = VerifiedEvent::signed_here(forged.clone());
        let read = |json: &str| serde_json::from_str::<VerifiedEvent>(json).is_ok();
        let reads = |json: &str| VerifiedEvent::reading_known(Some(&known), || read(json));
        assert!(reads(&forged.as_json()), "equal in every field");
        assert!(reads(&other.to_json()) && reads(&genuine.to_json()), "others are verified as ever");
        assert!(!reads(&forged.as_json().replace("hello", "hellO")), "another content under the same id");
        assert!(
            !VerifiedEvent::reading_known(Some(&genuine), || read(&forged.as_json())),
            "another signature"
        );
        assert!(!read(&forged.as_json()), "forgotten with the reading");
    }

    #[test]
    fn size_and_tags_stop_at_the_limit() {
        assert_eq!(VerifiedEvent::from_json(&" ".repeat(EVENT_BYTES_MAX + 1)), Err(VerifyError::TooLarge));
        assert_eq!(VerifiedEvent::from_json(&" ".repeat(EVENT_BYTES_MAX)), Err(VerifyError::Json));
        let tags = |n: usize| vec![vec!["t".to_owned(), "x".to_owned()]; n];
        assert!(VerifiedEvent::from_json(&sample(1, tags(EVENT_TAGS_MAX)).to_json()).is_ok());
        let over = sample(1, tags(EVENT_TAGS_MAX + 1)).to_json();
        assert_eq!(VerifiedEvent::from_json(&over), Err(VerifyError::TooManyTags));
    }

    #[test]
    fn age_future_and_expiry_are_judged_by_the_time_handed_in() {
        let at = UnixSeconds(1_000_000);
        let ephemeral = sample(21_434, vec![vec!["expiration".into(), "1000030".into()]]);
        assert_eq!(ephemeral.check_time(at), Ok(()));
        assert_eq!(ephemeral.check_time(at.plus(30)), Ok(()));
        assert_eq!(ephemeral.check_time(at.plus(31)), Err(TimeError::Expired));
        let bare = sample(21_434, vec![]);
        assert_eq!(bare.check_time(at.plus(EPHEMERAL_AGE_SECONDS_MAX)), Ok(()));
        assert_eq!(bare.check_time(at.plus(EPHEMERAL_AGE_SECONDS_MAX + 1)), Err(TimeError::TooOld));
        assert_eq!(bare.check_time(at.minus(FUTURE_SECONDS_MAX)), Ok(()));
        assert_eq!(bare.check_time(at.minus(FUTURE_SECONDS_MAX + 1)), Err(TimeError::Future));
        assert_eq!(sample(1_434, vec![]).check_time(at.plus(10_000_000)), Ok(()), "receipts do not age");
    }
}
