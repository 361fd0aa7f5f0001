//! The command line of the router. Errors go to stderr, data to stdout; exit codes: 0 done, 1 failure, 2 usage,
//! 3 configuration, 4 no relay reachable, 7 a record does not hold.

mod explain;
mod nodes;
mod output;
mod replay;
mod run;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fedai_relay_bridge::logging::{self, LogFormat};

use crate::shell::config::RouterSettings;

/// Decides who serves a job: quotes, tickets, trust, receipts. Never sees a prompt.
#[derive(Debug, Parser)]
#[command(name = "router-agent", version, after_help = AFTER_HELP)]
pub struct Cli {
    /// How log lines look.
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "Exit codes: 0 success, 1 failure, 2 wrong usage, 3 wrong configuration, 4 no relay, \
                          7 a record does not hold.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run in the foreground until SIGTERM or Ctrl-C.
    Run(run::RunArgs),
    /// Show a running router.
    Status(Look),
    /// List the nodes it knows.
    Nodes(Look),
    /// Show why it decided as it did.
    Explain {
        /// Request id or decision digest, or the beginning of one.
        id: String,
        #[command(flatten)]
        look: Look,
    },
    /// Make recorded decisions again and compare them byte for byte.
    Replay {
        /// A decisions file.
        file: PathBuf,
    },
    /// Exit 0 when a router is alive and connected.
    Healthcheck {
        /// Data directory of the router.
        #[arg(long, env = "FEDAI_ROUTER_DATA", default_value = "router-data")]
        data: PathBuf,
    },
    /// Show settings and parameters.
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
}

/// Where to look, and how to show it.
#[derive(Debug, clap::Args)]
pub(crate) struct Look {
    /// Data directory of the router.
    #[arg(long, env = "FEDAI_ROUTER_DATA", default_value = "router-data")]
    pub(crate) data: PathBuf,
    /// One JSON document instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Print a complete configuration file.
    Show {
        /// Read this file first; otherwise the defaults are shown.
        #[arg(long)]
        config: Option<PathBuf>,
    },
}

/// Carries out one command, as `router-agent` or as `fedai router-agent`.
pub async fn execute(cli: Cli) -> ExitCode {
    logging::init(cli.log_format, "info");
    match cli.command {
        Command::Run(args) => run::execute(args).await,
        Command::Status(look) => status::show(&look),
        Command::Nodes(look) => nodes::list(&look),
        Command::Explain { id, look } => explain::show(&id, &look),
        Command::Replay { file } => replay::file(&file),
        Command::Healthcheck { data } => status::healthcheck(&data),
        Command::Policy { command: PolicyCommand::Show { config } } => {
            let settings =
                config.map_or_else(|| Ok(RouterSettings::default()), |path| RouterSettings::load(&path));
            match settings {
                Ok(settings) => output::text(&toml::to_string_pretty(&settings).unwrap_or_default()),
                Err(error) => output::failure(3, &error),
            }
        }
    }
}
