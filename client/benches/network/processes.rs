//! Relay, router and node as processes of the built binary, with all their state in one folder that goes with them.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fedai_client::shell::buyer::{Buyer, RouterContact};
use fedai_client::shell::config::RouterWish;
use fedai_relay_bridge::RelayList;

use crate::cpu_time;
use crate::purchase;

/// Longest that a start is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// One relay, one router, one node.
pub struct Network {
    folder: tempfile::TempDir,
    parts: Vec<(&'static str, Child)>,
    pub relay: String,
}

impl Drop for Network {
    fn drop(&mut self) {
        for (_, child) in &mut self.parts {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Network {
    /// Starts all three and waits until a job is answered.
    pub async fn start(runner: &[&str]) -> Self {
        let mut network =
            Self { folder: tempfile::tempdir().unwrap(), parts: Vec::new(), relay: String::new() };
        network.spawn("relay", &["relay-bridge", "serve", "--listen", "127.0.0.1:0"]);
        network.relay = network.relay_url().await;
        let (relay, router, node) =
            (network.relay.clone(), network.path("router-data"), network.path("node-data"));
        network.spawn("router", &["router-agent", "run", "--data", &router, "--relay", &relay]);
        let mut words = vec!["node-agent", "run", "--data", &node, "--name", "bench", "--relay", &relay];
        words.extend(runner);
        network.spawn("node", &words);
        network.wait_for_an_answer().await;
        network
    }

    /// The same in front of an OpenAI-compatible server, with the node's gateway open.
    pub async fn with_gateway(runner: &str, slots: u32) -> Self {
        let slots = slots.to_string();
        let words =
            ["--runner", runner, "--runner-kind", "openai", "--slots", &slots, "--gateway", "127.0.0.1:0"];
        Self::start(&words).await
    }

    /// A buyer with a connection and a data folder of its own, and the router it asks.
    pub async fn buyer(&self, name: &str) -> (Buyer, Vec<RouterContact>) {
        let list = RelayList::single(&self.relay).unwrap();
        let folder = self.folder.path().join(name);
        let buyer = Buyer::connect(list, &folder, PATIENCE).await.unwrap();
        let contacts = buyer.routers(RouterWish::Any, Duration::from_secs(2)).await;
        (buyer, contacts)
    }

    /// Processor time of each process so far.
    pub fn cpu(&self) -> Vec<(&'static str, Duration)> {
        self.parts.iter().map(|(name, child)| (*name, cpu_time::used_by(child.id()))).collect()
    }

    /// Memory that a process holds now.
    pub fn memory_mb(&self, part: &str) -> f64 {
        let child = self.parts.iter().find(|(name, _)| *name == part).map(|(_, child)| child.id());
        cpu_time::resident_mb(child.unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn spawn(&mut self, name: &'static str, words: &[&str]) {
        let log = File::create(self.folder.path().join(format!("{name}.log"))).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_fedai"));
        for (variable, _) in std::env::vars().filter(|(variable, _)| variable.starts_with("FEDAI_")) {
            command.env_remove(variable);
        }
        command
            .args(words)
            .current_dir(self.folder.path())
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.parts.push((name, command.spawn().unwrap()));
    }

    async fn relay_url(&self) -> String {
        let log = self.folder.path().join("relay.log");
        let mut look = tokio::time::interval(Duration::from_millis(20));
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            look.tick().await;
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            if let Some(url) = text.lines().find_map(|line| line.strip_prefix("listening ")) {
                return url.trim().to_owned();
            }
        }
        panic!("the relay did not start:\n{}", tail(&log));
    }

    async fn wait_for_an_answer(&self) {
        let mut look = tokio::time::interval(Duration::from_millis(200));
        let begun = Instant::now();
        let mut last = String::from("no router announced itself");
        while begun.elapsed() < PATIENCE {
            look.tick().await;
            let (buyer, contacts) = self.buyer("first-buyer").await;
            if !contacts.is_empty() {
                match purchase::buy(&buyer, &contacts, None).await {
                    Ok(_) => return buyer.close().await,
                    Err(code) => last = code,
                }
            }
            buyer.close().await;
        }
        let logs = ["router.log", "node.log"].map(|name| tail(&self.folder.path().join(name)));
        panic!("no answer in time, last: {last}\n{}", logs.join("\n"));
    }
}

fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
