//! Which words about a node count at a router, and which change nothing at all.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use fedai_protocol::message::Received;
use fedai_protocol::quote_request::Mode;
use fedai_protocol::receipt_ack::AckVerdict;
use fedai_protocol::trust_assertion::{EvidenceWeights, TrustDimensions, TrustEvidence};
use fedai_protocol::{EventId, Price, QuoteRequest, Receipt, TrustAssertion, VerifiedEvent};
use fedai_router_agent::core::trust::Trust;
use fedai_router_agent::core::{AckHeard, Action, DisputeGrade, Input, JournalKind, RouterCore};
use world::{START, World, ack, heard, key, price, receipt, request, sign, terms};

/// Asks, serves at the chosen node with `change`, and gives what the router says to the client's word.
fn job(
    world: &mut World,
    asked: QuoteRequest,
    seq: u64,
    verdict: AckVerdict,
    change: fn(&mut Receipt),
) -> (usize, Vec<Action>) {
    let (ticket, dispatch) = world.dispatch(asked);
    let at = world.nodes.iter().position(|node| node.id() == dispatch.nodes[0].node).unwrap();
    let signed = served(world, &ticket, at, seq, change);
    let word = ack(&signed, &key(901), verdict, START);
    (at, world.step(Input::Acknowledged(heard(&word))))
}

fn served(
    world: &World,
    ticket: &VerifiedEvent,
    at: usize,
    seq: u64,
    change: fn(&mut Receipt),
) -> VerifiedEvent {
    let node = &world.nodes[at];
    let prev = if seq == 0 { EventId::all_zeros() } else { world::event_id(7_000 + seq) };
    let mut made = receipt(node, ticket, key(901).public_key(), seq, prev, START);
    change(&mut made);
    sign(&made, &node.key, START)
}

fn trust(world: &World, at: usize) -> Trust {
    world.core.trust_of(world.now, &world.nodes[at].id())
}

#[test]
fn a_node_that_its_client_named_or_kept_gains_nothing() {
    let mut world = World::new(&[Price::FREE; 4]);
    let own = world.nodes[0].id();
    for seq in 0..20 {
        let mut named = request(Mode::Balanced);
        named.constraints.only_nodes = vec![own];
        let kept = QuoteRequest { previous_node: Some(own), ..request(Mode::Balanced) };
        for (n, asked) in (0..).zip([named, kept]) {
            let (ticket, dispatch) = world.dispatch(asked);
            assert_eq!(dispatch.nodes[0].node, own);
            // Numbers far apart: no neighbours, no fork.
            let signed = served(&world, &ticket, 0, 20 * seq + 10 * n, |_| {});
            world.step(Input::Acknowledged(heard(&ack(&signed, &key(901), AckVerdict::Accepted, START))));
        }
        assert_eq!(trust(&world, 0), Trust::default(), "{seq}");
    }
    let (at, _) = job(&mut world, request(Mode::Balanced), 1_000, AckVerdict::Accepted, |_| {});
    assert_eq!(trust(&world, at).receipts(), 1, "a drawn one counts");
    for seq in 101..300 {
        job(&mut world, request(Mode::Balanced), seq * 10, AckVerdict::Accepted, |_| {});
    }
    assert!((0..4).any(|at| trust(&world, at).score(world.now) > 0.1), "and many make a record");
}

