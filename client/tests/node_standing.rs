//! Why no work comes, from process to process: a router decides, the node hears of it, its operator asks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod network;

use network::{World, json, wait_for};
use serde_json::Value;

fn why(world: &World, node: &str) -> Value {
    let data = world.path().join(node).display().to_string();
    json(&world.command(&["node-agent", "why", "--json", "--data", &data]).output().unwrap())
}

/// A router that tells nodes how they stand every second.
fn quick_router(world: &mut World, relay: &str) {
    let file = world.path().join("router.toml");
    std::fs::write(&file, "summary_seconds = 1\n").unwrap();
    let (file, data) = (file.display().to_string(), world.path().join("router").display().to_string());
    world.start("router", &["router-agent", "run", "--data", &data, "--config", &file, "--relay", relay]);
}

/// What the node's operator is told once `is_enough`.
fn told(world: &World, relay: &str, node: &str, is_enough: impl Fn(&Value) -> bool) -> Value {
    wait_for("a standing", || {
        // Each question is a decision about every node.
        drop(world.client(&[relay], &["quote", "--json"]).output().unwrap());
        let router = why(world, node)["routers"].get(0)?.clone();
        is_enough(&router).then_some(router)
    })
}

#[test]
fn an_operator_is_told_the_rank_the_filter_code_and_the_relay() {
    let mut world = World::new();
    let relay = world.relay("relay");
    world.node("node-a", &[&relay], "mock://local?tokens=4");
    let alone = wait_for("a node that is advertised", || {
        let data = world.path().join("node-a");
        data.join("status.json")
            .exists()
            .then(|| why(&world, "node-a"))
            .filter(|why| why["checks"][4]["ok"] == true)
    });
    assert!(alone["routers"].as_array().unwrap().is_empty());
    assert!(alone["checks"].as_array().unwrap().iter().all(|check| check["ok"] == true), "{alone}");
    let data = world.path().join("node-a").display().to_string();
    let words = world.command(&["node-agent", "why", "--data", &data]).output().unwrap();
    assert!(String::from_utf8_lossy(&words.stdout).contains("no router has told this node anything"));

    quick_router(&mut world, &relay);
    world.node("node-b", &[&relay], "mock://local?tokens=4");
    world.wait_for_nodes(&[&relay], 2);
    let router = told(&world, &relay, "node-a", |router| {
        router["standing"]["offers"][0]["price"]["of"] == 2
            && !router["standing"]["heard"][0]["load_ping"].is_null()
    });
    let offer = &router["standing"]["offers"][0];
    let count = |name: &str| offer[name].as_u64().unwrap_or_default();
    assert!(count("decisions") > 0);
    assert_eq!(count("decisions"), count("looked_at"));
    assert_eq!(router["standing"]["heard"][0]["relay"].as_str().unwrap().trim_end_matches('/'), relay);
    assert!(!router["sentence"].as_str().unwrap().is_empty());

    let pause = world.command(&["node-agent", "pause", "--data", &data]).status().unwrap();
    assert!(pause.success());
    let router = told(&world, &relay, "node-a", |router| {
        router["sentence"].as_str().unwrap().starts_with("filtered: not_active")
    });
    assert!(router["advice"][0].as_str().unwrap().contains("paused"), "{router}");
    let words = world.command(&["node-agent", "why", "--data", &data]).output().unwrap();
    let words = String::from_utf8_lossy(&words.stdout).into_owned();
    assert!(
        words.contains("FAIL  state") && words.contains("filtered: not_active") && words.contains("price"),
        "{words}"
    );

    let other = world.path().join("node-b").display().to_string();
    assert!(world.command(&["node-agent", "pause", "--data", &other]).status().unwrap().success());
    wait_for("both are known to be paused", || {
        let nodes = world.client(&[&relay], &["nodes"]).output().unwrap();
        let said = String::from_utf8_lossy(&nodes.stderr).into_owned();
        (nodes.status.code() == Some(5) && said.contains("announced and paused, or leaving: 2")).then_some(())
    });
}
