//! `fedai bench` as a user sees it, against servers whose delays are known.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod network;

use std::process::{Command, Stdio};
use std::time::Duration;

use network::openai_server::{Manner, OpenAiServer};
use network::{World, json, schema};
use serde_json::Value;

const WORDS: &[&str] = &["one ", "two ", "three ", "four ", "five "];

/// Runs the command; gives what it wrote into its file.
fn measured(world: &World, arguments: &[&str]) -> Value {
    let file = world.path().join("bench.json");
    let mut words = vec!["bench", "--model", "served", "--json", file.to_str().unwrap()];
    words.extend(arguments);
    let output = world.command(&words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!output.stdout.is_empty(), "the table is printed as well");
    let result: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    schema::validate("bench", &result);
    result
}

/// A measured time over the one that it must be: at least 1, and not far above it on a busy machine.
#[track_caller]
fn assert_near(target: &Value, what: &str, known_ms: f64) {
    let ratio = target[what]["p50"].as_f64().unwrap() / known_ms;
    assert!((0.97..1.6).contains(&ratio), "{what}: {ratio} times the known delay in {target}");
}

#[test]
fn known_delays_are_measured_streamed_and_whole_and_targets_keep_apart() {
    let world = World::new();
    let ms = Duration::from_millis;
    let delays = |first, gap| Manner { first: ms(first), gap: ms(gap), ..Manner::default() };
    let quick = OpenAiServer::with(WORDS, delays(40, 20));
    let slow = OpenAiServer::with(WORDS, delays(120, 60));
    let plot = world.path().join("latency.svg");
    let more = ["--url", &quick.url, "--compare", &slow.url, "--requests", "12"];
    let streamed = [&more[..], &["--stream", "--plot", plot.to_str().unwrap()]].concat();
    let result = measured(&world, &streamed);
    for (server, factor) in [(&quick, 1.0), (&slow, 3.0)] {
        let target = &result["targets"][&server.url];
        assert_near(target, "ttft_ms", 40.0 * factor);
        assert_near(target, "itl_ms", 20.0 * factor);
        assert_near(target, "total_ms", 120.0 * factor);
        assert_eq!((&target["answers"], &target["errors"]), (&12.into(), &0.into()));
        // One at a time: the rate is what the time of one answer allows.
        let rate = target["requests_per_second"].as_f64().unwrap() * 0.12 * factor;
        assert!((0.6..1.03).contains(&rate), "{rate} of the rate that is possible");
        assert_eq!(server.seen.lock().unwrap().len(), 12 + 5, "as many as were asked for, and the warm-up");
    }
    let svg = std::fs::read_to_string(plot).unwrap();
    assert!(svg.contains("First token") && svg.contains(&quick.url) && svg.contains(&slow.url));
    let whole = measured(&world, &[&more[..4], &["--requests", "6", "--concurrency", "3"]].concat());
    let target = &whole["targets"][&quick.url];
    assert_near(target, "total_ms", 120.0);
    assert_eq!(target["itl_ms"]["p50"], Value::Null, "nothing was between");
    let prompts = quick.seen.lock().unwrap();
    let distinct: std::collections::BTreeSet<&String> = prompts.iter().collect();
    assert!(distinct.len() >= 12 + 5, "no prefix cache helps: {} of {}", distinct.len(), prompts.len());
}

#[test]
fn a_server_that_stalls_once_is_charged_for_every_request_that_came_due_meanwhile() {
    let world = World::new();
    let stall = Duration::from_millis(1_500);
    // The seventh request is the second that counts.
    let stalled = || OpenAiServer::with(WORDS, Manner { stall: Some((6, stall)), ..Manner::default() });
    let (open, closed) = (stalled(), stalled());
    let half = |result: &Value, url: &str| result["targets"][url]["total_ms"]["p50"].as_f64().unwrap();
    // Sixty due in about 1.2 s: nearly all of them while nobody is served.
    let result = measured(&world, &["--url", &open.url, "--requests", "60", "--rate", "50"]);
    let open_p50 = half(&result, &open.url);
    assert!(open_p50 > 400.0, "half of the requests waited for {open_p50} ms at least");
    // One at a time never sees more than one slow answer.
    let result = measured(&world, &["--url", &closed.url, "--requests", "60"]);
    let closed_p50 = half(&result, &closed.url);
    assert!(closed_p50 < open_p50 / 4.0, "{closed_p50} ms");
    let longest = result["targets"][&closed.url]["total_ms"]["max"].as_f64().unwrap();
    assert!(longest >= 1_490.0, "{longest}");
}

