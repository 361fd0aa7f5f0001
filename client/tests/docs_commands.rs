//! Every command in the README and the docs is one that works.
//!
//! Commands of our own programs are run: the client's against a live network, the agents' as far as their command line
//! is understood (they would run for ever). What only the gate can run (a release build, containers) must be in
//! `.ci/run`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod network;

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use network::World;

const PROGRAMS: [&str; 4] = ["fedai", "node-agent", "router-agent", "relay-bridge"];

/// Commands that the gate runs: what the docs say, and where `.ci/run` or a script it calls says it.
const RUN_BY_THE_GATE: [(&str, &str); 9] = [
    ("cargo run --release -- up --once", "cargo run --release --locked -- up --once"),
    ("cargo test --workspace", "cargo test --workspace --locked"),
    ("cargo test -p", "cargo test --workspace --locked"),
    ("cargo build --release", "cargo build --release"),
    ("cargo clippy", "cargo clippy --workspace"),
    ("cargo fmt", "cargo fmt --all --check"),
    ("cargo doc", "cargo doc --workspace"),
    ("docker/build.sh", "docker/build.sh"),
    ("bash .ci/run", "bash .ci/run"),
];
/// Run by the test of the containers, which the gate does not let skip.
const RUN_BY_THE_CONTAINER_TEST: [&str; 2] =
    ["docker compose -f docker/compose.yml", "docker-compose -f docker/compose.yml"];

/// First words of client commands that end by themselves and need nothing but the network.
const RUN_HERE: [&str; 9] =
    ["chat", "complete", "models", "nodes", "routers", "quote", "doctor", "receipts list", "completions"];

struct Documented {
    at: String,
    is_runnable: bool,
    words: Vec<String>,
}

impl Documented {
    fn line(&self) -> String {
        self.words.join(" ")
    }

    /// Program and arguments, when it is one of ours.
    fn ours(&self) -> Option<(String, Vec<String>)> {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let (program, rest) = match words[..] {
            ["cargo", "run", "--release", "--", ref rest @ ..] => ("fedai", rest),
            [program, ref rest @ ..] => (program.rsplit('/').next().unwrap_or(program), rest),
            [] => return None,
        };
        let rest = rest.iter().map(|word| (*word).to_owned()).collect();
        PROGRAMS.contains(&program).then(|| (program.to_owned(), rest))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" && name != "stage" {
            documents(&path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// All command lines in shell blocks (```sh is to be run as it stands, ```text may need a place of its own).
fn documented_commands() -> Vec<Documented> {
    let mut files = Vec::new();
    documents(&root(), &mut files);
    assert!(files.len() > 10, "only {} documents found", files.len());
    let mut found = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut block: Option<bool> = None;
        for (number, line) in (1..).zip(text.lines()) {
            block = match (line.trim(), block) {
                ("```sh", None) => Some(true),
                (fence, None) if fence.starts_with("```text") => Some(false),
                (fence, None) if fence.starts_with("```") => None,
                ("```", Some(_)) => None,
                _ => block,
            };
            let Some(is_runnable) = block else { continue };
            let at = format!("{}:{number}", file.strip_prefix(root()).unwrap().display());
            for part in line.split("&&") {
                let words = words_of(part);
                if !words.is_empty() && !line.trim_start().starts_with("```") {
                    found.push(Documented { at: at.clone(), is_runnable, words });
                }
            }
        }
    }
    found
}

/// Splits as a shell does, as far as the docs need it: quotes, comments, leading variables.
fn words_of(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote, mut started) = (String::new(), None, false);
    for letter in line.chars() {
        match (letter, quote) {
            ('"' | '\'', None) => (quote, started) = (Some(letter), true),
            (end, Some(open)) if end == open => quote = None,
            ('#', None) if word.is_empty() => break,
            (' ', None) if started || !word.is_empty() => {
                words.push(std::mem::take(&mut word));
                started = false;
            }
            (' ', None) => {}
            (other, _) => word.push(other),
        }
    }
    if started || !word.is_empty() {
        words.push(word);
    }
    let variables = words.iter().take_while(|word| word.contains('=') && !word.starts_with('-')).count();
    words.split_off(variables)
}

fn command_line(program: &str) -> clap::Command {
    match program {
        "fedai" => fedai_client::cli::Cli::command(),
        "node-agent" => fedai_node_agent::cli::Cli::command(),
        "router-agent" => fedai_router_agent::cli::Cli::command(),
        _ => fedai_relay_bridge::cli::Cli::command(),
    }
}

#[test]
fn every_documented_command_of_ours_is_understood() {
    let mut wrong = Vec::new();
    let mut understood = 0;
    for command in documented_commands() {
        let Some((program, arguments)) = command.ours() else { continue };
        // A hidden first word carries another program's command line.
        let words = std::iter::once(program.clone()).chain(arguments);
        match command_line(&program).try_get_matches_from(words) {
            Ok(_) => understood += 1,
            Err(error) if !error.use_stderr() => understood += 1,
            Err(error) => wrong.push(format!("{}: {}\n  {error}", command.at, command.line())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(understood >= 10, "only {understood} commands found in the docs");
}

#[test]
fn every_runnable_command_that_is_not_ours_is_run_by_the_gate() {
    let gate = std::fs::read_to_string(root().join(".ci/run")).unwrap();
    let containers = std::fs::read_to_string(root().join("client/tests/docker_compose.rs")).unwrap();
    let mut wrong = Vec::new();
    for command in documented_commands().iter().filter(|command| command.is_runnable) {
        let line = command.line();
        let by_gate = RUN_BY_THE_GATE.iter().find(|(said, _)| line.starts_with(said));
        let by_containers = RUN_BY_THE_CONTAINER_TEST.iter().any(|said| line.starts_with(said));
        match by_gate {
            Some((_, run)) if gate.contains(run) => {}
            Some((said, _)) => wrong.push(format!("{}: .ci/run no longer runs {said:?}", command.at)),
            None if by_containers && containers.contains("compose.yml") => {}
            None if command.ours().is_some() => {}
            None => wrong.push(format!("{}: nothing runs {line:?}", command.at)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_documented_client_commands_run_on_a_live_network() {
    let mut world = World::new();
    let relay = world.relay("relay");
    world.router(&[&relay]);
    world.node("node", &[&relay], "mock://local?tokens=4&token_ms=1&prefill_ms=1&slots=4");
    world.wait_for_nodes(&[&relay], 1);
    let mut run = std::collections::BTreeSet::new();
    for command in documented_commands() {
        let Some((program, arguments)) = command.ours().filter(|(program, _)| program == "fedai") else {
            continue;
        };
        let line = arguments.join(" ");
        if !RUN_HERE.iter().any(|first| line.starts_with(first)) || !run.insert(line.clone()) {
            continue;
        }
        // The docs name the usual relay, or none; here the network listens elsewhere.
        let mut own = Vec::new();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            if word == "--relay" {
                words.next();
            } else {
                own.push(word.as_str());
            }
        }
        let output = world.client(&[&relay], &own).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {program} {line}\n{said}", command.at);
    }
    assert!(run.len() >= 3, "only these were found in the docs and run: {run:?}");
}