#[test]
fn what_can_be_checked_of_a_dispute_is_checked() {
    type Change = fn(&mut Receipt);
    let dear: Change = |made| made.amount = fedai_protocol::Msat::saturating(151);
    let true_one: Change = |_| {};
    let table = [
        ("wrong_amount", true_one, DisputeGrade::Refuted),
        ("above_ceiling", true_one, DisputeGrade::Refuted),
        ("wrong_client", true_one, DisputeGrade::Refuted),
        ("wrong_amount", dear, DisputeGrade::Shown),
        ("wrong_output", true_one, DisputeGrade::Claimed),
        ("usage_bounds", true_one, DisputeGrade::Claimed),
    ];
    for (code, change, grade) in table {
        // The single node is certain to be drawn; the world's price makes 150 msat of the receipt's usage.
        let mut world = World::new(&[price(1_000_000, 1_000_000); 2]);
        let verdict = AckVerdict::Disputed(code.into());
        let (at, actions) = job(&mut world, request(Mode::Balanced), 0, verdict, change);
        let wanted = JournalKind::ProvenAck { grade, paid: fedai_protocol::Msat::ZERO };
        let journaled = |action: &Action| matches!(action, Action::Journal { kind, .. } if *kind == wanted);
        assert!(actions.iter().any(journaled), "{code} {grade:?}: {actions:?}");
        let trust = trust(&world, at);
        assert_eq!(trust == Trust::default(), grade == DisputeGrade::Refuted, "{code}");
        assert_eq!(trust.dimensions(world.now).price_permille, 0);
    }
}

#[test]
fn money_counts_when_a_rail_has_verified_it_and_never_by_the_receipt_alone() {
    let mut scores = Vec::new();
    for paid in [0, 1_000_000] {
        let paid = fedai_protocol::Msat::saturating(paid);
        let mut world = World::new(&[price(1_000_000, 1_000_000); 2]);
        let (ticket, dispatch) = world.dispatch(request(Mode::Balanced));
        let at = world.nodes.iter().position(|node| node.id() == dispatch.nodes[0].node).unwrap();
        let signed = served(&world, &ticket, at, 0, |_| {});
        let word = ack(&signed, &key(901), AckVerdict::Accepted, START);
        let actions = world.step(Input::Acknowledged(AckHeard { paid, ..heard(&word) }));
        let wanted = JournalKind::ProvenAck { grade: DisputeGrade::Claimed, paid };
        let is_kept = |action: &Action| matches!(action, Action::Journal { kind, .. } if *kind == wanted);
        assert!(actions.iter().any(is_kept), "a restart has to find it again: {actions:?}");
        scores.push(trust(&world, at).evidence(world.now).delivery.good_milli);
    }
    assert!(scores[0] > 0 && scores[1] > scores[0] * 4, "{scores:?}");
}

fn assertion(world: &World, bad: u32) -> TrustAssertion {
    let all = EvidenceWeights { good_milli: 100_000, bad_milli: bad };
    TrustAssertion {
        node: world.nodes[0].id(),
        rank: 99,
        dimensions: TrustDimensions::default(),
        evidence: Some(TrustEvidence { delivery: all, metering: all, price: all, identity: all }),
        receipts: 1_000,
    }
}

#[test]
fn an_assertion_of_somebody_who_is_not_followed_changes_nothing() {
    let mut world = World::new(&[Price::FREE; 2]);
    let mut followed = terms(&world.router);
    followed.follow = [(key(60).public_key(), 0.5)].into();
    world.core = RouterCore::new(world.now, followed);
    world.announce();
    let before = (world.core.state_hash(world.now), world.core.status(world.now));
    let hear = |world: &mut World, by: u64| {
        let said = assertion(world, 0);
        let heard = Received::simulated(said, key(by).public_key(), world::event_id(by), world.now.seconds());
        world.step(Input::Assertion(heard));
    };
    hear(&mut world, 61);
    assert_eq!((world.core.state_hash(world.now), world.core.status(world.now)), before);
    hear(&mut world, 60);
    let (hash, status) = (world.core.state_hash(world.now), world.core.status(world.now));
    let (told, own) = (&status.nodes, &before.1.nodes);
    let rank = |nodes: &[fedai_router_agent::core::status::NodeStatusLine]| {
        nodes.iter().find(|line| line.node == world.nodes[0].id()).map(|line| line.rank).unwrap()
    };
    assert!(rank(told) > 20 && rank(own) == 0);
    assert_eq!(hash, before.0, "what comes back from relays is no state of ours");
    // Nor is it passed on as our own word.
    world.now = world.now.plus_seconds(61);
    let said = world.step(Input::Tick);
    let is_rank = |action: &Action| {
        matches!(action, Action::Publish(fedai_router_agent::core::announcing::Announcement::Assertion(_)))
    };
    assert!(!said.iter().any(is_rank));
}
