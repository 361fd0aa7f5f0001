//! A job whose client went away without a word ends as soon as its node says that it is not running it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use fedai_protocol::message::Received;
use fedai_protocol::quote_request::Mode;
use fedai_protocol::{LoadPing, Price};
use fedai_router_agent::core::Input;
use world::{World, request};

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
fn a_load_ping_ends_jobs_that_its_node_does_not_run() {
    let mut world = World::new(&[Price::FREE]);
    for _ in 0..3 {
        world.dispatch(request(Mode::Balanced));
    }
    ping(&mut world, 5, 0);
    assert_eq!(in_flight(&world), 3, "they may still be on their way");
    ping(&mut world, 6, 3);
    assert_eq!(in_flight(&world), 3, "the node runs them");
    ping(&mut world, 1, 1);
    assert_eq!(in_flight(&world), 1);
    world.dispatch(request(Mode::Balanced));
    ping(&mut world, 1, 0);
    assert_eq!(in_flight(&world), 1, "the new one may still be on its way");
    ping(&mut world, 12, 0);
    assert_eq!(in_flight(&world), 0);
}
