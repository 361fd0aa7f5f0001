//! One real prompt from process to process: chat, why, receipts, and what the others get to see of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod network;

use network::openai_server::OpenAiServer;
use network::schema::validate;
use network::{Streaming, World, expected_answer, json, with_input};
use serde_json::Value;

const CANARY: &str = "canary-7f3a91 says hello";
const ANSWER: [&str; 3] = ["answer-51d2c8 ", "reply-90ab7e ", "finis-6c04f3"];

/// Relay, router and one node with the mock; gives the relay's URL.
fn small_network(world: &mut World, runner: &str) -> String {
    let relay = world.relay("relay");
    world.router(&[&relay]);
    world.node("node-a", &[&relay], runner);
    world.wait_for_nodes(&[&relay], 1);
    relay
}

#[test]
fn a_chat_is_answered_verified_and_explained() {
    let mut world = World::new();
    let relay = small_network(&mut world, "mock://local?tokens=12");
    let relays = [relay.as_str()];
    let output = world.client(&relays, &["chat", "--json", "Name three colours."]).output().unwrap();
    let answer = json(&output);
    assert_eq!(answer["output"], expected_answer("Name three colours.", 12));
    assert_eq!((&answer["verified"], &answer["cost_msat"]), (&Value::Bool(true), &Value::from(0)));
    assert_eq!(answer["usage"]["output_tokens"], 12);
    validate("answer", &answer);

    let nodes = json(&world.client(&relays, &["nodes", "--json"]).output().unwrap());
    assert_eq!(nodes["nodes"][0]["node"], answer["node"]);
    validate("nodes", &nodes);
    let routers = json(&world.client(&relays, &["routers", "--json"]).output().unwrap());
    assert_eq!(routers["routers"][0]["router"], answer["router"]);
    validate("routers", &routers);
    let models = json(&world.client(&relays, &["models", "--json"]).output().unwrap());
    assert_eq!(models["models"][0]["model"], answer["model"]);
    validate("models", &models);

    let receipt = answer["receipt"].as_str().unwrap();
    let why = json(&world.client(&relays, &["why", &receipt[..16], "--json"]).output().unwrap());
    assert_eq!(why["digest_matches"], true);
    assert!(why["candidates"].as_array().unwrap().iter().any(|row| row["verdict"] == "chosen"));
    validate("why", &why);
    let listed = json(&world.client(&relays, &["receipts", "list", "--json"]).output().unwrap());
    assert_eq!(listed["receipts"][0]["receipt"], receipt);
    assert_eq!(listed["receipts"][0]["verdict"], "accepted");
    validate("receipts", &listed);
}

#[test]
fn text_streams_to_stdout_and_the_price_to_stderr() {
    let mut world = World::new();
    let relay = small_network(&mut world, "mock://local?tokens=20&token_ms=150");
    let command = world.client(&[&relay], &["chat", "hello"]);
    let mut streaming = Streaming::start(command, world.log("client"));
    streaming.wait_for_output(1);
    let expected = expected_answer("hello", 20);
    assert!(streaming.stdout.len() < expected.len() / 2, "the first output comes long before the last");
    let (code, stdout, stderr) = streaming.finish();
    assert_eq!((code, stdout), (0, format!("{expected}\n")));
    assert!(stderr.lines().any(|line| line.ends_with("· verified")), "{stderr}");

    let piped = with_input(world.client(&[&relay], &["chat", "-q"]), "hello");
    assert_eq!(String::from_utf8(piped.stdout).unwrap(), format!("{expected}\n"));
    let completed = world.client(&[&relay], &["complete", "--json", "Once"]).output().unwrap();
    let body = serde_json::json!({"prompt": "Once"});
    let expected = fedai_node_agent::shell::runners::mock::expected_text(&body, 20);
    assert_eq!(json(&completed)["output"], expected);
}

#[test]
fn without_a_router_the_client_schedules_itself() {
    let mut world = World::new();
    let relay = world.relay("relay");
    let data = world.path().join("node-a").display().to_string();
    let arguments = [
        "node-agent",
        "run",
        "--data",
        &data,
        "--runner-kind",
        "mock",
        "--runner",
        "mock://local?tokens=5",
        "--relay",
        &relay,
        "--accept-self-dispatch",
    ];
    world.start("node-a", &arguments);
    let answer = network::wait_for("an answer", || {
        let output = world.client(&[&relay], &["chat", "--json", "--router", "self", "hi"]).output().unwrap();
        output.status.success().then(|| json(&output))
    });
    assert_eq!((&answer["output"], &answer["verified"]), (&expected_answer("hi", 5).into(), &true.into()));
}

#[test]
fn a_request_larger_than_one_event_arrives_whole() {
    let mut world = World::new();
    let relay = small_network(&mut world, "mock://local?tokens=5&context=100000");
    let prompt = "a long story ".repeat(6_000);
    let output = with_input(world.client(&[&relay], &["chat", "--json", "-"]), &prompt);
    assert_eq!(json(&output)["output"], expected_answer(&prompt, 5));
}

#[test]
fn neither_prompt_nor_answer_nor_secret_is_in_any_log_or_file() {
    let mut world = World::with_full_logs();
    let server = OpenAiServer::start(&ANSWER);
    let relay = world.relay("relay");
    world.router(&[&relay]);
    world.node_of_kind("node-a", &[&relay], "openai", &server.url);
    world.wait_for_nodes(&[&relay], 1);
    let command = world.client(&[&relay], &["chat", CANARY]);
    let (code, stdout, _) = Streaming::start(command, world.log("client")).finish();
    assert_eq!(code, 0);
    let answer = stdout.trim_end();
    assert_eq!(answer, ANSWER.concat());
    assert!(
        server.seen.lock().unwrap().iter().any(|body| body.contains(CANARY)),
        "the prompt went over HTTP"
    );
    let files = world.files();
    let secrets: Vec<Vec<u8>> = files
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|end| end == "key"))
        .map(|(_, bytes)| bytes.trim_ascii().to_vec())
        .collect();
    assert!(!secrets.is_empty(), "the agents keep their keys in files");
    for part in ["relay", "router", "node-a", "client"] {
        let log = std::fs::read_to_string(world.log(part)).unwrap();
        assert!(log.contains("DEBUG") || log.contains("TRACE"), "the log of {part} has nothing to search");
    }
    for (path, bytes) in &files {
        let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(!holds(CANARY.as_bytes()), "the prompt is in {}", path.display());
        for word in ANSWER {
            assert!(!holds(word.trim().as_bytes()), "the answer is in {}", path.display());
        }
        for secret in &secrets {
            let is_itself = path.extension().is_some_and(|end| end == "key");
            assert!(is_itself || !holds(secret), "a secret key is in {}", path.display());
        }
    }
}
