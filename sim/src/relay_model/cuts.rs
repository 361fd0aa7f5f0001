//! Partitions: which party reaches which relay, in which direction.

use crate::faults::{Fault, FaultKind, Fired, Whom};
use crate::world::Party;

/// Seen from the party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To the relay.
    Out,
    /// From the relay.
    In,
}

/// The cuts in force.
#[derive(Clone, Debug, Default)]
pub(super) struct Cuts {
    faults: Vec<Fault>,
    fired: Fired,
}

impl Cuts {
    pub(super) fn begin(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub(super) fn end(&mut self, fault: &Fault) {
        self.faults.retain(|other| other != fault);
    }

    pub(super) fn take_fired(&mut self) -> Fired {
        core::mem::take(&mut self.fired)
    }

    /// True when nothing passes; counts it.
    pub(super) fn is_cut(&mut self, party: Party, relay: usize, way: Way) -> bool {
        let cut = self.faults.iter().find(|fault| cuts(fault, party, relay, way)).map(|fault| fault.kind);
        if let Some(kind) = cut {
            let count = self.fired.entry(kind).or_default();
            *count = count.saturating_add(1);
        }
        cut.is_some()
    }
}

fn cuts(fault: &Fault, party: Party, relay: usize, way: Way) -> bool {
    let is_party = fault.whom == Whom::Party(party);
    match fault.kind {
        FaultKind::RelayDown => fault.whom == Whom::Relay(relay),
        FaultKind::PartyAlone => is_party,
        FaultKind::PartyDeaf => is_party && way == Way::In,
        FaultKind::PartyMute => is_party && way == Way::Out,
        // Even parties are left with the first relay, odd ones with the others.
        FaultKind::Split => (relay == 0) != party.number().is_multiple_of(2),
        _ => false,
    }
}
