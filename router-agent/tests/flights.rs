//! Jobs under way: what ends one that nobody speaks of, what a full node learns its router, and how often a job is
//! asked for again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use fedai_protocol::message::Received;
use fedai_protocol::quote_request::Mode;
use fedai_protocol::{LoadPing, Price, PublicKey, QuoteRequest, Refusal, RefusalCode};
use fedai_router_agent::core::{Action, Input};
use world::{World, key, request};

fn in_flight(world: &World) -> u32 {
    world.core.status(world.now).nodes[0].models[0].in_flight
}

fn ping(world: &mut World, seconds: u64, running: u32) {
    world.now = world.now.plus_seconds(seconds);
    let load = LoadPing { node: "node-1".into(), running, queued: 0, slots: 4, load_permille: 0, wait_ms: 0 };
    let id = world::event_id(70_000 + seconds + u64::from(running));
    let ping = Received::simulated(load, world.nodes[0].id(), id, world.now.seconds());
    world.step(Input::LoadPing(ping));
}

#[test]
fn a_load_ping_ends_late_jobs_that_its_node_does_not_run_and_no_others() {
    let mut world = World::new(&[Price::FREE]);
    for _ in 0..3 {
        world.dispatch(request(Mode::Balanced));
    }
    ping(&mut world, 5, 0);
    assert_eq!(in_flight(&world), 3, "they may still be on their way");
    ping(&mut world, 6, 0);
    assert_eq!(
        in_flight(&world),
        3,
        "they are expected to take longer, whatever their node says of its load"
    );
    ping(&mut world, 30, 3);
    assert_eq!(in_flight(&world), 3, "the node runs them");
    ping(&mut world, 1, 1);
    assert_eq!(in_flight(&world), 1);
    world.dispatch(request(Mode::Balanced));
    ping(&mut world, 1, 0);
    assert_eq!(in_flight(&world), 1, "the new one may still be on its way");
    ping(&mut world, 12, 0);
    assert_eq!(in_flight(&world), 1, "it is not late");
    ping(&mut world, 45, 0);
    assert_eq!(in_flight(&world), 0);
}

/// Asks as a client, and tells the core of the signed ticket: the node, or the refusal.
fn ask_as(world: &mut World, client: u64, request: QuoteRequest) -> Result<PublicKey, Refusal> {
    for action in world.ask_as(request, key(client).public_key()) {
        match action {
            Action::Quote { draft, .. } => {
                let ticket = draft.dispatch.clone().unwrap();
                let (author, at) = (world.router.public_key(), world.now.seconds());
                let (id, node) = (world::event_id(80_000 + world.asked), ticket.nodes[0].node);
                world.step(Input::Dispatched(Received::simulated(ticket, author, id, at)));
                return Ok(node);
            }
            Action::Refuse { refusal, .. } => return Err(refusal),
            _ => {}
        }
    }
    panic!("no answer")
}

fn without(node: PublicKey) -> QuoteRequest {
    let mut request = request(Mode::Balanced);
    request.constraints.not_nodes = vec![node];
    request
}

#[test]
fn a_full_node_that_turns_a_job_away_gets_a_lower_cap_and_no_breaker() {
    let mut world = World::new(&[Price::FREE]);
    for client in 0..5 {
        ask_as(&mut world, 600 + client, request(Mode::Balanced)).unwrap();
    }
    let node = world.nodes[0].id();
    // The fifth found four slots taken; its client asks for another node, and there is none.
    let none = ask_as(&mut world, 604, without(node)).unwrap_err();
    assert_eq!(none.code, RefusalCode::NoNode);
    let refusal = ask_as(&mut world, 610, request(Mode::Balanced)).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Busy, "{refusal:?}");
    assert!(refusal.message.contains("1 saturated") && refusal.retry_after_ms.is_some(), "{refusal:?}");
}

#[test]
fn retries_beyond_their_budget_are_told_when_to_come_back() {
    let mut world = World::new(&[Price::FREE; 16]);
    for client in 700..800 {
        world.now = world.now.plus_millis(10);
        let Ok(node) = ask_as(&mut world, client, request(Mode::Balanced)) else { break };
        let Err(refusal) = ask_as(&mut world, client, without(node)) else { continue };
        assert!(refusal.message.contains("asked for again"), "{refusal:?}");
        assert_eq!(refusal.code, RefusalCode::Busy);
        assert!(refusal.retry_after_ms.is_some());
        assert!(client > 725, "the saved budget goes further than {client}");
        return;
    }
    panic!("a hundred retries in a second are over the budget");
}

#[test]
fn a_router_that_has_just_heard_of_its_first_node_believes_its_slots() {
    let mut world = World::new(&[Price::FREE]);
    // Four slots, four jobs each: no median has been computed yet.
    for _ in 0..16 {
        world.dispatch(request(Mode::Balanced));
    }
    assert_eq!(in_flight(&world), 16);
    let actions = world.ask(request(Mode::Balanced));
    let is_busy = |refusal: &Refusal| refusal.code == RefusalCode::Busy;
    let refused = |action: &Action| matches!(action, Action::Refuse { refusal, .. } if is_busy(refusal));
    assert!(actions.iter().any(refused), "{actions:?}");
}
