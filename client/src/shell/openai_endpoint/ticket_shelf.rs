//! Tickets with jobs left, by what they may be used for: the next job of that kind asks no router. A ticket is out of
//! the shelf while a job uses it, so two jobs never share one.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use fedai_protocol::PublicKey;

use crate::shell::buyer::HeldTicket;

/// Tickets kept of one kind.
const OF_ONE_KIND_MAX: usize = 64;
/// Kinds.
const KINDS_MAX: usize = 256;

/// The shelf.
#[derive(Default)]
pub(super) struct TicketShelf(Mutex<BTreeMap<String, Vec<HeldTicket>>>);

impl TicketShelf {
    /// Takes a ticket of that kind, the one used last: its node's cache is the warmest.
    pub(super) fn take(&self, kind: &str) -> Option<HeldTicket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(kind)?.pop()
    }

    /// Forgets tickets that lead to these nodes: those at the bottom would be met when nobody remembers why not to.
    pub(super) fn forget(&self, nodes: &[PublicKey]) {
        if nodes.is_empty() {
            return;
        }
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.values_mut().for_each(|tickets| tickets.retain(|held| !held.ticket.leads_to(nodes)));
    }

    /// Puts one back. What does not fit is forgotten: a new quote costs one round trip.
    pub(super) fn put(&self, kind: String, held: HeldTicket) {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.used >= held.ticket.dispatch.uses || (shelf.len() >= KINDS_MAX && !shelf.contains_key(&kind))
        {
            shelf.retain(|_, tickets| !tickets.is_empty());
            return;
        }
        let tickets = shelf.entry(kind).or_default();
        if tickets.len() < OF_ONE_KIND_MAX {
            tickets.push(held);
        }
    }
}
