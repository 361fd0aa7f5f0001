//! A real network of processes for the tests: relays, router and nodes are this very binary, each a process of its own
//! on ports that the kernel chose, with logs at trace level that the tests can search.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

pub mod cut_line;
pub mod openai_server;
pub mod purchase;
pub mod schema;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest that anything here is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with all state and all logs of one test.
pub struct World {
    folder: tempfile::TempDir,
    /// Running parts; killed at the end.
    parts: Vec<Part>,
    /// What the logs hold.
    log_filter: &'static str,
}

/// A process.
pub struct Part {
    pub name: String,
    pub child: Child,
}

impl Drop for World {
    fn drop(&mut self) {
        for part in &mut self.parts {
            drop(part.child.kill());
            drop(part.child.wait());
        }
    }
}

impl World {
    pub fn new() -> Self {
        let log_filter = "trace,nostr_relay_pool=warn,nostr_sdk=warn,tungstenite=warn,hyper=warn,mio=warn";
        Self { folder: tempfile::tempdir().unwrap(), parts: Vec::new(), log_filter }
    }

    /// With everything in the logs that any library says.
    pub fn with_full_logs() -> Self {
        let mut world = Self::new();
        world.log_filter = "trace";
        world
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.log"))
    }

    /// This binary, without a trace of the user's own settings.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fedai"));
        let names: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
        for name in names.iter().filter(|name| name.starts_with("FEDAI_")) {
            command.env_remove(name);
        }
        let home = self.path().join("home");
        command
            .args(arguments)
            .current_dir(self.path())
            .env("HOME", &home)
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_DATA_HOME", home.join("data"))
            .env("XDG_STATE_HOME", home.join("state"))
            .env("RUST_LOG", self.log_filter)
            .stdin(Stdio::null());
        command
    }

    /// Starts a part whose log goes to a file.
    pub fn start(&mut self, name: &str, arguments: &[&str]) {
        let log = File::create(self.log(name)).unwrap();
        let child = self.command(arguments).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.adopt(name, child);
    }

    /// Takes over a process, to kill it at the end at the latest.
    pub fn adopt(&mut self, name: &str, child: Child) {
        self.parts.push(Part { name: name.to_owned(), child });
    }

    /// Waits for the end of a part.
    pub fn exit_code(&mut self, name: &str) -> Option<i32> {
        let part = self.parts.iter_mut().find(|part| part.name == name).unwrap();
        wait_for("the end of a part", || part.child.try_wait().unwrap()).code()
    }

    /// Starts a relay; gives its URL.
    pub fn relay(&mut self, name: &str) -> String {
        self.start(name, &["relay-bridge", "serve", "--listen", "127.0.0.1:0"]);
        let log = self.log(name);
        wait_for("the relay's URL", || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("listening "))?;
            Some(line.trim().to_owned())
        })
    }

    pub fn router(&mut self, relays: &[&str]) {
        let data = self.path().join("router").display().to_string();
        let mut arguments = vec!["router-agent", "run", "--data", &data];
        arguments.extend(relays.iter().flat_map(|url| ["--relay", *url]));
        self.start("router", &arguments);
    }

    pub fn node(&mut self, name: &str, relays: &[&str], runner: &str) {
        self.node_of_kind(name, relays, "mock", runner);
    }

    pub fn node_of_kind(&mut self, name: &str, relays: &[&str], kind: &str, runner: &str) {
        let data = self.path().join(name).display().to_string();
        let mut arguments = vec![
            "node-agent",
            "run",
            "--data",
            &data,
            "--name",
            name,
            "--runner-kind",
            kind,
            "--runner",
            runner,
        ];
        arguments.extend(relays.iter().flat_map(|url| ["--relay", *url]));
        self.start(name, &arguments);
    }

    /// Waits until a quote names so many nodes.
    pub fn wait_for_nodes(&self, relays: &[&str], nodes: usize) {
        wait_for("a quote", || {
            let output = self.client(relays, &["quote", "--json", "--timeout", "10s"]).output().unwrap();
            let quote: Value = serde_json::from_slice(&output.stdout).ok()?;
            (quote["nodes"].as_array()?.len() >= nodes).then_some(())
        });
    }

    /// An endpoint for programs that speak OpenAI's API; gives what it said when it listened.
    pub fn serve(&mut self, relays: &[&str], more: &[&str]) -> Value {
        let mut command = self.client(relays, &["serve", "--listen", "127.0.0.1:0", "--json"]);
        let log = File::create(self.log("serve")).unwrap();
        let mut child = command.args(more).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let line = first_line(child.stdout.take().unwrap());
        self.adopt("serve", child);
        serde_json::from_str(&line).unwrap()
    }

    /// A client command on these relays.
    pub fn client(&self, relays: &[&str], arguments: &[&str]) -> Command {
        let data = self.path().join("client").display().to_string();
        let mut command = self.command(arguments);
        command.args(["--data", &data]);
        command.args(relays.iter().flat_map(|url| ["--relay", *url]));
        command
    }

    /// Asks a part to end, as a service manager does.
    pub fn terminate(&self, name: &str) {
        self.signal(name, "-TERM");
    }

    /// Sends a part a signal, as `kill` names it.
    pub fn signal(&self, name: &str, signal: &str) {
        let part = self.parts.iter().find(|part| part.name == name).unwrap();
        let id = part.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Kills a part as `kill -9` does.
    pub fn kill(&mut self, name: &str) {
        let part = self.parts.iter_mut().find(|part| part.name == name).unwrap();
        part.child.kill().unwrap();
        part.child.wait().unwrap();
    }

    /// Name of the node that has this key.
    pub fn node_named(&self, relays: &[&str], key: &str) -> String {
        let output = self.client(relays, &["nodes", "--json"]).output().unwrap();
        let nodes: Value = serde_json::from_slice(&output.stdout).unwrap();
        let node = nodes["nodes"].as_array().unwrap().iter().find(|node| node["node"] == key).unwrap();
        node["name"].as_str().unwrap().to_owned()
    }

    /// Every file below the folder, whole.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(bytes) = std::fs::read(&path) {
                    found.push((path, bytes));
                }
            }
        }
        found
    }
}

