//! The relays between all parties: who hears what, how late, how often, or not at all.
//!
//! The rule: a relay carries events and understands none. What it carries is public by its kind or sealed, and no mark
//! of a prompt or an output is ever in it; the first event that breaks this ends the run. Everybody writes to every
//! relay and reads from every relay, and a reader's pool hands on the copy that comes first. Stored kinds that no relay
//! took are published again by their sender's outbox, and read later by who was cut off; ephemeral ones are lost for
//! good.

mod cuts;
mod inspection;
mod one_relay;

use fedai_protocol::event_kinds::{
    EPHEMERAL_GIFT_WRAP, LOAD_PING, MODEL_OFFER, NODE_DESCRIPTOR, QUOTE, QUOTE_REQUEST, RECEIPT, RECEIPT_ACK,
    SESSION_FRAME, STORED, TRUST_ASSERTION,
};
use fedai_protocol::{PublicKey, UnixMicros, VerifiedEvent};

use self::cuts::{Cuts, Way};
pub use self::inspection::Leak;
use self::one_relay::OneRelay;
use crate::chance::Chance;
use crate::conduct::RelayConduct;
use crate::faults::{Fault, FaultKind, Fired, Whom};
use crate::id_map::IdMap;
use crate::wire::Payload;
use crate::world::Party;

/// Counts of what happened to events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Published.
    pub published: u64,
    /// Lost by a relay, or on the way to or from it.
    pub dropped: u64,
    /// Repeated.
    pub duplicated: u64,
    /// Nobody listened.
    pub unheard: u64,
}

/// Something on its way to the relays.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Sender.
    pub from: Party,
    /// What it is.
    pub payload: Payload,
    /// How often its sender's outbox has tried before.
    pub tries: u32,
}

/// What becomes of one event.
#[derive(Clone, Debug, Default)]
pub struct Carriage {
    /// Who gets it, and when.
    pub deliveries: Vec<(UnixMicros, Party)>,
    /// When the sender's outbox tries again: no relay took it.
    pub again: Option<UnixMicros>,
    /// What relays add to it.
    pub injected: Vec<Injected>,
}

/// What a relay made up, as it goes over the wire.
#[derive(Clone, Debug)]
pub struct Injected {
    /// When it arrives.
    pub at: UnixMicros,
    /// Where.
    pub to: Party,
    /// What comes.
    pub json: String,
}

/// All relays.
#[derive(Debug)]
pub struct RelayModel {
    conduct: Option<Box<dyn RelayConduct>>,
    routers: usize,
    ping_age_ms: u64,
    relays: Vec<OneRelay>,
    cuts: Cuts,
    way_micros: u64,
    jitter_micros: f64,
    listeners: IdMap<PublicKey, Party>,
    carried: Carried,
    /// Room for the relays that carry an event, and how long each takes.
    carrying: Vec<(usize, u64)>,
}

impl RelayModel {
    /// So many relays with this delay from sender to reader.
    #[must_use]
    pub fn new(relays: usize, way_ms: u64, jitter_ms: u64) -> Self {
        Self {
            conduct: None,
            routers: 1,
            ping_age_ms: 0,
            relays: vec![OneRelay::default(); relays.max(1)],
            cuts: Cuts::default(),
            way_micros: way_ms.saturating_mul(1_000),
            jitter_micros: jitter_ms as f64 * 1_000.0,
            listeners: IdMap::default(),
            carried: Carried::default(),
            carrying: Vec::new(),
        }
    }

    /// So many routers read what is public, and load pings arrive this much later than everything else.
    #[must_use]
    pub const fn for_routers(mut self, routers: usize, ping_age_ms: u64) -> Self {
        (self.routers, self.ping_age_ms) = (routers, ping_age_ms);
        self
    }

    /// From now on relays behave like this.
    pub fn behave(&mut self, conduct: Box<dyn RelayConduct>) {
        self.conduct = Some(conduct);
    }

    /// A fault of relays or of the ways to them begins.
    pub fn begin(&mut self, fault: Fault, chance: Chance) {
        match fault.whom {
            Whom::Relay(index) if fault.kind != FaultKind::RelayDown => {
                if let Some(relay) = self.relays.get_mut(index) {
                    relay.faults.begin(fault, chance);
                }
            }
            _ => self.cuts.begin(fault),
        }
    }

    /// It is over; gives what relays have kept for readers that were cut off.
    pub fn end(&mut self, fault: &Fault) -> Vec<(Party, VerifiedEvent)> {
        for relay in &mut self.relays {
            relay.faults.end(fault);
        }
        self.cuts.end(fault);
        let cuts = &mut self.cuts;
        let relays = self.relays.iter_mut().enumerate();
        relays
            .flat_map(|(index, relay)| relay.take_kept(|party| !cuts.is_cut(party, index, Way::In)))
            .collect()
    }

