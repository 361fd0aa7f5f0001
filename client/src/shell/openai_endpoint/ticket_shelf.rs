//! Tickets with jobs left, by what they may be used for: the next job of that kind asks no router. A ticket is out of
//! the shelf while a job uses it, so two jobs never share one.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fedai_protocol::{PublicKey, UnixSeconds};

use crate::shell::buyer::HeldTicket;

/// Tickets kept in all: those that end first make room.
const TICKETS_MAX: usize = 256;
/// Of them with a next session that is listened for on relays: each takes a subscription, and jobs need them, too.
const LISTENING_MAX: usize = 32;

/// The shelf.
#[derive(Default)]
pub(super) struct TicketShelf(Mutex<BTreeMap<String, Vec<Shelved>>>);

struct Shelved {
    held: HeldTicket,
    listens: bool,
}

impl TicketShelf {
    /// Takes a ticket of that kind, the one used last: its node's cache is the warmest.
    pub(super) fn take(&self, kind: &str) -> Option<HeldTicket> {
        Some(self.shelf().get_mut(kind)?.pop()?.held)
    }

    /// Forgets tickets that lead to these nodes: those at the bottom would be met when nobody remembers why not to.
    pub(super) fn forget(&self, nodes: &[PublicKey]) {
        if !nodes.is_empty() {
            self.shelf()
                .values_mut()
                .for_each(|of_kind| of_kind.retain(|at| !at.held.ticket.leads_to(nodes)));
        }
    }

    /// Puts one back; `listens` when its next session is listened for on relays. What is used up or over is forgotten,
    /// and what does not fit: a new quote costs one round trip.
    pub(super) fn put(&self, now: UnixSeconds, kind: String, mut held: HeldTicket, listens: bool) {
        let mut shelf = self.shelf();
        shelf.retain(|_, of_kind| {
            of_kind.retain(|at| at.held.ticket.dispatch.expires_at > now);
            !of_kind.is_empty()
        });
        if held.used >= held.ticket.dispatch.uses {
            return;
        }
        let (mut all, mut listening) = (0, 0);
        for at in shelf.values().flatten() {
            all += 1;
            listening += usize::from(at.listens);
        }
        if all >= TICKETS_MAX {
            forget_first_to_end(&mut shelf);
        }
        let is_one_too_many = listens && listening >= LISTENING_MAX;
        if is_one_too_many {
            held.ready = None;
        }
        let listens = listens && !is_one_too_many;
        shelf.entry(kind).or_default().push(Shelved { held, listens });
    }

    fn shelf(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Shelved>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_first_to_end(shelf: &mut BTreeMap<String, Vec<Shelved>>) {
    let ends = |of_kind: &Vec<Shelved>| of_kind.iter().map(|at| at.held.ticket.dispatch.expires_at).min();
    let Some(of_kind) = shelf.values_mut().min_by_key(|of_kind| ends(of_kind)) else { return };
    let first =
        (0..of_kind.len()).min_by_key(|at| of_kind.get(*at).map(|at| at.held.ticket.dispatch.expires_at));
    first.into_iter().for_each(|at| drop(of_kind.remove(at)));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by it")]
mod tests {
    use fedai_protocol::SigningKey;
    use fedai_protocol::entropy::CountingEntropy;
    use fedai_protocol::quote::QuoteOutcome;

    use super::*;
    use crate::core::fixture_tests::{Market, NOW};
    use crate::core::quote_check::check_reply;

    fn held(market: &mut Market, used: u16, seconds: u64) -> HeldTicket {
        let question = market.question();
        let quote = market.quote(&question, &[0]);
        let reply = market.reply(&question, QuoteOutcome::Quote(Box::new(quote)));
        let mut ticket = check_reply(&reply, &question, &market.spec(), &[], NOW).unwrap();
        ticket.dispatch.uses = 4;
        ticket.dispatch.expires_at = NOW.plus(seconds);
        let ready = tokio::spawn(async { None });
        HeldTicket { ticket, key: SigningKey::generate(&mut CountingEntropy(1)), used, ready: Some(ready) }
    }

    fn count(shelf: &TicketShelf) -> usize {
        shelf.shelf().values().map(Vec::len).sum()
    }

    #[tokio::test]
    async fn what_is_used_up_or_over_is_forgotten_whatever_its_kind() {
        let (shelf, mut market) = (TicketShelf::default(), Market::new(1));
        shelf.put(NOW, "a".into(), held(&mut market, 1, 60), true);
        shelf.put(NOW, "b".into(), held(&mut market, 4, 60), true);
        assert_eq!(count(&shelf), 1, "used up");
        shelf.put(NOW.plus(60), "c".into(), held(&mut market, 1, 300), true);
        assert_eq!(count(&shelf), 1, "over");
        assert!(shelf.take("a").is_none() && shelf.take("c").is_some_and(|held| held.ready.is_some()));
    }

    #[tokio::test]
    async fn however_many_kinds_there_are_the_shelf_is_bounded_and_leaves_relays_to_jobs() {
        let (shelf, mut market) = (TicketShelf::default(), Market::new(1));
        for n in 0..=TICKETS_MAX as u64 {
            shelf.put(NOW, format!("of {n}"), held(&mut market, 1, 60 + n), true);
        }
        assert_eq!(count(&shelf), TICKETS_MAX);
        assert!(shelf.take("of 0").is_none(), "it would have ended first");
        let all = shelf.shelf();
        let ready = all.values().flatten().filter(|at| at.held.ready.is_some()).count();
        assert!((LISTENING_MAX - 1..=LISTENING_MAX).contains(&ready), "{ready}");
        drop(all);
        let (shelf, mut market) = (TicketShelf::default(), Market::new(1));
        for n in 0..64 {
            shelf.put(NOW, format!("of {n}"), held(&mut market, 1, 60), false);
        }
        assert!(
            shelf.shelf().values().flatten().all(|at| at.held.ready.is_some()),
            "no relay is asked for these"
        );
    }
}
