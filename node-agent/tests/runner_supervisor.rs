//! Supervision against a process of our own: a small Python server that can be told to misbehave.
//!
//! The rule: whatever the process does, the status tells the truth and nothing outlives the handle.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use fedai_node_agent::shell::supervisor::{
    Handle, RestartPolicy, State, Supervisor, SupervisorEvent, SupervisorSpec, free_loopback_port,
};
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};

/// argv: port, file. Words in the file change what it does.
const SERVER: &str = r#"
import http.server, os, signal, subprocess, sys, time
port, orders = int(sys.argv[1]), sys.argv[2]
def told(word):
    return os.path.exists(orders) and word in open(orders).read()
if told("crash"):
    sys.exit(3)
if told("deaf"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("starting up", sorted(os.environ), flush=True)
child = subprocess.Popen(["sleep", "600"])
open(orders + ".child", "w").write(str(child.pid))
class Server(http.server.BaseHTTPRequestHandler):
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(b'{"data":[{"id":"tiny"}]}')
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        print("request", body, flush=True)
        if told("hang"):
            time.sleep(600)
        self.answer(b'{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"length"}]}')
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", port), Server).serve_forever()
"#;

struct Stage {
    dir: tempfile::TempDir,
    handle: Handle,
    events: mpsc::Receiver<SupervisorEvent>,
}

impl Stage {
    fn start(order: &str, change: impl FnOnce(&mut SupervisorSpec)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("server.py"), SERVER).unwrap();
        let port = free_loopback_port().unwrap();
        let work_dir = dir.path().join("work");
        let mut spec = SupervisorSpec::new("openai", port, "/usr/bin/env", work_dir);
        let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        spec.args = vec!["python3".into(), path("server.py"), port.to_string(), path("orders")];
        spec.restart = RestartPolicy {
            first: Duration::from_millis(20),
            longest: Duration::from_millis(40),
            restarts_max: 3,
            ..RestartPolicy::default()
        };
        spec.start_timeout = Duration::from_secs(20);
        spec.stop_timeout = Duration::from_secs(5);
        change(&mut spec);
        std::fs::write(dir.path().join("orders"), order).unwrap();
        let (sender, events) = mpsc::channel(64);
        let handle = Supervisor::start(spec, sender).unwrap();
        Self { dir, handle, events }
    }

    fn order(&self, word: &str) {
        std::fs::write(self.dir.path().join("orders"), word).unwrap();
    }

    async fn event(&mut self) -> SupervisorEvent {
        timeout(Duration::from_secs(30), self.events.recv()).await.unwrap().unwrap()
    }

    /// Waits for an event and returns the names of everything up to it.
    async fn until(&mut self, want: impl Fn(&SupervisorEvent) -> bool) -> Vec<SupervisorEvent> {
        let mut seen = Vec::new();
        loop {
            seen.push(self.event().await);
            if want(&seen[seen.len() - 1]) {
                return seen;
            }
        }
    }

    fn grandchild(&self) -> u32 {
        let text = std::fs::read_to_string(self.dir.path().join("orders.child")).unwrap();
        text.parse().unwrap()
    }

    fn requests(&self) -> usize {
        std::fs::read_to_string(self.dir.path().join("work/runner.log"))
            .unwrap_or_default()
            .matches("request")
            .count()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("work/runner.log")).unwrap()
    }
}

/// Whether a process is gone, or is a zombie nobody has collected yet.
fn is_gone(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.contains(") Z "),
        Err(_) => !Path::new(&format!("/proc/{pid}")).exists(),
    }
}

async fn wait_until_gone(pid: u32) {
    let mut ticks = interval(Duration::from_millis(20));
    let gone = async {
        while !is_gone(pid) {
            ticks.tick().await;
        }
    };
    timeout(Duration::from_secs(10), gone).await.expect("the process must end");
}

fn is_healthy(event: &SupervisorEvent) -> bool {
    *event == SupervisorEvent::Healthy
}

#[tokio::test]
async fn it_starts_becomes_healthy_and_stops_with_its_whole_group() {
    let mut stage = Stage::start("", |_| {});
    let seen = stage.until(is_healthy).await;
    let status = stage.handle.status();
    // Another process may have taken the port first: then there was a restart.
    assert!(matches!(seen[0], SupervisorEvent::Started { .. }), "{seen:?}");
    assert!(seen.contains(&SupervisorEvent::Started { pid: status.pid.unwrap() }), "{seen:?}");
    assert_eq!(status.state, State::Healthy);
    assert!(status.sandbox.iter().any(|note| note.starts_with("niceness: ")), "{status:?}");
    let (pid, grandchild) = (status.pid.unwrap(), stage.grandchild());
    let view = stage.handle.subscribe();
    assert!(!is_gone(pid) && !is_gone(grandchild));
    stage.handle.stop().await;
    assert!(is_gone(pid));
    wait_until_gone(grandchild).await;
    assert_eq!(view.borrow().state, State::Stopped);
    assert_eq!(view.borrow().pid, None);
}

