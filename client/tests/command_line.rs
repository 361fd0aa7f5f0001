//! The command line as scripts see it: exit codes, help texts, schemas, keys and receipts files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod network;

use fedai_client::cli::schema::{file_text, schemas};
use network::{World, json, with_input};
use serde_json::Value;

/// Variables that are set to nothing, as compose files do, are none that are set.
const NOTHING: [(&str, &str); 15] = [
    ("FEDAI_RELAYS", ""),
    ("FEDAI_ROUTER", ""),
    ("FEDAI_MODE", ""),
    ("FEDAI_MAX_PRICE", ""),
    ("FEDAI_DIRECT", ""),
    ("FEDAI_TIMEOUT", ""),
    ("FEDAI_DATA", ""),
    ("FEDAI_CONFIG", ""),
    ("FEDAI_MODEL", ""),
    ("FEDAI_RUNNER", ""),
    ("FEDAI_RUNNER_KIND", ""),
    ("FEDAI_GATEWAY", ""),
    ("FEDAI_NODE_NAME", ""),
    ("FEDAI_ALLOW_REMOTE_RUNNER", ""),
    ("FEDAI_ROUTER_PASSPHRASE", ""),
];

fn exit(world: &World, arguments: &[&str]) -> i32 {
    world.command(arguments).output().unwrap().status.code().unwrap()
}

#[test]
fn exit_codes_are_what_the_manual_says() {
    let world = World::new();
    assert_eq!(exit(&world, &["--version"]), 0);
    assert_eq!(exit(&world, &["chat", "--no-such-flag"]), 2);
    assert_eq!(exit(&world, &["chat", "--relay", "ws://127.0.0.1:1", " "]), 2, "an empty prompt");
    assert_eq!(exit(&world, &["chat", "--timeout", "soon", "hi"]), 3);
    assert_eq!(exit(&world, &["chat", "--relay", "http://x", "hi"]), 3);
    assert_eq!(exit(&world, &["chat", "--relay", "ws://127.0.0.1:1", "--timeout", "2s", "hi"]), 4);
    let too_much = "x".repeat(fedai_protocol::limits::REQUEST_BYTES_MAX + 1);
    let refused = with_input(world.command(&["chat", "--relay", "ws://127.0.0.1:1", "-"]), &too_much);
    assert_eq!(
        refused.status.code(),
        Some(2),
        "a prompt that no node takes is refused before anybody is asked"
    );
    let mut empty = world.command(&["chat", "--relay", "ws://127.0.0.1:1", "hi"]);
    assert_eq!(
        empty.envs(NOTHING).output().unwrap().status.code(),
        Some(4),
        "empty variables are no settings"
    );
    assert_eq!(exit(&world, &["why", "abcdef", "--data", "nowhere"]), 1);
    assert_eq!(exit(&world, &["schema", "nothing"]), 2);
}

#[test]
fn an_agent_without_a_relay_gives_up_with_the_code_of_the_manual() {
    let world = World::new();
    let data = world.path().join("agent").display().to_string();
    let parts: [&[&str]; 2] = [
        &["router-agent", "run"],
        &["node-agent", "run", "--runner-kind", "mock", "--runner", "mock://local"],
    ];
    for part in parts {
        let mut command = world.command(part);
        command.args(["--relay", "ws://127.0.0.1:1", "--data", &data]).envs(NOTHING);
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.code(), Some(4), "{part:?}\n{said}");
        assert!(said.contains("127.0.0.1:1"), "{part:?} names the relay\n{said}");
    }
}

#[test]
fn a_relay_without_a_network_is_said_with_a_way_out() {
    let mut world = World::new();
    let relay = world.relay("relay");
    for arguments in [&["chat", "hi"][..], &["models"], &["nodes"], &["routers"], &["doctor"]] {
        let output = world.client(&[&relay], arguments).args(["--timeout", "3s"]).output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{arguments:?}");
        let said = [output.stdout, output.stderr].concat();
        assert!(String::from_utf8(said).unwrap().contains("fedai up"), "{arguments:?}");
    }
    let output = world.client(&[&relay], &["chat", "--json", "hi", "--timeout", "3s"]).output().unwrap();
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&error["error"]["code"], &error["error"]["exit"]), (&"no_router".into(), &5.into()));
}