/// A client whose output is read while it runs.
pub struct Streaming {
    child: Child,
    chunks: mpsc::Receiver<Vec<u8>>,
    pub stdout: Vec<u8>,
    log: PathBuf,
}

impl Streaming {
    pub fn start(mut command: Command, log: PathBuf) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (sender, chunks) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read) = stdout.read(&mut buffer) {
                if read == 0 || sender.send(buffer[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, chunks, stdout: Vec::new(), log }
    }

    /// Waits until that many bytes of the answer have come.
    pub fn wait_for_output(&mut self, bytes: usize) {
        while self.stdout.len() < bytes {
            let chunk = self.chunks.recv_timeout(PATIENCE).expect("output in time");
            self.stdout.extend(chunk);
        }
    }

    /// Key of the node at which the job was opened, as the log tells it.
    pub fn chosen_node(&self) -> String {
        wait_for("the opened job in the log", || {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            let line = text.lines().find(|line| line.contains("job opened"))?;
            let plain = line.replace("\u{1b}[3m", "").replace("\u{1b}[0m", "").replace("\u{1b}[2m", "");
            let key = plain.split("node=").nth(1)?.get(..64)?;
            Some(key.to_owned())
        })
    }

    /// Waits for the end; gives exit code, stdout and stderr.
    pub fn finish(mut self) -> (i32, String, String) {
        while let Ok(chunk) = self.chunks.recv_timeout(PATIENCE) {
            self.stdout.extend(chunk);
        }
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        let stderr = std::fs::read_to_string(&self.log).unwrap();
        (code, String::from_utf8(std::mem::take(&mut self.stdout)).unwrap(), stderr)
    }
}

/// Looks again and again until there is something, within a bound.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(found) = look() {
            return found;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    panic!("{what} did not come within {PATIENCE:?}");
}

/// What the mock answers to a chat of one message.
pub fn expected_answer(prompt: &str, tokens: u32) -> String {
    let body = serde_json::json!({"messages": [{"role": "user", "content": prompt}]});
    fedai_node_agent::shell::runners::mock::expected_text(&body, tokens)
}

/// The object on stdout of a command that succeeded.
pub fn json(output: &Output) -> Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let tail: Vec<&str> = stderr.lines().rev().take(30).collect();
    assert!(output.status.success(), "exit {:?}\n{}", output.status.code(), tail.join("\n"));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Writes text to a command's standard input and waits for it.
pub fn with_input(mut command: Command, text: &str) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The first line of a stream whose writer stays.
pub fn first_line(reader: impl Read + Send + 'static) -> String {
    let (sender, line) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        if BufReader::new(reader).read_line(&mut line).is_ok() {
            drop(sender.send(line));
        }
    });
    line.recv_timeout(PATIENCE).expect("a first line in time")
}