#[tokio::test]
async fn its_environment_is_cleared_and_its_requests_are_not_logged() {
    let mut stage = Stage::start("", |spec| {
        spec.env = vec![("RUNNER_OWN".into(), "1".into())];
        spec.canary_timeout = Duration::from_secs(3);
        spec.canary_interval = Duration::from_millis(50);
    });
    stage.until(is_healthy).await;
    let log = stage.log();
    assert!(log.contains("starting up") && log.contains("RUNNER_OWN"), "{log}");
    // cargo sets this one for every test.
    assert!(std::env::vars_os().any(|(name, _)| name == "CARGO_MANIFEST_DIR"));
    assert!(!log.contains("CARGO_MANIFEST_DIR"), "{log}");
    let before = log.matches("request").count();
    stage.order("hang");
    stage.until(|e| matches!(e, SupervisorEvent::CanaryFailed { .. })).await;
    assert_eq!(stage.log().matches("request").count(), before, "only start-up output is kept");
    stage.handle.stop().await;
}

#[tokio::test]
async fn a_killed_runner_is_started_again() {
    let mut stage = Stage::start("", |_| {});
    stage.until(is_healthy).await;
    let first = stage.handle.status().pid.unwrap();
    let kill = format!("kill -9 {first}");
    assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let seen = stage.until(is_healthy).await;
    assert!(matches!(&seen[0], SupervisorEvent::Exited { how } if how.contains("9")), "{seen:?}");
    assert!(matches!(seen[1], SupervisorEvent::Restarting { .. }), "{seen:?}");
    let status = stage.handle.status();
    assert_eq!(status.state, State::Healthy);
    assert!(status.restarts >= 1, "{status:?}");
    assert_ne!(status.pid, Some(first));
    stage.handle.stop().await;
}

#[tokio::test]
async fn a_runner_that_keeps_crashing_is_given_up() {
    let mut stage = Stage::start("crash", |_| {});
    let seen = stage.until(|e| *e == SupervisorEvent::Flapping).await;
    let count = |want: fn(&SupervisorEvent) -> bool| seen.iter().filter(|e| want(e)).count();
    assert_eq!(count(|e| matches!(e, SupervisorEvent::Started { .. })), 4);
    assert_eq!(count(|e| matches!(e, SupervisorEvent::Restarting { .. })), 3);
    assert!(!stage.handle.healthy().await);
    let status = stage.handle.status();
    assert_eq!((status.state, status.restarts, status.pid), (State::Flapping, 3, None));
    assert_eq!(status.last_exit.as_deref(), Some("exit status: 3"));
    stage.handle.stop().await;
}

#[tokio::test]
async fn a_runner_that_answers_health_but_makes_no_token_is_restarted() {
    let mut stage = Stage::start("", |spec| {
        spec.canary_interval = Duration::from_millis(50);
        spec.canary_timeout = Duration::from_secs(3);
    });
    stage.until(is_healthy).await;
    stage.order("hang");
    let seen = stage.until(|e| matches!(e, SupervisorEvent::Exited { .. })).await;
    let stalled = SupervisorEvent::CanaryFailed { code: "stalled" };
    assert_eq!(seen.iter().filter(|e| **e == stalled).count(), 2, "{seen:?}");
    stage.order("");
    stage.until(is_healthy).await;
    assert!(stage.handle.status().restarts >= 1);
    stage.handle.stop().await;
}

#[tokio::test]
async fn a_first_token_that_takes_long_is_waited_for() {
    let mut stage = Stage::start("hang", |spec| spec.canary_timeout = Duration::from_millis(300));
    // A second request means that the first one was given up.
    let mut ticks = interval(Duration::from_millis(20));
    let asked_again = async {
        while stage.requests() < 2 {
            ticks.tick().await;
        }
    };
    timeout(Duration::from_secs(30), asked_again).await.expect("the canary is sent again");
    stage.order("");
    let seen = stage.until(is_healthy).await;
    let failed = |e: &SupervisorEvent| matches!(e, SupervisorEvent::CanaryFailed { .. });
    assert!(!seen.iter().any(failed), "{seen:?}");
    stage.handle.stop().await;
}

#[tokio::test]
async fn a_runner_deaf_to_the_polite_signal_is_killed_after_the_deadline() {
    let mut stage = Stage::start("deaf", |spec| spec.stop_timeout = Duration::from_millis(200));
    stage.until(is_healthy).await;
    let (pid, grandchild) = (stage.handle.status().pid.unwrap(), stage.grandchild());
    let view = stage.handle.subscribe();
    stage.handle.stop().await;
    assert!(is_gone(pid));
    wait_until_gone(grandchild).await;
    let how = view.borrow().last_exit.clone().unwrap();
    assert!(how.contains("SIGKILL") && how.contains("200 ms after"), "{how}");
}

#[tokio::test]
async fn dropping_the_handle_ends_the_runner() {
    let mut stage = Stage::start("", |_| {});
    stage.until(is_healthy).await;
    let (pid, grandchild) = (stage.handle.status().pid.unwrap(), stage.grandchild());
    drop(stage.handle);
    wait_until_gone(pid).await;
    wait_until_gone(grandchild).await;
}

#[tokio::test]
async fn a_missing_program_is_a_crash_like_any_other() {
    let mut stage = Stage::start("", |spec| spec.program = "/nonexistent/runner".into());
    stage.until(|e| *e == SupervisorEvent::Flapping).await;
    stage.handle.stop().await;
}
