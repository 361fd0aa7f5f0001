//! Keys, ids and events of a simulated world, in which nothing is signed, sealed or written as JSON.
//!
//! The rule: this module exists only under the feature `simulation`, which no shipped binary enables. A simulated key
//! is told from a real one by its first bytes, so a message that a core drafts under such a key stays a typed value,
//! and [`crate::Message::parse`] gives it back as it was. Real keys go the real way, in the same build.

use core::any::Any;
use core::fmt;
use std::sync::{Arc, LazyLock};

use nostr::secp256k1::schnorr::Signature;
use nostr::{Event, EventId, Kind, PublicKey, Timestamp};

use crate::entropy::CountingEntropy;
use crate::message::Draft;
use crate::signing_key::SigningKey;
use crate::verified_event::VerifiedEvent;

/// First bytes of every simulated key: no real key is drawn with them in the lifetime of a universe.
const MARK: [u8; 15] = *b"simulated party";

/// A message as the value that it is.
#[derive(Clone)]
pub(crate) struct TypedBody(Arc<dyn Any + Send + Sync>);

impl TypedBody {
    pub(crate) fn new<M: Any + Send + Sync>(message: M) -> Self {
        Self(Arc::new(message))
    }

    pub(crate) fn get<M: Any>(&self) -> Option<&M> {
        self.0.downcast_ref()
    }

    pub(crate) fn shared<M: Any + Send + Sync>(&self) -> Option<Arc<M>> {
        Arc::clone(&self.0).downcast().ok()
    }
}

impl fmt::Debug for TypedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TypedBody")
    }
}

/// Events and drafts are compared by their ids and fields; the value behind them follows from these.
impl PartialEq for TypedBody {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for TypedBody {}

/// The key with this number among those of a kind of party. Keys are spread, so that their order says nothing.
#[must_use]
pub fn key(space: u8, number: u64) -> PublicKey {
    let mut bytes = [0; 32];
    let spread = mix(number ^ (u64::from(space) << 56));
    let parts = MARK.iter().chain([&space]);
    let numbers = spread.to_be_bytes().into_iter().chain(number.to_be_bytes());
    for (byte, value) in bytes.iter_mut().zip(parts.copied().chain(numbers)) {
        *byte = value;
    }
    PublicKey::from_byte_array(bytes)
}

/// True for a key made by [`key`].
#[must_use]
pub fn is_simulated(key: &PublicKey) -> bool {
    key.as_bytes().starts_with(&MARK)
}

/// The id with this number among those of a kind of event.
#[must_use]
pub fn id(space: u8, number: u64) -> EventId {
    let mut bytes = [0; 32];
    let values = core::iter::once(space).chain(number.to_be_bytes());
    for (byte, value) in bytes.iter_mut().zip(values) {
        *byte = value;
    }
    EventId::from_byte_array(bytes)
}

/// Sixty-four bits of any bytes, for salts.
#[must_use]
pub fn fold(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(0, |sum, chunk| {
        let mut word = [0; 8];
        for (byte, value) in word.iter_mut().zip(chunk) {
            *byte = *value;
        }
        mix(sum ^ u64::from_be_bytes(word))
    })
}

impl Draft {
    /// The event that `author` would sign, unsigned. The draft has to be one that was made under a simulated key.
    #[must_use]
    pub fn simulate(self, author: PublicKey) -> VerifiedEvent {
        let id = self.id(&author);
        VerifiedEvent::simulated(self, author, id)
    }
}

/// The id of a typed draft: from author, kind, time and what the message gives as its salt.
pub(crate) fn draft_id(author: &PublicKey, kind: u16, created_at: u64, salt: u64) -> EventId {
    let mut bytes = [0; 32];
    let [first, second] =
        [mix(fold(author.as_bytes()) ^ u64::from(kind)), mix(created_at ^ salt.rotate_left(17))];
    let words = [mix(first ^ second), mix(first.wrapping_add(second)), salt, first];
    for (byte, value) in bytes.iter_mut().zip(words.into_iter().flat_map(u64::to_be_bytes)) {
        *byte = value;
    }
    EventId::from_byte_array(bytes)
}

/// An event without content, tags and signature.
pub(crate) fn bare_event(id: EventId, author: PublicKey, draft: Draft) -> Event {
    let Draft { kind, content, created_at, .. } = draft;
    let created_at = Timestamp::from_secs(created_at.0);
    Event::new(id, author, created_at, Kind::from(kind), Vec::new(), content, *NO_SIGNATURE)
}

/// Holds for no event.
static NO_SIGNATURE: LazyLock<Signature> = LazyLock::new(|| {
    let mut entropy = CountingEntropy(0);
    SigningKey::generate(&mut entropy).sign_digest([0; 32], &mut entropy)
});

/// SplitMix64's finisher.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LoadPing, Message, UnixSeconds};

    fn ping(queued: u32) -> LoadPing {
        LoadPing { node: "a".into(), load_permille: 0, running: 0, queued, slots: 1, wait_ms: 0 }
    }

    #[test]
    fn a_message_under_a_simulated_key_comes_back_as_it_was_and_is_never_written() {
        let author = key(1, 7);
        let event = ping(3).draft(&author, UnixSeconds(9)).unwrap().simulate(author);
        assert_eq!((event.content(), event.as_event().tags.len()), ("", 0));
        let read = LoadPing::parse(&event).unwrap();
        assert_eq!((read.message, read.author, read.created_at), (ping(3), author, UnixSeconds(9)));
        assert!(crate::Receipt::parse(&event).is_err(), "another message is not in it");
        assert!(VerifiedEvent::from_json(&event.to_json()).is_err(), "no real reader takes it");
    }

    #[test]
    fn keys_and_ids_differ_and_real_keys_are_none_of_them() {
        let keys: std::collections::BTreeSet<PublicKey> =
            (0..3).flat_map(|space| (0..500).map(move |number| key(space, number))).collect();
        assert!(keys.len() == 1_500 && keys.iter().all(is_simulated));
        let real = SigningKey::generate(&mut CountingEntropy(1)).public_key();
        assert!(!is_simulated(&real));
        let draft = |at| ping(0).draft(&key(1, 1), UnixSeconds(at)).unwrap().id(&key(1, 1));
        assert!(draft(1) != draft(2) && draft(1) == draft(1));
    }
}