#[test]
fn a_target_that_does_not_answer_is_named_with_the_way_out() {
    let world = World::new();
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/v1", listener.local_addr().unwrap())
    };
    let server = OpenAiServer::start(WORDS);
    let bench = |arguments: &[&str]| {
        let output = world.command(&[&["bench", "--model", "m"], arguments].concat()).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = bench(&["--url", &server.url, "--compare", &nobody]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&nobody) && said.contains("hint: ") && said.contains("fedai serve"), "{said}");
    assert!(server.seen.lock().unwrap().len() < 2, "nothing is measured before all targets answer");
    let wrong = format!("{}/other/v1", server.url);
    let (code, said) = bench(&["--url", &wrong]);
    assert!(code == 1 && said.contains("HTTP 404") && said.contains("/models"), "{said}");
    let (code, said) = bench(&["--url", &server.url, "--compare", &server.url]);
    assert!(code == 2 && said.contains("named twice"), "{said}");
    assert_eq!(bench(&["--url", "ftp://host/v1"]).0, 2);
    assert_eq!(bench(&["--url", &server.url, "--rate", "0"]).0, 2);
    assert_eq!(bench(&["--url", &server.url, "--rate", "5", "--concurrency", "2"]).0, 2);
}

#[test]
fn the_networks_endpoint_is_measured_beside_its_own_runner() {
    let mut world = World::new();
    let delays = Manner { first: Duration::from_millis(30), ..Manner::default() };
    let runner = OpenAiServer::with(WORDS, delays);
    let relay = world.relay("relay");
    world.router(&[&relay]);
    world.node_of_kind("node", &[&relay], "openai", &runner.url);
    world.wait_for_nodes(&[&relay], 1);
    let url = world.serve(&[&relay], &[])["url"].as_str().unwrap().to_owned();
    let direct = format!("{}/v1", runner.url);
    let arguments = ["--url", &direct, "--compare", &url, "--requests", "10", "--stream"];
    let result = measured(&world, &arguments);
    let at = |url: &str| &result["targets"][url];
    assert_eq!((&at(&url)["answers"], &result["errors"]), (&10.into(), &0.into()), "{result}");
    let first = |url: &str| at(url)["ttft_ms"]["p50"].as_f64().unwrap();
    assert!(first(&url) > first(&direct), "the way through the network is not free");
    assert!(first(&url) < 1_000.0, "{}", at(&url));
    // The flag before the command asks for the object on stdout instead.
    let plain = world
        .command(&["--json", "bench", "--url", &direct, "--model", "served", "--requests", "2"])
        .output();
    schema::validate("bench", &json(&plain.unwrap()));
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_gives_what_was_measured_until_then() {
    let world = World::new();
    let file = world.path().join("bench.json").display().to_string();
    for pace in [["--concurrency", "4"], ["--rate", "200"]] {
        let delays = Manner { first: Duration::from_millis(10), ..Manner::default() };
        let server = OpenAiServer::with(WORDS, delays);
        let words = ["bench", "--url", &server.url, "--model", "m", "--requests", "100000", "--json", &file];
        let mut command = world.command(&[&words[..], &pace].concat());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        network::wait_for("some requests", || (server.seen.lock().unwrap().len() > 40).then_some(()));
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{pace:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(&server.url), "the table is printed");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("interrupted: what follows is of") && said.contains("of 100000"), "{said}");
        let result: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        schema::validate("bench", &result);
        let target = &result["targets"][&server.url];
        assert_eq!((&result["interrupted"], &target["errors"]), (&true.into(), &0.into()), "{result}");
        assert!(
            target["answers"].as_u64().unwrap() > 10 && target["requests_per_second"].as_f64() > Some(1.0)
        );
    }
}