    /// What faults did since this was last asked.
    pub fn take_fired(&mut self) -> Vec<Fired> {
        let relays = self.relays.iter_mut().map(|relay| relay.faults.take_fired());
        relays.chain([self.cuts.take_fired()]).collect()
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

    /// Takes something.
    pub fn carry(&mut self, now: UnixMicros, parcel: &Parcel, chance: &mut Chance) -> Result<Carriage, Leak> {
        let Parcel { from, payload, tries } = parcel;
        if let Payload::Event(event) = payload {
            inspection::inspect(event)?;
        }
        self.carried.published = self.carried.published.saturating_add(u64::from(*tries == 0));
        let kind = payload.kind();
        let Some((reader, readers)) = self.readers(kind, payload) else {
            self.carried.unheard = self.carried.unheard.saturating_add(1);
            return Ok(Carriage::default());
        };
        if self.conduct.as_mut().is_some_and(|conduct| !conduct.carries(now, payload)) {
            self.carried.dropped = self.carried.dropped.saturating_add(1);
            return Ok(Carriage::default());
        }
        let is_stored = STORED.contains(&kind);
        let (mut carriage, mut is_taken) = (Carriage::default(), false);
        let mut carrying = core::mem::take(&mut self.carrying);
        carrying.clear();
        for (index, relay) in self.relays.iter_mut().enumerate() {
            let trip = self.way_micros.saturating_add(chance.exponential(self.jitter_micros));
            if self.cuts.is_cut(*from, index, Way::Out) || relay.faults.strikes(FaultKind::RelayDrop) {
                self.carried.dropped = self.carried.dropped.saturating_add(1);
                continue;
            }
            is_taken = true;
            if !relay.hides(*from) && !relay.faults.strikes(FaultKind::RelayLyingOk) {
                carrying.push((index, trip));
            }
        }
        let sent = if kind == LOAD_PING { now.plus_millis(self.ping_age_ms) } else { now };
        self.hand_on(sent, reader, payload, &carrying, &mut carriage);
        for number in 1..readers {
            for (_, trip) in &mut carrying {
                *trip = self.way_micros.saturating_add(chance.exponential(self.jitter_micros));
            }
            self.hand_on(sent, Party::Router(number), payload, &carrying, &mut carriage);
        }
        self.carrying = carrying;
        carriage.again = (is_stored && !is_taken).then(|| now.plus_millis(outbox_wait_ms(*tries)));
        Ok(carriage)
    }

    /// What the relays that carry it do for one reader.
    fn hand_on(
        &mut self,
        sent: UnixMicros,
        reader: Party,
        payload: &Payload,
        carrying: &[(usize, u64)],
        carriage: &mut Carriage,
    ) {
        let (mut first, mut kept, place) = (None, None, carriage.deliveries.len());
        for (index, trip) in carrying {
            let Some(relay) = self.relays.get_mut(*index) else { continue };
            if self.cuts.is_cut(reader, *index, Way::In) {
                kept = Some(*index);
                continue;
            }
            let at = sent.plus(trip.saturating_add(relay.held_micros()));
            first = Some(first.map_or(at, |other: UnixMicros| other.min(at)));
            let copies = relay.copies(at);
            self.carried.duplicated = self.carried.duplicated.saturating_add(copies.len() as u64);
            carriage.deliveries.extend(copies.into_iter().map(|at| (at, reader)));
            if let Payload::Event(event) = payload {
                carriage.injected.extend(relay.inject(at, reader, event));
            }
        }
        match (first, kept.and_then(|index| self.relays.get_mut(index)), payload) {
            (Some(at), ..) => carriage.deliveries.insert(place, (at, reader)),
            (None, Some(relay), Payload::Event(event)) if STORED.contains(&event.kind()) => {
                relay.keep(reader, event.clone());
            }
            _ => {}
        }
    }

    /// True when the party has asked for this event.
    #[must_use]
    pub fn is_asked_for(&self, event: &VerifiedEvent, party: Party) -> bool {
        let readers = self.readers(event.kind(), &Payload::Event(event.clone()));
        readers.is_some_and(|(first, readers)| {
            first == party || matches!(party, Party::Router(number) if number < readers && readers > 1)
        })
    }

    /// Who hears it: one party, or all routers, of which the first is given and the number of all.
    fn readers(&self, kind: u16, payload: &Payload) -> Option<(Party, usize)> {
        match kind {
            NODE_DESCRIPTOR | MODEL_OFFER | LOAD_PING | RECEIPT | RECEIPT_ACK | TRUST_ASSERTION => {
                Some((Party::Router(0), self.routers))
            }
            QUOTE_REQUEST | QUOTE | EPHEMERAL_GIFT_WRAP | SESSION_FRAME => {
                let key = payload.addressee()?;
                self.listeners.get(&key).map(|party| (*party, 1))
            }
            _ => None,
        }
    }
}

/// An outbox waits 2 s, then twice as long each time, a minute at most.
fn outbox_wait_ms(tries: u32) -> u64 {
    2_000_u64.saturating_mul(1 << tries.min(5)).min(60_000)
}

#[cfg(test)]
mod tests;
