//! The faults that befall one relay or party just now, and the count of what they did.

use std::collections::BTreeMap;

use super::{Fault, FaultKind};
use crate::chance::Chance;

/// What each kind of fault did, counted.
pub type Fired = BTreeMap<FaultKind, u64>;

/// Faults in force. Each has a stream of its own, so that taking one away leaves the others' draws as they were.
#[derive(Clone, Debug, Default)]
pub struct Active {
    faults: Vec<(Fault, Chance)>,
    fired: Fired,
}

impl Active {
    /// A fault begins.
    pub fn begin(&mut self, fault: Fault, chance: Chance) {
        self.faults.push((fault, chance));
    }

    /// A fault is over.
    pub fn end(&mut self, fault: &Fault) {
        self.faults.retain(|(other, _)| other != fault);
    }

    /// True while a fault of this kind is in force.
    #[must_use]
    pub fn has(&self, kind: FaultKind) -> bool {
        self.size(kind).is_some()
    }

    /// How bad it is.
    #[must_use]
    pub fn size(&self, kind: FaultKind) -> Option<u64> {
        self.faults.iter().filter(|(fault, _)| fault.kind == kind).map(|(fault, _)| fault.size).max()
    }

    /// True when a fault of this kind strikes now; counts it. Its size is in thousandths.
    pub fn strikes(&mut self, kind: FaultKind) -> bool {
        let mut of_kind = self.faults.iter_mut().filter(|(fault, _)| fault.kind == kind);
        let strikes = of_kind.any(|(fault, chance)| chance.happens(fault.size));
        if strikes {
            self.fired(kind);
        }
        strikes
    }

    /// The generator of a fault in force.
    pub fn chance(&mut self, kind: FaultKind) -> Option<&mut Chance> {
        self.faults.iter_mut().find(|(fault, _)| fault.kind == kind).map(|(_, chance)| chance)
    }

    /// It did something.
    pub fn fired(&mut self, kind: FaultKind) {
        let count = self.fired.entry(kind).or_default();
        *count = count.saturating_add(1);
    }

    /// What was done, since this was last asked.
    pub fn take_fired(&mut self) -> Fired {
        core::mem::take(&mut self.fired)
    }

    /// The faults in force.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter().map(|(fault, _)| fault)
    }
}