#[test]
fn every_command_explains_itself() {
    let world = World::new();
    let commands = [
        "up",
        "chat",
        "complete",
        "models",
        "nodes",
        "routers",
        "quote",
        "audit",
        "why",
        "receipts",
        "key",
        "doctor",
        "completions",
        "schema",
    ];
    let help = String::from_utf8(world.command(&["--help"]).output().unwrap().stdout).unwrap();
    for command in commands {
        assert!(help.contains(&format!("  {command} ")), "{command} is missing in --help");
        assert_eq!(exit(&world, &[command, "--help"]), 0);
    }
    for agent in ["relay-bridge", "router-agent", "node-agent"] {
        assert!(!help.contains(agent), "{agent} is hidden");
        assert_eq!(exit(&world, &[agent, "--help"]), 0);
    }
    let script = world.command(&["completions", "bash"]).output().unwrap().stdout;
    assert!(String::from_utf8(script).unwrap().contains("_fedai"));
}

/// The files are written by: for n in $(fedai schema); do fedai schema $n > docs/schema/$n.json; done
#[test]
fn the_published_schemas_are_the_ones_of_this_version() {
    for (name, schema) in schemas() {
        let path = format!("{}/../docs/schema/{name}.json", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), file_text(&schema), "{path}");
    }
}

#[test]
fn a_key_is_encrypted_at_rest_and_shown_only_when_asked_for() {
    let world = World::new();
    let data = world.path().join("keys").display().to_string();
    let run = |arguments: &[&str], phrase: &str| {
        let mut command = world.command(arguments);
        command.args(["--data", &data, "--json"]).env("FEDAI_PASSPHRASE", phrase).output().unwrap()
    };
    let made = json(&run(&["key", "new"], "horse staple"));
    assert!(made.get("nsec").is_none());
    let file = made["file"].as_str().unwrap();
    assert!(std::fs::read_to_string(file).unwrap().starts_with("ncryptsec1"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(json(&run(&["key", "show"], ""))["public_key"], made["public_key"]);
    let shown = json(&run(&["key", "show", "--reveal"], "horse staple"));
    assert!(shown["nsec"].as_str().unwrap().starts_with("nsec1"));
    assert_eq!(run(&["key", "show", "--reveal"], "wrong").status.code(), Some(1));
    assert_eq!(run(&["key", "new"], "x").status.code(), Some(1), "a key is not replaced by accident");
    let mut import = world.command(&["key", "import", "--force", "--data", &data, "--json"]);
    import.env("FEDAI_PASSPHRASE", "other");
    let imported = json(&with_input(import, shown["nsec"].as_str().unwrap()));
    assert_eq!(imported["public_key"], made["public_key"]);
}

#[test]
fn a_receipts_file_holds_until_a_byte_a_line_or_a_signature_is_not_its_own() {
    let mut world = World::new();
    let relay = world.relay("relay");
    world.router(&[&relay]);
    world.node("node-a", &[&relay], "mock://local?tokens=4");
    world.wait_for_nodes(&[&relay], 1);
    for prompt in ["one", "two", "three"] {
        json(&world.client(&[&relay], &["chat", "--json", prompt]).output().unwrap());
    }
    let path = world.path().join("export.jsonl");
    let file = path.display().to_string();
    assert!(world.client(&[], &["receipts", "export", &file]).status().unwrap().success());
    let honest = std::fs::read_to_string(&path).unwrap();
    let own = json(&world.client(&[], &["receipts", "verify", "--json"]).output().unwrap());
    assert_eq!((&own["receipts"], &own["closed"]), (&3.into(), &true.into()), "the store itself holds too");
    let verify = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let output = world.command(&["receipts", "verify", &file, "--json"]).output().unwrap();
        let object: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), object["line"].as_u64())
    };
    assert_eq!(verify(&honest), (0, None));
    let lines: Vec<&str> = honest.lines().collect();
    let joined = |lines: &[&str]| format!("{}\n", lines.join("\n"));
    let flipped = lines[1].replacen("mock-words", "mock-wordz", 1);
    assert_eq!(verify(&joined(&[lines[0], &flipped, lines[2], lines[3]])), (7, Some(2)), "one changed byte");
    assert_eq!(verify(&joined(&[lines[0], lines[2], lines[3]])), (7, Some(2)), "a removed line");
    assert_eq!(verify(&joined(&lines[..3])).0, 7, "without its end line");
    assert_eq!(verify(&joined(&lines[..2])).0, 7, "without its end line and the last entry");
    assert!(verify(&joined(&lines[..2])).1.is_some(), "the line is named");
    assert_eq!(
        verify(&joined(&[lines[0], lines[1], lines[3]])),
        (7, Some(3)),
        "a cut tail under an end line"
    );
    let mut foreign: Value = serde_json::from_str(lines[0]).unwrap();
    let other: Value = serde_json::from_str(lines[1]).unwrap();
    foreign["receipt"]["sig"] = other["receipt"]["sig"].clone();
    let foreign = foreign.to_string();
    assert_eq!(
        verify(&joined(&[&foreign, lines[1], lines[2], lines[3]])),
        (7, Some(1)),
        "a foreign signature"
    );
}

