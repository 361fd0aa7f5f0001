//! Finds, opens, starts or installs the runner that the operator chose, and says what it did.
//!
//! The rule: nothing is chosen silently. What was looked at, what was found and the way out are in the words
//! that come
//! back, and the mock is never a fallback.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::config::RunnerChoice;
use super::runner_install::{self, InstallError};
use super::runners::discovery::{Discovery, discover};
use super::runners::mock::MockRunner;
use super::runners::{self, OpenError, Runner, RunnerOptions};
use super::supervisor::{Handle, SpawnError, Supervisor, SupervisorSpec, free_loopback_port};

/// An opened runner.
pub struct RunnerSource {
    /// The way to speak to it.
    pub runner: Arc<dyn Runner>,
    /// Set when this process started it.
    pub supervised: Option<Handle>,
    /// What it is, for people.
    pub title: String,
}

/// Why there is no runner.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nothing was found on the usual ports.
    #[error(
        "no runner was found on this machine\n{notes}\n\
         hint: start one (llama-server, ollama, vllm), name one with --runner URL, \
         or let this program install a small one with --runner install"
    )]
    NothingFound {
        /// What was tried, one line a port.
        notes: String,
    },
    /// The address or kind is wrong.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The program cannot be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The installation failed.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// No cache directory.
    #[error("no cache directory is known\nhint: set XDG_CACHE_HOME or HOME")]
    NoCache,
    /// No free port.
    #[error("no free port on this machine: {0}\nhint: name one with `port` in the [runner] table")]
    Port(std::io::Error),
    /// The command is empty.
    #[error(
        "the runner's command is empty\nhint: command = [\"/path/to/llama-server\", \"--port\", \"{{port}}\"]"
    )]
    EmptyCommand,
}

impl SourceError {
    /// True when what was asked for can be nobody's runner, whatever is running.
    #[must_use]
    pub const fn is_wrong_setting(&self) -> bool {
        match self {
            Self::Open(error) => !matches!(error, OpenError::Client { .. }),
            Self::EmptyCommand => true,
            _ => false,
        }
    }
}

/// Opens what was chosen. `data_dir` is where a started runner has its folder.
pub async fn open_runner(
    choice: &RunnerChoice,
    options: &RunnerOptions,
    slots: Option<u32>,
    data_dir: &Path,
) -> Result<RunnerSource, SourceError> {
    let plain = |runner: Arc<dyn Runner>, title: String| RunnerSource { runner, supervised: None, title };
    match choice {
        RunnerChoice::Opened(runner) => Ok(plain(Arc::clone(runner), runner.kind().to_owned())),
        RunnerChoice::Mock(config) => {
            tracing::warn!("the MOCK runner is used: it computes nothing and is for tests only");
            Ok(plain(Arc::new(MockRunner::new(config.clone())), "mock (for tests only)".into()))
        }
        RunnerChoice::Url { url, kind } => {
            let runner = match kind {
                Some(kind) => runners::open(kind, url, options.clone())?,
                None => recognise(url, options).await?,
            };
            let title = format!("{} at {url}", runner.kind());
            Ok(plain(runner, title))
        }
        RunnerChoice::Auto(ports) => {
            let Discovery { found, notes } = discover(ports, options.clone()).await;
            for note in &notes {
                tracing::info!("{note}");
            }
            let best = found.iter().find(|finding| !finding.models.is_empty()).or_else(|| found.first());
            let Some(finding) = best else {
                return Err(SourceError::NothingFound { notes: notes.join("\n") });
            };
            let runner = runners::open(finding.kind, &finding.url, options.clone())?;
            Ok(plain(runner, format!("{} at {}", finding.title, finding.url)))
        }
        RunnerChoice::Install => install(slots, data_dir).await,
        RunnerChoice::Command { command, kind, port } => {
            let port = match port {
                Some(port) => *port,
                None => free_loopback_port().map_err(SourceError::Port)?,
            };
            let Some((program, args)) = command.split_first() else { return Err(SourceError::EmptyCommand) };
            let mut spec = SupervisorSpec::new(kind, port, program, data_dir.join("runner"));
            spec.args = args.iter().map(|arg| arg.replace("{port}", &port.to_string())).collect();
            spec.options = options.clone();
            start(spec, program.clone())
        }
    }
}

/// Asks a server what it is; one that does not say is spoken to as a plain OpenAI server.
async fn recognise(url: &str, options: &RunnerOptions) -> Result<Arc<dyn Runner>, SourceError> {
    for kind in ["llama_cpp", "ollama", "vllm"] {
        let runner = runners::open(kind, url, options.clone())?;
        let load = tokio::time::timeout(RECOGNISE_TIMEOUT, runner.load()).await;
        if matches!(load, Ok(Ok(load)) if load.running.or(load.slots).is_some()) {
            return Ok(runner);
        }
    }
    Ok(runners::open("openai", url, options.clone())?)
}

async fn install(slots: Option<u32>, data_dir: &Path) -> Result<RunnerSource, SourceError> {
    let cache = runner_install::default_cache_dir().ok_or(SourceError::NoCache)?;
    let installed = runner_install::ensure(&cache, runner_install::progress_for_terminal()).await?;
    let port = free_loopback_port().map_err(SourceError::Port)?;
    let mut spec = installed.spec(port, slots.unwrap_or(2), INSTALLED_ALIAS);
    spec.work_dir = data_dir.join("runner");
    spec.log_path = spec.work_dir.join("runner.log");
    start(spec, format!("{INSTALLED_ALIAS} (installed)"))
}

fn start(spec: SupervisorSpec, title: String) -> Result<RunnerSource, SourceError> {
    let (events, mut incoming) = mpsc::channel(64);
    let handle = Supervisor::start(spec, events)?;
    tokio::spawn(async move {
        while let Some(event) = incoming.recv().await {
            tracing::info!(?event, "supervised runner");
        }
    });
    Ok(RunnerSource { runner: handle.runner(), supervised: Some(handle), title })
}

const RECOGNISE_TIMEOUT: Duration = Duration::from_secs(3);
/// The name under which the installed model is offered.
pub const INSTALLED_ALIAS: &str = "smollm2-135m-instruct";
