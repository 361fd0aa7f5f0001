//! What nodes are told of the decisions that they were part of.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use std::collections::BTreeMap;

use fedai_protocol::limits::{STANDING_OFFERS_MAX, STANDINGS_PER_PERIOD_MAX};
use fedai_protocol::node_descriptor::NodeStatus;
use fedai_protocol::quote_request::Mode;
use fedai_protocol::{Msat, NodeStanding, Price, PublicKey};
use fedai_router_agent::core::announcing::Announcement;
use fedai_router_agent::core::{Action, Input};
use world::{Node, START, World, descriptor, price, request, sign};

/// Lets a summary period pass; gives what nodes are told.
fn told(world: &mut World) -> BTreeMap<PublicKey, NodeStanding> {
    world.now = world.now.plus_seconds(61);
    let actions = world.step(Input::Tick);
    let told = actions.into_iter().filter_map(|action| match action {
        Action::Publish(Announcement::Standing(standing)) => Some((standing.node, *standing)),
        _ => None,
    });
    told.collect()
}

fn check_sums(standing: &NodeStanding) {
    for offer in &standing.offers {
        let filtered: u32 = offer.filtered.values().sum();
        assert_eq!(offer.decisions, offer.looked_at, "a small fleet is always looked at");
        assert_eq!(filtered + offer.not_drawn + offer.lost_pair + offer.chosen, offer.looked_at);
    }
}

#[test]
fn every_decision_is_accounted_for_at_every_node() {
    let mut world = World::new(&[price(10_000, 10_000), price(20_000, 20_000), price(400_000, 400_000)]);
    for _ in 0..30 {
        world.ask(request(Mode::Cheapest));
    }
    let told = told(&mut world);
    assert_eq!(told.len(), 3);
    told.values().for_each(check_sums);
    let offers: Vec<_> = world.nodes.iter().map(|node| told[&node.id()].offers[0].clone()).collect();
    assert!(offers.iter().all(|offer| offer.decisions == 30));
    assert_eq!(offers.iter().map(|offer| offer.chosen).sum::<u32>(), 30);
    let ranks: Vec<_> = offers.iter().map(|offer| offer.price.unwrap()).collect();
    assert_eq!(ranks.iter().map(|rank| (rank.place, rank.of)).collect::<Vec<_>>(), [(1, 3), (2, 3), (3, 3)]);
    assert!(ranks.iter().all(|rank| rank.median == ranks[1].own && rank.best == ranks[0].own));
    assert!(!offers[0].first_token.unwrap().is_measured, "nobody was ever measured");
}

#[test]
fn the_code_that_keeps_a_node_out_is_counted_and_named_as_it_is_now() {
    let mut world = World::new(&[price(1_000, 1_000), price(900_000_000, 900_000_000)]);
    let poor =
        fedai_protocol::QuoteRequest { max_cost: Some(Msat::saturating(5_000)), ..request(Mode::Balanced) };
    for _ in 0..5 {
        world.ask(poor.clone());
    }
    let told = told(&mut world);
    let dear = &told[&world.nodes[1].id()].offers[0];
    assert_eq!(dear.filtered, [("price_ceiling".to_owned(), 5)].into());
    assert_eq!(dear.now.as_deref(), Some("price_ceiling"));
    assert_eq!((dear.chosen, dear.not_drawn), (0, 0));
    let cheap = &told[&world.nodes[0].id()].offers[0];
    assert_eq!((cheap.chosen, cheap.now.as_deref()), (5, None));
}

#[test]
fn a_node_is_told_once_and_only_when_something_was_decided() {
    let mut world = World::new(&[Price::FREE, Price::FREE]);
    assert!(told(&mut world).is_empty(), "nobody asked");
    world.ask(request(Mode::Balanced));
    assert_eq!(told(&mut world).len(), 2);
    assert!(told(&mut world).is_empty(), "nothing new");
    world.ask(request(Mode::Balanced));
    let again = told(&mut world);
    assert!(again.values().all(|standing| standing.offers[0].decisions == 2), "counts go on for an hour");
    assert!(again.values().all(|standing| standing.since <= START.plus(62)));
    world.now = world.now.plus_seconds(3_600);
    assert!(told(&mut world).is_empty());
    world.ask(request(Mode::Balanced));
    assert!(told(&mut world).values().all(|standing| standing.offers[0].decisions == 3));
    world.ask(request(Mode::Balanced));
    assert!(told(&mut world).values().all(|standing| standing.offers[0].decisions == 1), "and begin anew");
}

#[test]
fn a_decision_that_found_nobody_counts_too() {
    let mut world = World::new(&[Price::FREE]);
    let node = Node::new(1, Price::FREE);
    let paused = fedai_protocol::NodeDescriptor {
        status: NodeStatus::Paused,
        ..descriptor("node-1", START.plus(900))
    };
    world.nodes[0].descriptor = sign(&paused, &node.key, START.plus(1));
    world.announce();
    world.ask(request(Mode::Balanced));
    let told = told(&mut world);
    assert_eq!(told[&node.id()].offers[0].filtered, [("not_active".to_owned(), 1)].into());
}

#[test]
fn many_nodes_have_their_turn_and_a_large_fleet_is_looked_at_after_the_answer() {
    let nodes = STANDINGS_PER_PERIOD_MAX + 40;
    let mut world = World::new(&vec![price(10, 10); nodes]);
    world.ask(request(Mode::Balanced));
    world.now = world.now.plus_seconds(1);
    world.step(Input::Tick);
    let first = told(&mut world);
    assert_eq!(first.len(), STANDINGS_PER_PERIOD_MAX);
    let second = told(&mut world);
    assert_eq!(second.len(), 40, "the others, and nobody twice");
    assert!(first.keys().all(|node| !second.contains_key(node)));
    let all = first.values().chain(second.values());
    assert!(all.clone().all(|standing| standing.offers[0].looked_at == 1));
    assert!(all.clone().all(|standing| standing.offers.len() <= STANDING_OFFERS_MAX));
    assert_eq!(all.map(|standing| standing.offers[0].chosen).sum::<u32>(), 1);
}
