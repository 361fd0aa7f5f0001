//! A ledger without any cleverness, held against the router's after every run: the same events, in whatever order and
//! however often, come to the same sums.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};

use fedai_protocol::{Dispatch, EventId, Message, PublicKey, Receipt, ReceiptAck, VerifiedEvent};
use fedai_sim::faults::{Fault, FaultKind, Whom};
use fedai_sim::invariants::Sums;
use fedai_sim::run_log::RunLog;
use fedai_sim::scenario::Scenario;
use fedai_sim::swarm::run_seed;
use fedai_sim::world::Party;

type Books = BTreeMap<PublicKey, Sums>;

/// A receipt counts once, when a ticket of the router names its node and its offer, once for each use of the ticket.
fn ledger(events: &[&VerifiedEvent]) -> Books {
    let tickets: BTreeMap<EventId, Dispatch> = events
        .iter()
        .filter_map(|event| Dispatch::parse(event).ok())
        .map(|ticket| (ticket.id, ticket.message))
        .collect();
    let receipt_of = |event: &&VerifiedEvent| match Receipt::parse(event) {
        Ok(receipt) => Some(receipt),
        Err(_) => ReceiptAck::parse(event).ok()?.message.read_receipt().ok(),
    };
    let (mut books, mut seen) = (Books::new(), BTreeSet::new());
    for receipt in events.iter().filter_map(receipt_of) {
        let Some(ticket) = tickets.get(&receipt.message.dispatch) else { continue };
        let Some(named) = ticket.nodes.iter().find(|named| named.node == receipt.author) else { continue };
        let usage = &receipt.message.usage;
        let fits = named.offer == receipt.message.offer
            && receipt.message.amount <= named.max_cost
            && usage.output_tokens <= ticket.max_output_tokens;
        if fits && seen.insert(receipt.id) {
            let sums = books.entry(receipt.author).or_default();
            *sums = sums.plus(&Sums::of_receipt(&receipt.message));
        }
    }
    books
}

fn routers_books(log: &RunLog) -> Books {
    let mut books = Books::new();
    for ((_, node, _), summary) in &log.summaries {
        let sums = books.entry(*node).or_default();
        *sums = sums.plus(&Sums::of_summary(summary));
    }
    books
}

#[test]
fn the_router_counts_what_a_dumb_ledger_counts_in_any_order() {
    let mut receipts = 0;
    // By a wrong clock a router forgets tickets too early, and counts nothing under those it does not know.
    let is_wrong = |fault: &Fault| {
        fault.kind == FaultKind::ClockSkew && matches!(fault.whom, Whom::Party(Party::Router(_)))
    };
    let is_on_time = |seed: &u64| !Scenario::swarm(*seed).faults.faults.iter().any(is_wrong);
    for seed in (0..80).filter(is_on_time) {
        let log = run_seed(seed).unwrap_or_else(|failure| panic!("{failure}"));
        // Of liars' receipts the router keeps proofs, which it does not count; who they are is in its evidence.
        let liars: BTreeSet<PublicKey> = log.evidence.iter().map(|(node, _)| *node).collect();
        let honest = |books: Books| -> Books {
            books.into_iter().filter(|(node, sums)| !liars.contains(node) && sums.receipts > 0).collect()
        };
        let events: Vec<&VerifiedEvent> = log.heard.iter().collect();
        let expected = honest(routers_books(&log));
        assert_eq!(honest(ledger(&events)), expected, "seed {seed}");
        let backwards: Vec<&VerifiedEvent> = events.iter().rev().copied().collect();
        assert_eq!(honest(ledger(&backwards)), expected, "seed {seed}, backwards");
        let thrice: Vec<&VerifiedEvent> = events.iter().flat_map(|event| [*event; 3]).collect();
        assert_eq!(honest(ledger(&thrice)), expected, "seed {seed}, each event three times");
        receipts += expected.values().map(|sums| sums.receipts).sum::<u64>();
    }
    assert!(receipts > 60, "{receipts}");
}