/// A reader that has gone has seen enough; a disk that is full has not.
#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let mut world = World::new();
    let relay = world.relay("relay");
    world.router(&[&relay]);
    world.node("node", &[&relay], "mock://local?tokens=4&token_ms=1&prefill_ms=1&slots=2");
    world.wait_for_nodes(&[&relay], 1);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let status =
        world.client(&[&relay], &["chat", "hi"]).stdout(full).stderr(std::process::Stdio::null()).status();
    assert_eq!(status.unwrap().code(), Some(1));
}

/// However short the time: when it is over, the answer is "timeout", not a word about clocks.
#[test]
fn a_deadline_below_a_second_is_a_timeout() {
    let mut world = World::new();
    let relay = world.relay("relay");
    world.router(&[&relay]);
    world.node("node", &[&relay], "mock://local?tokens=4&token_ms=1&prefill_ms=3000&slots=2");
    world.wait_for_nodes(&[&relay], 1);
    for timeout in ["10ms", "300ms", "1500ms"] {
        assert_eq!(exit(&world, &["chat", "--relay", &relay, "--timeout", timeout, "hi"]), 124, "{timeout}");
    }
}

/// Nodes that want a router, and a router that is announced and says nothing, are not an empty network.
#[test]
fn nodes_that_want_a_router_and_a_silent_router_are_said_with_a_way_out() {
    let mut world = World::new();
    let relay = world.relay("relay");
    world.router(&[&relay]);
    world.node("node", &[&relay], "mock://local?tokens=4&token_ms=1&prefill_ms=1&slots=2");
    world.wait_for_nodes(&[&relay], 1);
    let check = |more: &[&str], exit: i32, code: &str, words: &str| {
        let arguments = [&["chat", "--json", "hi"], more].concat();
        let output = world.client(&[&relay], &arguments).output().unwrap();
        let error: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((output.status.code(), error["error"]["code"].as_str()), (Some(exit), Some(code)));
        assert!(error.to_string().contains(words), "{error}");
    };
    check(&["--router", "self"], 5, "router_not_accepted", "--accept-self-dispatch");
    world.signal("router", "-STOP");
    check(&["--timeout", "3s"], 124, "timeout", "1 router was asked and did not answer in 3 s");
}

