//! The commands that fit a runner, as a user gives them; and every command of `docs/simulator.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::process::{Command, Output};

use clap::CommandFactory as _;
use serde_json::Value;

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fedai-sim"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap())
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn a_recording_is_fitted_checked_and_replayed() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("calibration");
    let out = folder.to_str().unwrap();
    let recording = "sim/data/observed_llama_cpp.jsonl";
    let output = sim(&["calibrate", "--observed", recording, "--out", out]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&std::fs::read(folder.join("report.json")).unwrap()).unwrap();
    assert_eq!(report["passed"], true, "{}", report["gates"]);
    assert_eq!(report["held_out"]["requests"], 96);
    for name in ["report.md", "ttft.svg", "total.svg"] {
        assert!(folder.join(name).exists(), "{name}");
    }
    let profile = folder.join("profile.json");
    let output = sim(&["replay", "--observed", recording, "--profile", profile.to_str().unwrap(), "--json"]);
    let accuracy: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(accuracy["requests"], 192);
}

#[test]
fn a_file_of_another_kind_is_refused_with_its_name() {
    let output = sim(&["calibrate", "--observed", "sim/data/splitwise_medians.csv"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && said.contains("splitwise_medians.csv: line 1 is not about a runner"),
        "{said}"
    );
}

#[test]
fn every_documented_command_of_the_simulator_is_understood() {
    let text = include_str!("../../docs/simulator.md");
    let commands: Vec<&str> = text.lines().filter(|line| line.starts_with("fedai-sim ")).collect();
    assert!(commands.len() >= 4, "{commands:?}");
    for command in commands {
        let words = command.split('#').next().unwrap().split_whitespace();
        let outcome = fedai_sim::cli::Cli::command().try_get_matches_from(words);
        assert!(outcome.is_ok(), "{command}: {}", outcome.unwrap_err());
    }
}
