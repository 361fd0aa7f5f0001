//! Starts a runner as a process of its own and keeps it serving.
//!
//! A runner counts as healthy only when it made a token just now; answering its health endpoint is
//! not enough, since a lost GPU does that too. The rules: a restart waits longer each time, a runner
//! that keeps failing is given up until a person looks, and stopping the supervisor stops the runner.

mod backoff;
mod process;
mod watcher;

pub use backoff::RestartPolicy;

use crate::shell::runners::{self, OpenError, Runner, RunnerOptions};
use crate::shell::sandbox::SandboxLimits;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use watcher::Watcher;

/// What to run and how to know it works.
#[derive(Debug, Clone)]
pub struct SupervisorSpec {
    /// The program, an absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, besides [`SandboxLimits::inherit_env`].
    pub env: Vec<(String, String)>,
    /// Its private working directory.
    pub work_dir: PathBuf,
    /// Where its output goes until it serves.
    pub log_path: PathBuf,
    /// Its limits.
    pub limits: SandboxLimits,
    /// The adapter that speaks to it.
    pub kind: String,
    /// Where it will listen.
    pub url: String,
    /// How to speak to it.
    pub options: RunnerOptions,
    /// The model the canary asks; `None` takes the first one listed.
    pub model: Option<String>,
    /// From start to its first token.
    pub start_timeout: Duration,
    /// From SIGTERM to SIGKILL.
    pub stop_timeout: Duration,
    /// Between two canaries.
    pub canary_interval: Duration,
    /// Time for one canary.
    pub canary_timeout: Duration,
    /// Canaries in a row that may fail before a restart.
    pub canary_failures_max: u32,
    /// Restarts.
    pub restart: RestartPolicy,
}

impl SupervisorSpec {
    /// A spec with the usual timings, for a server on a port of this machine.
    pub fn new(kind: &str, port: u16, program: impl Into<PathBuf>, work_dir: PathBuf) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            log_path: work_dir.join("runner.log"),
            work_dir,
            limits: SandboxLimits::default(),
            kind: kind.to_owned(),
            url: format!("http://127.0.0.1:{port}"),
            options: RunnerOptions::default(),
            model: None,
            start_timeout: Duration::from_secs(300),
            stop_timeout: Duration::from_secs(10),
            canary_interval: Duration::from_secs(30),
            canary_timeout: Duration::from_secs(20),
            canary_failures_max: 2,
            restart: RestartPolicy::default(),
        }
    }
}

/// Where a supervised runner is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The process runs but made no token yet.
    Starting,
    /// It made a token at the last look.
    Healthy,
    /// It failed the last canary and is watched.
    Unhealthy,
    /// It ended; the next start is being waited for.
    BackingOff,
    /// It failed too often and was given up.
    Flapping,
    /// It is being stopped.
    Stopping,
    /// It was stopped.
    Stopped,
}

/// What is known about the runner now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Where it is in its life.
    pub state: State,
    /// The process, while there is one.
    pub pid: Option<u32>,
    /// Restarts so far.
    pub restarts: u32,
    /// How the last process ended.
    pub last_exit: Option<String>,
    /// The limits that were and were not applied, for people.
    pub sandbox: Vec<String>,
}

/// What happened to the runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SupervisorEvent {
    /// A process was started.
    Started {
        /// Its id.
        pid: u32,
    },
    /// It made a token.
    Healthy,
    /// It did not make a token; the code is a [`runners::RunnerError::code`].
    CanaryFailed {
        /// Why.
        code: &'static str,
    },
    /// The process ended or was ended.
    Exited {
        /// How.
        how: String,
    },
    /// It will be started again.
    Restarting {
        /// After this long.
        after: Duration,
    },
    /// It was given up.
    Flapping,
    /// It was stopped on request.
    Stopped,
}

/// Why a runner could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The address or kind is wrong.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The working directory could not be made.
    #[error("cannot make the runner's directory {path:?}: {error}\nhint: is the disk full?")]
    WorkDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The log file could not be made.
    #[error("cannot write the runner's log {path:?}: {error}\nhint: is the disk full?")]
    Log {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The program did not start.
    #[error("cannot start {program:?}: {error}\nhint: is it installed and executable?")]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// Starts supervising; see [`Supervisor::start`].
pub struct Supervisor;

impl Supervisor {
    /// Starts the runner and a task that keeps it running. Must be called inside a tokio runtime.
    /// Events are dropped, not awaited, when `events` is full: the truth is in [`Handle::status`].
    ///
    /// # Errors
    /// Only for a spec that can never work (unknown kind, remote address). A program that does not
    /// start is an event and a restart, like one that ends.
    pub fn start(spec: SupervisorSpec, events: mpsc::Sender<SupervisorEvent>) -> Result<Handle, SpawnError> {
        let runner = runners::open(&spec.kind, &spec.url, spec.options.clone())?;
        let url = spec.url.clone();
        let status =
            Status { state: State::Starting, pid: None, restarts: 0, last_exit: None, sandbox: Vec::new() };
        let (status, receiver) = watch::channel(status);
        let stop = CancellationToken::new();
        let watcher = Watcher::new(spec, Arc::clone(&runner), status, events, stop.clone());
        let task = tokio::spawn(watcher.run());
        Ok(Handle { status: receiver, stop, task, runner, url })
    }
}

/// A supervised runner. Dropping it kills the runner at once; [`Handle::stop`] is kinder.
pub struct Handle {
    status: watch::Receiver<Status>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    runner: Arc<dyn Runner>,
    url: String,
}

impl Handle {
    /// What is known now.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// A view of the status that can be awaited.
    pub fn subscribe(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Waits until the runner serves; false if it was given up or stopped instead.
    pub async fn healthy(&self) -> bool {
        let ended = |s: &Status| matches!(s.state, State::Flapping | State::Stopped);
        let mut status = self.status.clone();
        let seen = status.wait_for(|s| s.state == State::Healthy || ended(s)).await;
        seen.is_ok_and(|s| s.state == State::Healthy)
    }

    /// The way to speak to it.
    pub fn runner(&self) -> Arc<dyn Runner> {
        Arc::clone(&self.runner)
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops the runner and waits until it is gone.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let _ended_or_panicked = (&mut self.task).await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A port of this machine that was free a moment ago.
///
/// # Errors
/// No port is free.
pub fn free_loopback_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
