//! `docker/compose.yml` serves a job that is sent from outside of it, and every part stops cleanly.
//!
//! Needs a Docker Engine and either form of Compose, and the image `fedai:dev` (made by `docker/build.sh`).
//! Where one of them is missing the test says which and skips, unless `FEDAI_REQUIRE_DOCKER=1`: then it makes
//! the image, and fails where it cannot run. Whatever happens, the stack is taken down.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval, timeout};

#[tokio::test]
async fn compose_stack_serves_a_job_from_outside() {
    let Some(compose) = ready() else { return };
    let stack = Stack::up(compose);
    until("every health check passes", || stack.is_healthy()).await;

    // The router hears of the node over the relay, some time after both are healthy.
    let mut answer = None;
    until("a job from outside is served", || {
        answer = stack.chat("Name three colours.");
        answer.is_some()
    })
    .await;
    let answer = answer.expect("the last try was successful");
    assert_eq!(answer["verified"], true, "{answer}");
    assert!(!answer["output"].as_str().unwrap_or_default().is_empty(), "{answer}");
    assert!(answer["receipt"].is_string() || answer["receipt"].is_object(), "{answer}");

    stack.stops_cleanly();
}

/// The Compose command of this machine, once everything the test needs is there; none where it has to skip.
fn ready() -> Option<Vec<&'static str>> {
    let required = is_required();
    let missing = |what: &str, hint: &str| {
        assert!(!required, "FEDAI_REQUIRE_DOCKER=1, but {what} (hint: {hint})");
        eprintln!("skipped: {what}\nhint: {hint}");
        None
    };
    if !succeeds(&["docker", "info"]) {
        return missing("no Docker Engine answers", "start it, or add this user to the group docker");
    }
    let forms: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];
    let Some(compose) = forms.into_iter().find(|form| succeeds(&[form, &["version"][..]].concat())) else {
        return missing("no Compose is installed", "install docker-compose, or the Compose plugin of Docker");
    };
    if !succeeds(&["docker", "image", "inspect", "fedai:dev"]) {
        if !required {
            return missing("the image fedai:dev is missing", "make it: docker/build.sh");
        }
        let build = docker_folder().join("build.sh");
        assert!(Command::new("bash").arg(build).status().unwrap().success(), "docker/build.sh failed");
    }
    Some(compose.to_vec())
}

/// A running stack under a name of its own; taken down when it goes out of scope.
struct Stack {
    compose: Vec<&'static str>,
    project: String,
    port: u16,
    home: tempfile::TempDir,
}

impl Stack {
    fn up(compose: Vec<&'static str>) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let project = format!("fedaitest{}", std::process::id());
        let stack = Self { compose, project, port, home: tempfile::tempdir().unwrap() };
        let output = stack.compose(&["up", "-d", "--no-build"]);
        assert!(output.status.success(), "compose up failed: {}", text(&output.stderr));
        stack
    }

    fn is_healthy(&self) -> bool {
        let states = self.inspect("{{.Name}} {{.State.Health.Status}}");
        states.lines().count() == SERVICES && states.lines().all(|line| line.ends_with(" healthy"))
    }

    /// One job from this machine; none while the network has no node to offer.
    fn chat(&self, prompt: &str) -> Option<Value> {
        let output = Command::new(env!("CARGO_BIN_EXE_fedai"))
            .args(["chat", "--relay", &format!("ws://127.0.0.1:{}", self.port), "--json", prompt])
            .env("HOME", self.home.path())
            .envs(["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"].map(|name| (name, self.home.path())))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        if !output.status.success() {
            eprintln!("fedai chat: {}: {}", output.status, text(&output.stderr));
            return None;
        }
        Some(serde_json::from_slice(&output.stdout).expect("--json prints one JSON object"))
    }

    /// SIGTERM ends each process by itself, with exit code 0: nobody is killed after the grace period.
    fn stops_cleanly(&self) {
        let output = self.compose(&["stop"]);
        assert!(output.status.success(), "compose stop failed: {}", text(&output.stderr));
        let states = self.inspect("{{.Name}} exit={{.State.ExitCode}}");
        assert_eq!(states.lines().count(), SERVICES, "{states}");
        assert!(states.lines().all(|line| line.ends_with(" exit=0")), "{states}");
    }

    fn inspect(&self, format: &str) -> String {
        // `ps --all` is not known to both forms of Compose; the label is set by both.
        let label = format!("label=com.docker.compose.project={}", self.project);
        let listed =
            Command::new("docker").args(["ps", "--all", "--quiet", "--filter", &label]).output().unwrap();
        let containers = text(&listed.stdout);
        let mut inspect = Command::new("docker");
        inspect.args(["inspect", "--format", format]).args(containers.lines());
        text(&inspect.output().unwrap().stdout).trim().to_owned()
    }

    fn compose(&self, arguments: &[&str]) -> Output {
        Command::new(self.compose[0])
            .args(&self.compose[1..])
            .arg("--project-name")
            .arg(&self.project)
            .arg("--file")
            .arg(docker_folder().join("compose.yml"))
            .args(arguments)
            .env("FEDAI_RELAY_PORT", self.port.to_string())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", text(&self.compose(&["ps"]).stdout));
            eprintln!("{}", text(&self.compose(&["logs", "--no-color", "--tail", "40"]).stdout));
            eprintln!("hint: an image older than the tree is renewed by docker/build.sh");
        }
        self.compose(&["down", "--volumes", "--timeout", "5"]);
    }
}

/// Asks once a second, for at most [`PATIENCE`].
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let asking = async {
        loop {
            ticks.tick().await;
            if done() {
                return;
            }
        }
    };
    assert!(timeout(PATIENCE, asking).await.is_ok(), "not within {PATIENCE:?}: {what}");
}

#[expect(clippy::disallowed_methods, reason = "a test has no command line of its own")]
fn is_required() -> bool {
    std::env::var("FEDAI_REQUIRE_DOCKER").is_ok_and(|value| value == "1")
}

fn succeeds(command: &[&str]) -> bool {
    let mut process = Command::new(command[0]);
    process.args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    process.status().is_ok_and(|status| status.success())
}

fn docker_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docker")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Relay, router and the node with the mock runner.
const SERVICES: usize = 3;
/// Two cores and a cold start: health checks run every five seconds.
const PATIENCE: Duration = Duration::from_secs(90);
