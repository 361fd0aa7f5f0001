//! A conversation at a terminal, which util-linux's `script` provides: it goes on after a turn, and a signal ends it at
//! the prompt as well.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod network;

use std::io::Write;
use std::process::{Command, Stdio};

use network::{World, expected_answer, wait_for};

#[test]
fn a_conversation_answers_and_ends_with_130_when_it_is_terminated_at_the_prompt() {
    let mut world = World::new();
    let relay = world.relay("relay");
    world.router(&[&relay]);
    world.node("node-a", &[&relay], "mock://local?tokens=6");
    world.wait_for_nodes(&[&relay], 1);
    let client = world.client(&[&relay], &["chat"]);
    let words: Vec<String> = std::iter::once(client.get_program())
        .chain(client.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    // The mode of the terminal after the end must be the one before it.
    let talk = format!("echo \"process $$\"; exec {}", words.join(" "));
    let talk = talk.replace('\'', "'\\''");
    let line = format!("stty -g; sh -c '{talk}'; echo \"exit $?\"; stty -g");
    let screen = world.log("screen");
    let mut script = Command::new("script");
    script.args(["-qfc", &line, "/dev/null"]).current_dir(world.path());
    for (name, value) in client.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    script.env("TERM", "xterm").env("SHELL", "/bin/sh").env("RUST_LOG", "off");
    let output = std::fs::File::create(&screen).unwrap();
    let mut child = script.stdin(Stdio::piped()).stdout(output).spawn().unwrap();
    let mut keyboard = child.stdin.take().unwrap();
    world.adopt("terminal", child);
    let shown = || String::from_utf8_lossy(&std::fs::read(&screen).unwrap()).into_owned();
    wait_for("the prompt", || shown().contains("> ").then_some(()));
    keyboard.write_all(b"hello\r").unwrap();
    let after = wait_for("the answer", || {
        let text = shown();
        Some(text.find(" verified")? + " verified".len())
    });
    assert!(shown().contains(expected_answer("hello", 6).trim_end()));
    wait_for("the prompt again", || shown()[after..].contains("> ").then_some(()));
    let text = shown();
    let process = text.split("process ").nth(1).unwrap().split_whitespace().next().unwrap();
    let stop = Command::new("kill").args(["-TERM", process]).status().unwrap();
    assert!(stop.success());
    assert_eq!(world.exit_code("terminal"), Some(0));
    drop(keyboard);
    let text = shown();
    assert!(text.rfind("\u{1b}[?2004l") > text.rfind("\u{1b}[?2004h"), "pasting is as it was");
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert!(lines.contains(&"exit 130"), "{text}");
    assert_eq!(lines.first(), lines.last(), "the terminal is as it was found");
}
