//! The command line of `relay-bridge`, one file a command. Data goes to stdout, everything else to stderr.

pub(crate) mod exit;
pub(crate) mod healthcheck;
pub(crate) mod mirror;
pub(crate) mod probe;
pub(crate) mod serve;
pub(crate) mod tail;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::logging::{self, LogFormat};

/// Run, check, watch and copy the relays of a fed_AI network.
#[derive(Debug, Parser)]
#[command(name = "relay-bridge", version, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Format of the logs on stderr; RUST_LOG sets their level.
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: LogFormat,
}

const AFTER_HELP: &str =
    "Exit codes: 0 success, 1 failure, 2 wrong usage, 3 wrong configuration, 4 no relay reached or usable.";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Healthcheck(healthcheck::HealthcheckArgs),
    Probe(probe::ProbeArgs),
    Tail(tail::TailArgs),
    Mirror(mirror::MirrorArgs),
}

/// Runs a command line to its end, inside a tokio runtime.
pub async fn execute(cli: Cli) -> ExitCode {
    let level = if matches!(cli.command, Command::Serve(_)) { "info" } else { "warn" };
    logging::init(cli.log_format, level);
    let outcome = match cli.command {
        Command::Serve(args) => serve::run(args).await,
        Command::Healthcheck(args) => healthcheck::run(args).await,
        Command::Probe(args) => probe::run(args).await,
        Command::Tail(args) => tail::run(args).await,
        Command::Mirror(args) => mirror::run(args).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
