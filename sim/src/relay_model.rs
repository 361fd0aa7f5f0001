//! The relays between all parties: who hears what, how late, how often, or not at all.
//!
//! The rule: a relay carries events and understands none. What it carries is public by its kind or sealed,
//! and no mark of a prompt or an output is ever in it; the first event that breaks this ends the run.
//! Stored kinds that are lost are published again by their sender's outbox; ephemeral ones are lost for
//! good.

use std::collections::BTreeMap;

use fedai_protocol::event_kinds::{
    DISPATCH, EPHEMERAL_GIFT_WRAP, LOAD_PING, MODEL_OFFER, NODE_DESCRIPTOR, QUOTE, QUOTE_REQUEST, RECEIPT,
    RECEIPT_ACK, ROUTER_PROFILE, SESSION_FRAME, STORED, TRUST_ASSERTION, USAGE_SUMMARY,
};
use fedai_protocol::sealed_session::base64_decode;
use fedai_protocol::{Entropy, PublicKey, UnixMicros, VerifiedEvent};

use crate::chance::Chance;
use crate::workload::prompt::PLAINTEXT_MARK;
use crate::world::Party;

/// How bad the relays are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayFaults {
    /// Events lost, in thousandths.
    pub drop_permille: u64,
    /// Events that arrive more than once, in thousandths.
    pub duplicate_permille: u64,
    /// Events that are held back, in thousandths.
    pub delay_permille: u64,
    /// How long they are held back at most, in milliseconds.
    pub delay_ms_max: u64,
}

/// Counts of what happened to events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Published.
    pub published: u64,
    /// Lost.
    pub dropped: u64,
    /// Repeated.
    pub duplicated: u64,
    /// Nobody listened.
    pub unheard: u64,
}

/// What becomes of one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carriage {
    /// Who gets it, and when.
    pub deliveries: Vec<(UnixMicros, Party)>,
    /// When the sender's outbox tries again, where it was lost.
    pub again: Option<UnixMicros>,
}

/// What a relay should not have seen. Says where, never what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Leak {
    /// A prompt or an output in the clear.
    #[error("a prompt or an output is readable in an event of kind {0}")]
    Plaintext(u16),
    /// Not NIP-44 where it must be.
    #[error("an event of kind {0} is not sealed")]
    Unsealed(u16),
    /// A kind that is neither public nor sealed.
    #[error("events of kind {0} have no business on a relay")]
    Kind(u16),
}

/// All relays as one.
#[derive(Clone, Debug)]
pub struct RelayModel {
    faults: RelayFaults,
    way_micros: u64,
    jitter_micros: f64,
    listeners: BTreeMap<PublicKey, Party>,
    carried: Carried,
}

impl RelayModel {
    /// Relays with this delay from sender to reader.
    #[must_use]
    pub const fn new(way_ms: u64, jitter_ms: u64) -> Self {
        Self {
            faults: RelayFaults {
                drop_permille: 0,
                duplicate_permille: 0,
                delay_permille: 0,
                delay_ms_max: 0,
            },
            way_micros: way_ms.saturating_mul(1_000),
            jitter_micros: jitter_ms as f64 * 1_000.0,
            listeners: BTreeMap::new(),
            carried: Carried { published: 0, dropped: 0, duplicated: 0, unheard: 0 },
        }
    }

    /// From now on the relays are this bad.
    pub const fn set_faults(&mut self, faults: RelayFaults) {
        self.faults = faults;
    }

    /// Events for this key go there.
    pub fn listen(&mut self, key: PublicKey, party: Party) {
        self.listeners.insert(key, party);
    }

    /// Nobody listens to this key any more.
    pub fn unlisten(&mut self, key: &PublicKey) {
        self.listeners.remove(key);
    }

    /// What happened so far.
    #[must_use]
    pub const fn carried(&self) -> Carried {
        self.carried
    }

