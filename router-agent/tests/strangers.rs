//! Keys are free: what strangers sign costs the router a counter, and never its room for the nodes it works with.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use fedai_protocol::limits::ROUTER_NODES_MAX;
use fedai_protocol::message::{Message, Received};
use fedai_protocol::quote_request::Mode;
use fedai_protocol::receipt_ack::AckVerdict;
use fedai_protocol::{Dispatch, EventId, Msat, Price, PublicKey, Receipt, UnixSeconds};
use fedai_router_agent::core::announcing::Announcement;
use fedai_router_agent::core::{Action, Input};
use world::{Node, START, World, ack, heard, key, price, receipt, request, sign};

/// A time at which the book remembers everything that could be named.
fn late() -> UnixSeconds {
    START.plus(700)
}

fn is_costly(action: &Action) -> bool {
    matches!(action, Action::Journal { .. } | Action::Evidence { .. } | Action::Publish(_))
}

fn kept(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Journal { .. })).count()
}

#[test]
fn receipts_of_strangers_take_no_room_from_nodes_with_tickets() {
    let mut world = World::new(&[Price::FREE]);
    let (ticket, _) = world.dispatch(request(Mode::Balanced));
    let own = receipt(&world.nodes[0], &ticket, key(901).public_key(), 0, EventId::all_zeros(), START);
    for n in 0..=ROUTER_NODES_MAX as u64 {
        let mut foreign = own.clone();
        if n % 2 == 0 {
            foreign.router = key(501).public_key();
        } else {
            foreign.dispatch = world::event_id(n);
        }
        let stranger = PublicKey::from_byte_array(world::event_id(n).to_bytes());
        let foreign = Received::simulated(foreign, stranger, world::event_id(1_000_000 + n), START);
        assert!(!world.step(Input::Receipt(foreign)).iter().any(is_costly));
    }
    let signed = sign(&own, &world.nodes[0].key, START);
    assert_eq!(kept(&world.step(Input::Receipt(Receipt::parse(&signed).unwrap()))), 1);
    world.now = world.now.plus_seconds(61);
    let counted = world.step(Input::Tick);
    assert!(counted.iter().any(|action| matches!(action, Action::Publish(Announcement::Summary(_)))));
}

#[test]
fn an_invented_ticket_is_evidence_against_known_nodes_only_and_kept_up_to_a_number() {
    let mut world = World::new(&[Price::FREE]);
    world.now = late().micros();
    let (ticket, _) = {
        let asked = fedai_protocol::QuoteRequest { expires_at: START.plus(5_000), ..request(Mode::Balanced) };
        world.dispatch(asked)
    };
    let stranger = Node::new(44, Price::FREE);
    let invented = |node: &Node, n: u64| {
        let mut invented =
            receipt(node, &ticket, key(903).public_key(), n, world::event_id(n), late().plus(n / 10));
        invented.dispatch = world::event_id(5_000 + n);
        Input::Receipt(Received::simulated(invented, node.id(), world::event_id(9_000 + n), late()))
    };
    for n in 0..100 {
        assert!(!world.step(invented(&stranger, n)).iter().any(is_costly));
    }
    assert_eq!(world.core.trust_of(world.now, &stranger.id()), Default::default());
    for input in stranger.inputs() {
        world.step(input);
    }
    let journaled: usize = (100..400).map(|n| kept(&world.step(invented(&stranger, n)))).sum();
    assert_eq!(journaled, 64);
    let status = world.core.status(world.now);
    let line = status.nodes.iter().find(|line| line.node == stranger.id()).unwrap();
    assert!(line.breaches > 200, "{}", line.breaches);
}

#[test]
fn a_price_that_nobody_paid_buys_no_rank() {
    let ranks = [Price::FREE, price(900_000_000, 900_000_000)].map(|price| {
        let mut world = World::new(&[price]);
        let client = key(905);
        let mut prev = EventId::all_zeros();
        for seq in 0..30 {
            let (ticket, _) = world.dispatch(request(Mode::Balanced));
            let node = &world.nodes[0];
            let made = receipt(node, &ticket, client.public_key(), seq, prev, START);
            assert_eq!(made.amount == Msat::ZERO, price == Price::FREE);
            let signed = sign(&made, &node.key, START);
            prev = signed.id();
            world.step(Input::Acknowledged(heard(&ack(&signed, &client, AckVerdict::Accepted, START))));
            assert!(Dispatch::parse(&ticket).is_ok());
        }
        let status = world.core.status(world.now);
        assert_eq!(status.nodes[0].receipts, 30);
        status.nodes[0].rank
    });
    assert_eq!(ranks[0], ranks[1]);
}