/// Whoever asks for JSON gets one object, whatever happens.
#[test]
fn with_json_there_is_one_object_also_for_mistakes() {
    let world = World::new();
    let file = world.path().join("export.jsonl").display().to_string();
    let data = world.path().join("data").display().to_string();
    for (words, exit, has) in [
        (&["chat", "--nope", "--json"][..], 2, "unexpected argument '--nope' found"),
        (&["--json"], 2, "a command is missing"),
        (&["--json", "chat", "--temperature", "NaN", "hi"], 2, "from 0 to 2"),
        (&["chat", "--temperature", "-1", "hi", "--json"], 2, "from 0 to 2"),
        (&["bench", "--json", "-"], 2, "--model"),
        (&["chat", "--timeout", "soon", "hi", "--json"], 3, "timeout"),
        (&["receipts", "export", "--json", "--data", &data], 2, "leave out --json"),
        (&["receipts", "export", &file, "--json", "--data", &data], 0, "\"receipts\":0"),
        (&["completions", "bash", "--json"], 2, "leave out --json"),
        (&["schema", "--json"], 0, "\"export\""),
        (&["schema", "answer", "--json"], 0, "AnswerOutput"),
        (&["schema", "nothing", "--json"], 2, "one of answer"),
    ] {
        let output = world.command(words).output().unwrap();
        assert_eq!(output.status.code(), Some(exit), "{words:?}");
        let object: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(object.to_string().contains(has), "{words:?}: {object}");
        if exit != 0 {
            network::schema::validate("error", &object);
            assert_eq!(object["error"]["exit"], exit, "{words:?}");
            assert!(String::from_utf8_lossy(&output.stderr).contains("error:") || words.len() == 1);
        }
    }
    let plain = world.command(&["chat", "--nope"]).output().unwrap();
    assert!(plain.stdout.is_empty() && !plain.stderr.is_empty());
    let named = world.command(&["bench", "--json", "result.json"]).output().unwrap();
    assert!(named.stdout.is_empty(), "the object was wanted in a file");
}

/// One table for both agents: a service manager does not care which of them it started.
#[test]
fn agents_end_with_the_codes_of_the_manual() {
    let world = World::new();
    let data = world.path().join("agent").display().to_string();
    let nowhere = ["--relay", "ws://127.0.0.1:1"];
    let mock = ["--runner", "mock"];
    for (agents, words, code) in [
        (&["router-agent", "node-agent"][..], &["--nope"][..], 2),
        (&["router-agent", "node-agent"], &["--relay", "http://x"], 3),
        (&["router-agent", "node-agent"], &["--config", "missing.toml", "--relay", "ws://127.0.0.1:1"], 3),
        (&["router-agent", "node-agent"], &["--data", "/dev/null/data", "--relay", "ws://127.0.0.1:1"], 3),
        (&["node-agent"], &[&nowhere[..], &["--runner", "foo"]].concat(), 3),
        (&["node-agent"], &[&nowhere[..], &["--runner", "http://192.0.2.1:8080"]].concat(), 3),
        (
            &["node-agent"],
            &[&nowhere[..], &["--runner", "http://127.0.0.1:1", "--runner-kind", "x"]].concat(),
            3,
        ),
        (&["node-agent"], &[&nowhere[..], &mock, &["--gateway", "localhost"]].concat(), 3),
        (&["node-agent"], &[&nowhere[..], &mock, &["--router", "bob"]].concat(), 3),
        (&["node-agent"], &[&nowhere[..], &["--runner", "auto", "--runner-ports", "1"]].concat(), 5),
    ] {
        for agent in agents {
            let folder = ["--data", &data];
            let more = if words.contains(&"--data") { &[][..] } else { &folder };
            let output = world.command(&[&[*agent, "run"], words, more].concat()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{agent} {words:?}\n{said}");
            assert!(said.contains("error: "), "{agent} {words:?}\n{said}");
        }
    }
}

#[test]
fn colours_of_log_lines_are_those_of_the_flag() {
    let world = World::new();
    let said = |more: &[&str]| {
        let mut command = world.command(&["models", "--relay", "ws://127.0.0.1:1", "--timeout", "2s"]);
        let output = command.args(more).env("RUST_LOG", "debug").env("CLICOLOR_FORCE", "1").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("DEBUG"), "{said}");
        said
    };
    assert!(said(&["--color", "always"]).contains('\u{1b}'));
    assert!(said(&[]).contains('\u{1b}'), "the variable forces them");
    assert!(!said(&["--color", "never"]).contains('\u{1b}'));
    assert!(!said(&["--color", "always", "--log-format", "json"]).contains('\u{1b}'));
}
