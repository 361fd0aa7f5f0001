//! `runner`: what is on this machine to compute with, and how to get something.

use clap::{Args, Subcommand};

use super::exit::Failure;
use crate::shell::runner_install::{default_cache_dir, ensure, progress_for_terminal};
use crate::shell::runner_source::SourceError;
use crate::shell::runners::discovery::{discover, parse_ports};
use crate::shell::runners::{RunnerOptions, kinds};

#[derive(Debug, Subcommand)]
pub(crate) enum RunnerCommand {
    /// Look for runners on the ports they usually take.
    Find(FindArgs),
    /// Install the small real model and the program that runs it.
    Install,
    /// List the kinds of runners that are known.
    List,
}

#[derive(Debug, Args)]
pub(crate) struct FindArgs {
    /// Ports to look at, separated by commas.
    #[arg(long, env = "FEDAI_RUNNER_PORTS", value_name = "PORTS")]
    ports: Option<String>,
}

/// Finds, installs or lists.
pub(super) async fn run(command: RunnerCommand) -> Result<(), Failure> {
    match command {
        RunnerCommand::Find(args) => {
            let ports = parse_ports(args.ports.as_deref()).map_err(Failure::config)?;
            let discovery = discover(&ports, RunnerOptions::default()).await;
            discovery.notes.iter().for_each(|note| anstream::eprintln!("{note}"));
            if discovery.found.is_empty() {
                let notes = "nothing answered as a runner".to_owned();
                return Err(Failure::no_runner(SourceError::NothingFound { notes }));
            }
            for finding in &discovery.found {
                anstream::println!("{}\t{}", finding.kind, finding.url);
            }
            Ok(())
        }
        RunnerCommand::Install => {
            let cache = default_cache_dir().ok_or_else(|| Failure::config(SourceError::NoCache))?;
            let installed = ensure(&cache, progress_for_terminal()).await.map_err(Failure::no_runner)?;
            anstream::println!("{}", installed.dir().display());
            Ok(())
        }
        RunnerCommand::List => {
            kinds().iter().for_each(|kind| anstream::println!("{kind}"));
            Ok(())
        }
    }
}
