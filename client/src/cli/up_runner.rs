//! The runner of `fedai up`: the one that was named, else one that is found on the usual ports, else a small real model
//! that is installed and started here, as a process of its own that is stopped with the network.

use std::path::Path;
use std::sync::Arc;

use fedai_node_agent::shell::config::RunnerChoice;
use fedai_node_agent::shell::runner_source::{INSTALLED_ALIAS, SourceError, open_runner};
use fedai_node_agent::shell::runners::discovery::discover;
use fedai_node_agent::shell::runners::{self, OpenError, RunnerError, RunnerOptions};
use fedai_node_agent::shell::sandbox::UrlError;
use fedai_node_agent::shell::supervisor::{Handle, State, Status};

use super::exit_code::ExitStatus;
use super::failure::CliFailure;
use super::terminal;

/// Requests that the installed model serves at once.
const SLOTS: u32 = 2;
/// Models named to a person who asked for another one.
const MODELS_NAMED_MAX: usize = 12;

/// A runner to sell from.
pub struct FoundRunner {
    /// How the node reaches it.
    pub choice: RunnerChoice,
    /// Its address.
    pub url: String,
    /// The process, when it was started here.
    pub process: Option<Handle>,
}

/// Finds or starts a runner; `data` is where a started one has its folder. Nothing is fetched for a model that it is
/// not.
pub async fn find_runner(
    named: Option<&str>,
    ports: &[u16],
    data: &Path,
    wanted: Option<&str>,
) -> Result<FoundRunner, CliFailure> {
    if let Some(url) = named {
        let choice = choice_of(url).await?;
        terminal::say(&format!("runner   {url} (as named)"));
        return Ok(FoundRunner { choice, url: url.to_owned(), process: None });
    }
    let found = discover(ports, RunnerOptions::default()).await.found;
    let best = found.iter().position(|finding| !finding.models.is_empty());
    if let Some(finding) = best.and_then(|at| found.get(at)) {
        let url = finding.url.clone();
        terminal::say(&format!("runner   {} found at {url}", finding.title));
        let choice = RunnerChoice::Url { url: url.clone(), kind: Some(finding.kind.to_owned()) };
        return Ok(FoundRunner { choice, url, process: None });
    }
    check_model(wanted, &[INSTALLED_ALIAS.to_owned()])?;
    install_and_start(data).await
}

/// A model that is not among those that will be offered is an error at once: nobody else comes into this network.
pub(crate) fn check_model(wanted: Option<&str>, offered: &[String]) -> Result<(), CliFailure> {
    let Some(wanted) = wanted.filter(|wanted| !offered.iter().any(|model| model.to_lowercase() == *wanted))
    else {
        return Ok(());
    };
    let names: Vec<&str> = offered.iter().take(MODELS_NAMED_MAX).map(String::as_str).collect();
    let more = offered.len().saturating_sub(names.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let text = format!(
        "no model is called {wanted:?} here; there is: {}{more}\n\
         hint: name one of them, or none (--model, FEDAI_MODEL, config.toml); --runner URL sells from another server",
        names.join(", ")
    );
    Err(CliFailure::new(ExitStatus::NoMatch, "unknown_model", text))
}

/// A named runner that nobody answers for is an error at once, not after the node has waited for it.
async fn choice_of(url: &str) -> Result<RunnerChoice, CliFailure> {
    let is_mock = url.starts_with("mock:");
    let runner = runners::open(if is_mock { "mock" } else { "openai" }, url, RunnerOptions::default());
    let runner = runner.map_err(|error| match error {
        OpenError::Url(UrlError::Remote { .. }) => {
            CliFailure::usage(format!("--runner {url}: fedai up takes runners of this machine only"))
                .hint("sell from another machine with: node-agent run --allow-remote-runner --runner URL")
        }
        error => CliFailure::usage(format!("--runner {url:?}: {error}")),
    })?;
    if is_mock {
        return Ok(RunnerChoice::Opened(runner));
    }
    match runner.list_models().await {
        Err(error @ RunnerError::Unreachable) => {
            Err(CliFailure::new(ExitStatus::NoMatch, "runner", format!("--runner {url}: {error}")))
        }
        _ => Ok(RunnerChoice::Url { url: url.to_owned(), kind: None }),
    }
}

async fn install_and_start(data: &Path) -> Result<FoundRunner, CliFailure> {
    terminal::say(
        "runner   none found on the usual ports; a small real model is used (installed once, cached)",
    );
    let source = open_runner(&RunnerChoice::Install, &RunnerOptions::default(), Some(SLOTS), data).await;
    let source = source.map_err(|error| failure(&error))?;
    let Some(process) = source.supervised else {
        return Err(CliFailure::new(ExitStatus::Failure, "runner", "the installed runner has no process"));
    };
    let url = process.url().to_owned();
    terminal::say(&format!("runner   {INSTALLED_ALIAS} is loading at {url}"));
    if let Err(status) = wait_healthy(&process).await {
        process.stop().await;
        let log = data.join("runner").join("runner.log");
        let last = status.last_exit.as_deref().unwrap_or("it did not answer");
        let text = format!(
            "the runner does not serve after {} starts: {last}\nhint: its log is {}",
            status.restarts.saturating_add(1),
            log.display()
        );
        return Err(CliFailure::new(ExitStatus::Failure, "runner", text));
    }
    let choice = RunnerChoice::Opened(Arc::clone(&source.runner));
    Ok(FoundRunner { choice, url, process: Some(process) })
}

fn failure(error: &SourceError) -> CliFailure {
    let code = match error {
        SourceError::Install(error) => error.code(),
        _ => "runner",
    };
    CliFailure::new(ExitStatus::Failure, code, error.to_string())
}

/// Waits for the first canary; gives the status when the supervisor gave up.
async fn wait_healthy(process: &Handle) -> Result<(), Status> {
    let mut changes = process.subscribe();
    loop {
        let status = changes.borrow_and_update().clone();
        match status.state {
            State::Healthy => return Ok(()),
            State::Flapping | State::Stopped => return Err(status),
            _ => {}
        }
        if changes.changed().await.is_err() {
            return Err(status);
        }
    }
}