    /// Number of keys that are listened to.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.listeners.len()
    }

    /// Takes an event.
    pub fn carry(
        &mut self,
        now: UnixMicros,
        event: &VerifiedEvent,
        chance: &mut Chance,
    ) -> Result<Carriage, Leak> {
        inspect(event)?;
        self.carried.published = self.carried.published.saturating_add(1);
        let Some(party) = self.reader(event) else {
            self.carried.unheard = self.carried.unheard.saturating_add(1);
            return Ok(Carriage::default());
        };
        if chance.happens(self.faults.drop_permille) {
            self.carried.dropped = self.carried.dropped.saturating_add(1);
            let again = STORED.contains(&event.kind()).then(|| now.plus_millis(OUTBOX_MS));
            return Ok(Carriage { deliveries: Vec::new(), again });
        }
        let mut deliveries = vec![(self.arrival(now, chance), party)];
        if chance.happens(self.faults.duplicate_permille) {
            for _ in 0..chance.between(1, COPIES_MAX) {
                self.carried.duplicated = self.carried.duplicated.saturating_add(1);
                let late = now.plus_millis(chance.below(COPY_MS_MAX));
                deliveries.push((self.arrival(late, chance), party));
            }
        }
        Ok(Carriage { deliveries, again: None })
    }

    fn reader(&self, event: &VerifiedEvent) -> Option<Party> {
        match event.kind() {
            NODE_DESCRIPTOR | MODEL_OFFER | LOAD_PING | RECEIPT | RECEIPT_ACK => Some(Party::Router),
            QUOTE_REQUEST | QUOTE | EPHEMERAL_GIFT_WRAP | SESSION_FRAME => {
                let key = PublicKey::from_hex(event.tag("p")?).ok()?;
                self.listeners.get(&key).copied()
            }
            _ => None,
        }
    }

    fn arrival(&self, now: UnixMicros, chance: &mut Chance) -> UnixMicros {
        let mut micros = self.way_micros.saturating_add(chance.exponential(self.jitter_micros));
        if chance.happens(self.faults.delay_permille) {
            micros = micros.saturating_add(chance.below(self.faults.delay_ms_max.saturating_mul(1_000)));
        }
        now.plus(micros)
    }
}

/// Is it sealed, or public by its kind?
fn inspect(event: &VerifiedEvent) -> Result<(), Leak> {
    let kind = event.kind();
    let has_mark = |text: &str| text.contains(PLAINTEXT_MARK);
    let in_tags = event.as_event().tags.iter().any(|tag| tag.as_slice().iter().any(|part| has_mark(part)));
    if has_mark(event.content()) || in_tags {
        return Err(Leak::Plaintext(kind));
    }
    match kind {
        QUOTE_REQUEST | QUOTE | EPHEMERAL_GIFT_WRAP | SESSION_FRAME => {
            let raw = base64_decode(event.content()).unwrap_or_default();
            if raw.first() == Some(&NIP44_VERSION) { Ok(()) } else { Err(Leak::Unsealed(kind)) }
        }
        NODE_DESCRIPTOR | MODEL_OFFER | LOAD_PING | ROUTER_PROFILE | DISPATCH | RECEIPT | RECEIPT_ACK
        | USAGE_SUMMARY | TRUST_ASSERTION => Ok(()),
        _ => Err(Leak::Kind(kind)),
    }
}

const NIP44_VERSION: u8 = 2;
/// Pause of an outbox before it tries again.
const OUTBOX_MS: u64 = 2_000;
const COPIES_MAX: u64 = 3;
/// A copy comes up to this much later.
const COPY_MS_MAX: u64 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Stream;
    use fedai_protocol::message::Draft;
    use fedai_protocol::{SigningKey, UnixSeconds};

    fn event(kind: u16, content: &str, to: &SigningKey) -> VerifiedEvent {
        let tags = vec![vec!["p".to_owned(), to.public_key().to_hex()]];
        let draft = Draft::new(kind, tags, content.to_owned(), UnixSeconds(1));
        to.sign(draft, &mut Chance::new(1, Stream::Keys))
    }

    #[test]
    fn what_is_neither_sealed_nor_public_is_not_carried() {
        let mut chance = Chance::new(1, Stream::Relay);
        let key = SigningKey::generate(&mut chance);
        let mut relay = RelayModel::new(10, 5);
        let mut carry =
            |kind, content: &str| relay.carry(UnixMicros(0), &event(kind, content, &key), &mut chance);
        assert_eq!(carry(RECEIPT, &format!("a {PLAINTEXT_MARK} b")), Err(Leak::Plaintext(RECEIPT)));
        assert_eq!(carry(SESSION_FRAME, "{\"job\":1}"), Err(Leak::Unsealed(SESSION_FRAME)));
        assert_eq!(carry(1, "hello"), Err(Leak::Kind(1)));
        assert!(carry(RECEIPT, "a receipt").is_ok());
    }

    #[test]
    fn losses_and_repeats_come_at_their_rates() {
        let mut chance = Chance::new(1, Stream::Relay);
        let key = SigningKey::generate(&mut chance);
        let mut relay = RelayModel::new(10, 5);
        let faults = RelayFaults { drop_permille: 300, duplicate_permille: 500, ..RelayFaults::default() };
        relay.set_faults(faults);
        let receipt = event(RECEIPT, "a receipt", &key);
        for _ in 0..10_000 {
            let carriage = relay.carry(UnixMicros(0), &receipt, &mut chance).unwrap();
            assert_eq!(
                carriage.again.is_some(),
                carriage.deliveries.is_empty(),
                "stored kinds are sent again"
            );
            assert!(carriage.deliveries.iter().all(|(at, _)| at.0 >= 10_000));
        }
        let Carried { dropped, duplicated, .. } = relay.carried();
        assert!((2_800..3_200).contains(&dropped), "{dropped}");
        assert!((6_500..7_500).contains(&duplicated), "{duplicated}");
    }
}
