//! `fedai audit` among real processes: three nodes that run one model, and one that runs another and counts too much.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod network;

use network::openai_server::OpenAiServer;
use network::{World, wait_for};
use serde_json::Value;

const WORDS: &[&str] = &["The ", "sky ", "is ", "blue ", "and ", "the ", "sea ", "is ", "deep."];
const OTHERS: &[&str] =
    &["A ", "quite ", "different ", "tale ", "of ", "other ", "weights ", "and ", "more."];

#[test]
fn the_node_that_runs_another_model_is_the_outlier_and_nobody_else() {
    let mut world = World::new();
    let relay = world.relay("relay");
    let relays = [relay.as_str()];
    world.router(&relays);
    let servers = [WORDS, WORDS, WORDS, OTHERS].map(OpenAiServer::start);
    let names = ["node-a", "node-b", "node-c", "node-d"];
    for (name, server) in names.iter().zip(&servers) {
        world.node_of_kind(name, &relays, "openai", &server.url);
    }
    wait_for("four nodes", || {
        let output = world.client(&relays, &["nodes", "--json", "--timeout", "5s"]).output().unwrap();
        let nodes: Value = serde_json::from_slice(&output.stdout).ok()?;
        (nodes["nodes"].as_array()?.len() == 4).then_some(())
    });
    world.wait_for_nodes(&relays, 3);

    let output = world.client(&relays, &["audit", "--jobs", "8", "--json", "--publish"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let tail = || stderr.lines().rev().take(30).collect::<Vec<_>>().join("\n");
    assert_eq!(output.status.code(), Some(7), "an outlier was found\n{}", tail());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    network::schema::validate("audit", &report);
    let nodes = report["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 4);
    for node in nodes {
        assert_eq!((&node["jobs"], &node["answered"]), (&8.into(), &8.into()), "{node}");
        let expected = if node["name"] == "node-d" { "outlier" } else { "consistent" };
        assert_eq!(node["identity"], expected, "{node}");
    }
    assert_eq!(report["published"], 4, "each finding was taken by the relay");
    let asked: Vec<usize> = servers.iter().map(|server| server.seen.lock().unwrap().len()).collect();
    assert!(asked.iter().all(|jobs| *jobs >= 8), "each runner had every canary: {asked:?}");

    let table = wait_for("a table", || {
        let output = world.client(&relays, &["audit", "--jobs", "3"]).output().unwrap();
        (!output.stdout.is_empty()).then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    });
    assert!(names.iter().all(|name| table.contains(name)), "{table}");
}
