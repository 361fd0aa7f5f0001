//! The first five minutes: `fedai up --once` with a real model, installed and started by the program itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods, reason = "a test reads the environment that it was started in")]

mod network;

use network::{World, json};

/// The user's own cache is used: the model is downloaded once, not once per test.
fn with_cache(command: &mut std::process::Command) -> &mut std::process::Command {
    let cache = std::env::var("XDG_CACHE_HOME")
        .unwrap_or_else(|_| format!("{}/.cache", std::env::var("HOME").unwrap_or_default()));
    command.env("XDG_CACHE_HOME", cache).env("FEDAI_RUNNER_PORTS", "")
}

#[test]
fn one_command_answers_with_a_real_model_and_ends_verified() {
    let world = World::new();
    let arguments = ["up", "--once", "Name three colours.", "--relay-listen", "127.0.0.1:0"];
    let output = with_cache(&mut world.command(&arguments)).env("RUST_LOG", "warn").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let (answer, last) = stdout.trim_end().rsplit_once('\n').expect("an answer and a last line");
    assert!(!answer.trim().is_empty());
    let receipt = last.strip_prefix("verified ").expect("verified").split(' ').next().unwrap();
    assert!(receipt.len() == 64 && receipt.bytes().all(|byte| byte.is_ascii_hexdigit()), "{last}");
    for part in ["relay    ws://127.0.0.1:", "router   ", "node     ", "models   "] {
        assert!(stderr.contains(part), "{part} is not said: {stderr}");
    }
}

#[test]
fn up_stays_says_what_it_started_serves_a_chat_and_stops_on_sigterm() {
    let mut world = World::new();
    let data = world.path().join("up").display().to_string();
    let arguments = [
        "up",
        "--json",
        "--data",
        &data,
        "--relay-listen",
        "127.0.0.1:0",
        "--runner",
        "mock://local?tokens=6",
    ];
    let mut up = world
        .command(&arguments)
        .stdout(std::process::Stdio::piped())
        .stderr(std::fs::File::create(world.log("up")).unwrap())
        .spawn()
        .unwrap();
    let stdout = up.stdout.take().unwrap();
    let process = up.id().to_string();
    world.adopt("up", up);
    let first = network::first_line(stdout);
    let output: serde_json::Value = serde_json::from_str(&first).unwrap();
    let relay = output["relay"].as_str().unwrap().to_owned();
    world.wait_for_nodes(&[&relay], 1);
    let answer = json(&world.client(&[&relay], &["chat", "--json", "hi"]).output().unwrap());
    assert_eq!((&answer["node"], &answer["router"]), (&output["node"], &output["router"]));
    let stop = std::process::Command::new("kill").args(["-TERM", &process]).status().unwrap();
    assert!(stop.success());
    assert_eq!(world.exit_code("up"), Some(0), "{}", std::fs::read_to_string(world.log("up")).unwrap());
}

/// Nothing is fetched or waited for where no model of that name will come.
#[test]
fn a_model_that_is_not_there_is_said_at_once_with_those_that_are() {
    let world = World::new();
    for (runner, there) in [
        (&["--runner", "mock://local?tokens=6"][..], "there is: mock-words"),
        (&[], "there is: smollm2-135m-instruct"),
    ] {
        let words = ["up", "--once", "hi", "--model", "nope", "--json", "--relay-listen", "127.0.0.1:0"];
        let mut command = world.command(&[&words[..], runner].concat());
        let begun = std::time::Instant::now();
        let output = command.env("FEDAI_RUNNER_PORTS", "").output().unwrap();
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
        assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
        let error: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(error["error"]["code"], "unknown_model");
        assert!(error["error"]["message"].as_str().unwrap().contains(there), "{error}");
    }
    let alone = world.command(&["up", "--model", "nope"]).output().unwrap();
    assert_eq!(alone.status.code(), Some(2), "a model is for the one question");
}
