//! Receipts held against one ticket: each node has the ticket's uses for itself, and no more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use fedai_protocol::dispatch::DispatchedNode;
use fedai_protocol::payment_offer::PaymentMethod;
use fedai_protocol::{Msat, Tokens};

use super::super::receipt_fixture::{CLIENT, NOW, ROUTER, TICKET, id, key, receipt_of};
use super::*;

/// A ticket of one use that names the nodes 1 and 2.
fn ticket() -> Received<Dispatch> {
    let named = |n| DispatchedNode { node: key(n), offer: id(100 + n), max_cost: Msat::ZERO };
    let dispatch = Dispatch {
        request: id(7),
        client: key(CLIENT),
        nodes: vec![named(1), named(2)],
        model: "smol".into(),
        max_input_tokens: Tokens::saturating(100),
        max_output_tokens: Tokens::saturating(100),
        payment: PaymentMethod::Free,
        uses: 1,
        expires_at: NOW.plus(300),
    };
    Received::simulated(dispatch, key(ROUTER), id(TICKET), NOW)
}

/// A job at node 1 that is expected to take half a minute.
fn flight() -> Flight {
    Flight {
        node: key(1),
        since: NOW.micros(),
        expected_until: NOW.plus(30).micros(),
        until: NOW.plus(60).micros(),
        queued: false,
        luck_permille: 500,
        beside: 0,
        hedged: false,
        patient: false,
    }
}

fn receipt(node: u8, event: u8) -> Received<Receipt> {
    receipt_of(node, event, NOW.plus(1))
}

#[test]
fn after_a_failover_each_node_has_the_uses_of_the_ticket_for_itself() {
    let mut book = DispatchBook::new(NOW);
    assert!(book.dispatched(ticket(), None, 0));
    assert_eq!(book.charge(&receipt(1, 61)), Standing::Good);
    assert_eq!(book.charge(&receipt(2, 62)), Standing::Good);
    assert_eq!(book.charge(&receipt(1, 63)), Standing::Breach(Breach::UsedUp));
    assert_eq!(book.charge(&receipt(2, 64)), Standing::Breach(Breach::UsedUp));
    assert_eq!(Breach::UsedUp.as_str(), "ticket_used_up");
    assert_eq!(book.charge(&receipt(1, 61)), Standing::Known);
    assert_eq!(book.charge(&receipt(3, 65)), Standing::Breach(Breach::ForeignNode));
}

#[test]
fn who_comes_second_in_a_race_is_not_taken_for_one_that_failed() {
    for hedged in [false, true] {
        let mut book = DispatchBook::new(NOW);
        assert!(book.dispatched(ticket(), Some(Flight { hedged, ..flight() }), 0));
        let partial = book.passed_over(&id(TICKET), &key(2), false);
        assert_eq!(
            partial,
            (!hedged).then_some((key(1), PassedOver::Failed)),
            "the cancelled one's receipt tells nothing"
        );
        let whole = book.passed_over(&id(TICKET), &key(2), true);
        assert_eq!(whole, hedged.then_some((key(1), PassedOver::LostRace)), "told once, and told apart");
    }
}

#[test]
fn where_a_node_may_turn_jobs_away_only_the_clients_word_says_that_it_failed() {
    for (turned_away, why) in [(vec![], PassedOver::Failed), (vec![key(1)], PassedOver::TurnedAway)] {
        let mut book = DispatchBook::new(NOW);
        assert!(book.dispatched(ticket(), Some(Flight { patient: true, ..flight() }), 0));
        assert_eq!(book.passed_over(&id(TICKET), &key(2), true), None, "a receipt alone tells nothing");
        let by_word = book.passed_over_by_word(&id(TICKET), &key(2), &turned_away);
        assert_eq!(by_word, Some((key(1), why)));
        assert_eq!(book.passed_over_by_word(&id(TICKET), &key(2), &turned_away), None, "told once");
    }
}

#[test]
fn the_index_of_named_nodes_and_of_flights_goes_with_the_ticket() {
    let mut book = DispatchBook::new(NOW);
    assert!(book.dispatched(ticket(), Some(flight()), 0));
    assert!(book.names(&key(1)) && book.names(&key(2)) && !book.names(&key(3)));
    assert_eq!(book.flying(&key(1)), [(id(TICKET), id(101), flight())]);
    assert!(book.flying(&key(2)).is_empty(), "it is not the one that was chosen");
    assert_eq!(book.expire(NOW.plus(61).micros()).len(), 1);
    assert!(book.flying.is_empty());
    book.forget_old(NOW.plus(86_400));
    assert!(!book.names(&key(1)) && book.by_node.is_empty());
}
