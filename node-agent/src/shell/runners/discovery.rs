//! Looks for runners that are already there, on the ports they usually take on this machine.
//!
//! The rule: a server is known by what it answers, never by its port, and every port looked at is
//! accounted for in a sentence, so that an empty result explains itself.

use super::answers::Answers;
use super::http::Http;
use super::{ADAPTERS, RunnerError, RunnerModel, RunnerOptions, open};
use futures_util::future::join_all;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The ports looked at unless the operator names others, and who usually sits there.
pub const USUAL_PORTS: [(u16, &str); 4] =
    [(11434, "Ollama"), (8080, "llama-server"), (8000, "vLLM"), (1234, "LM Studio")];

/// A runner that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The kind to open it with.
    pub kind: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// Its address.
    pub url: String,
    /// What it offers; empty if it would not say (see the notes).
    pub models: Vec<RunnerModel>,
}

/// Everything one look found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Runners, in the order of the ports.
    pub found: Vec<Finding>,
    /// One sentence a port, for people.
    pub notes: Vec<String>,
}

/// The value of `FEDAI_RUNNER_PORTS` as ports: unset means the usual ones, empty means none.
///
/// # Errors
/// The part that is not a port number.
pub fn parse_ports(setting: Option<&str>) -> Result<Vec<u16>, PortError> {
    let Some(setting) = setting else {
        return Ok(USUAL_PORTS.iter().map(|(port, _)| *port).collect());
    };
    let parts = setting.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| match part.parse() {
            Ok(0) | Err(_) => Err(PortError { part: part.to_owned() }),
            Ok(port) => Ok(port),
        })
        .collect()
}

/// A port list that could not be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part:?} is not a port\nhint: write ports like 8080,11434, or nothing to look nowhere")]
pub struct PortError {
    part: String,
}

/// Looks at those ports of this machine, all at once, within [`PROBE_TIMEOUT`] each.
pub async fn discover(ports: &[u16], options: RunnerOptions) -> Discovery {
    let looks = join_all(ports.iter().map(|port| look(*port, options.clone()))).await;
    let mut discovery = Discovery::default();
    for (finding, note) in looks {
        discovery.found.extend(finding);
        discovery.notes.push(note);
    }
    if ports.is_empty() {
        discovery.notes.push("No port was looked at, as the settings ask.".into());
    }
    discovery
}

async fn look(port: u16, options: RunnerOptions) -> (Option<Finding>, String) {
    let usual = usual_name(port);
    let connected = timeout(PROBE_TIMEOUT, TcpStream::connect(("127.0.0.1", port))).await;
    if !matches!(connected, Ok(Ok(_))) {
        return (None, format!("Nothing listens on port {port}{usual}."));
    }
    let url = format!("http://127.0.0.1:{port}");
    let limits =
        RunnerOptions { connect_timeout: PROBE_TIMEOUT, query_timeout: PROBE_TIMEOUT, ..options.clone() };
    let Ok(http) = Http::new(&url, limits.clone()) else {
        return (None, format!("Port {port}{usual} could not be asked."));
    };
    let answers = Answers::collect(&http).await;
    let Some(adapter) = answers.adapter() else {
        return (None, unrecognised(port, &answers));
    };
    let models = match open(adapter.kind, &url, limits) {
        Ok(runner) => timeout(PROBE_TIMEOUT, runner.list_models())
            .await
            .unwrap_or_else(|_| Err(super::http::stalled("an answer", PROBE_TIMEOUT))),
        Err(_) => Err(RunnerError::Unreachable),
    };
    let title = adapter.title;
    let note = match &models {
        Ok(models) if models.is_empty() => {
            format!("Port {port}: {title}, without a model. Load one to offer it.")
        }
        Ok(models) => {
            let names: Vec<_> = models.iter().map(|m| format!("{:?}", m.id)).collect();
            format!("Port {port}: {title} with {}.", names.join(", "))
        }
        Err(error) => format!("Port {port}: {title}, but no model list ({}).", error.code()),
    };
    let models = models.unwrap_or_default();
    (Some(Finding { kind: adapter.kind, title, url, models }), note)
}

fn unrecognised(port: u16, answers: &Answers) -> String {
    match &answers.models_error {
        Some(RunnerError::Unauthorized) => {
            format!("Port {port} asks for an API key. Name it as a runner, with its key.")
        }
        Some(RunnerError::Loading) => format!("Port {port} is still loading a model. Try again."),
        Some(RunnerError::Stalled { .. }) => format!("Port {port} is open but did not answer."),
        _ => {
            let known: Vec<_> = ADAPTERS.iter().filter(|a| a.kind != "mock").map(|a| a.title).collect();
            format!("Port {port} is open but is none of: {}.", known.join(", "))
        }
    }
}

fn usual_name(port: u16) -> String {
    let usual = USUAL_PORTS.iter().find(|(usual, _)| *usual == port);
    usual.map_or_else(String::new, |(_, name)| format!(" (usually {name})"))
}

/// Time for each question to one port. A runner on this machine answers in a few milliseconds, one on a machine
/// that is all busy with a model takes longer.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
