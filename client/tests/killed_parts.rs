//! Parts that die in the middle: a relay, the chosen node before its first token and after. The client gets its whole
//! answer or a clear code, and nothing undelivered is paid.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod network;

use network::{Streaming, World, expected_answer, json};

const PROMPT: &str = "Tell me a long story.";

/// Two nodes with the same mock behind one router; gives the relay's URL.
fn two_nodes(world: &mut World, runner: &str) -> String {
    let relay = world.relay("relay");
    world.router(&[&relay]);
    world.node("node-a", &[&relay], runner);
    world.node("node-b", &[&relay], runner);
    world.wait_for_nodes(&[&relay], 2);
    relay
}

#[test]
fn one_of_two_relays_dies_in_mid_stream_and_the_answer_is_complete() {
    let mut world = World::new();
    let (one, two) = (world.relay("relay-1"), world.relay("relay-2"));
    let relays = [one.as_str(), two.as_str()];
    world.router(&relays);
    world.node("node-a", &relays, "mock://local?tokens=120&token_ms=100");
    world.wait_for_nodes(&relays, 1);
    let command = world.client(&relays, &["chat", PROMPT]);
    let mut streaming = Streaming::start(command, world.log("client"));
    streaming.wait_for_output(40);
    world.kill("relay-1");
    let (code, stdout, stderr) = streaming.finish();
    assert_eq!((code, stdout), (0, format!("{}\n", expected_answer(PROMPT, 120))));
    assert!(stderr.lines().any(|line| line.ends_with("· verified")), "{stderr}");
}

#[test]
fn the_chosen_node_dies_before_its_first_token_and_the_other_answers() {
    let mut world = World::new();
    let relay = two_nodes(&mut world, "mock://local?tokens=10&prefill_ms=8000");
    let relays = [relay.as_str()];
    let names: Vec<(String, String)> = keys_and_names(&world, &relays);
    let command = world.client(&relays, &["chat", PROMPT]);
    let streaming = Streaming::start(command, world.log("client"));
    let chosen = streaming.chosen_node();
    world.kill(name_of(&names, &chosen));
    let (code, stdout, _) = streaming.finish();
    assert_eq!((code, stdout), (0, format!("{}\n", expected_answer(PROMPT, 10))));
    one_receipt_of_the_other(&world, &relays, &chosen);
}

#[test]
fn the_chosen_node_dies_in_mid_stream_and_the_same_answer_goes_on_without_a_seam() {
    let mut world = World::new();
    let relay = two_nodes(&mut world, "mock://local?tokens=80&token_ms=100");
    let relays = [relay.as_str()];
    let names: Vec<(String, String)> = keys_and_names(&world, &relays);
    let command = world.client(&relays, &["chat", PROMPT]);
    let mut streaming = Streaming::start(command, world.log("client"));
    streaming.wait_for_output(40);
    let chosen = streaming.chosen_node();
    world.kill(name_of(&names, &chosen));
    let (code, stdout, _) = streaming.finish();
    assert_eq!((code, stdout), (0, format!("{}\n", expected_answer(PROMPT, 80))));
    one_receipt_of_the_other(&world, &relays, &chosen);
}

#[test]
fn the_only_node_dies_in_mid_stream_and_the_failure_has_a_code() {
    let mut world = World::new();
    let relay = world.relay("relay");
    let relays = [relay.as_str()];
    world.router(&relays);
    world.node("node-a", &relays, "mock://local?tokens=80&token_ms=100");
    world.wait_for_nodes(&relays, 1);
    let command = world.client(&relays, &["chat", PROMPT]);
    let mut streaming = Streaming::start(command, world.log("client"));
    streaming.wait_for_output(40);
    world.kill("node-a");
    let (code, stdout, stderr) = streaming.finish();
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("error: runner_interrupted"), "a clear code");
    assert!(expected_answer(PROMPT, 80).starts_with(stdout.trim_end_matches('\n')), "nothing is repeated");
    let receipts = json(&world.client(&relays, &["receipts", "list", "--json"]).output().unwrap());
    assert_eq!(receipts["receipts"].as_array().unwrap().len(), 0, "nothing was paid");
    let (_, id) = stderr.split_once("fedai why ").expect("the way to the decision");
    let id = id.split_whitespace().next().unwrap();
    let why = json(&world.client(&relays, &["why", id, "--json"]).output().unwrap());
    assert_eq!(why["attempts"][0]["outcome"], "runner_interrupted", "{why}");
    assert!(why["receipt"].is_null());
}

fn keys_and_names(world: &World, relays: &[&str]) -> Vec<(String, String)> {
    let nodes = json(&world.client(relays, &["nodes", "--json"]).output().unwrap());
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    nodes["nodes"].as_array().unwrap().iter().map(|node| (text(&node["node"]), text(&node["name"]))).collect()
}

fn name_of<'a>(names: &'a [(String, String)], key: &str) -> &'a str {
    &names.iter().find(|(known, _)| known == key).unwrap().1
}

/// Exactly one receipt, by a node that was not killed.
fn one_receipt_of_the_other(world: &World, relays: &[&str], killed: &str) {
    let receipts = json(&world.client(relays, &["receipts", "list", "--json"]).output().unwrap());
    let receipts = receipts["receipts"].as_array().unwrap();
    assert_eq!(receipts.len(), 1);
    assert_ne!(receipts[0]["node"], killed);
}
