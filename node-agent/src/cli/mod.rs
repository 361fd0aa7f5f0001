//! The command line of the node: data to stdout, words about it to stderr, exit codes that scripts can rely on.

mod ad;
mod control;
mod exit;
mod key;
mod receipts;
mod run;
mod runner;
mod status;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use fedai_relay_bridge::logging::{self, LogFormat};

/// Sell inference over Nostr from a runner on this machine.
#[derive(Debug, Parser)]
#[command(name = "node-agent", version, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Format of the logs on stderr; RUST_LOG sets their level.
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: LogFormat,
}

const AFTER_HELP: &str =
    "Exit codes: 0 success, 1 failure, 2 wrong usage, 3 wrong configuration, 4 no relay, 5 no runner.";

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::RunArgs>),
    Status(status::StatusArgs),
    Healthcheck(status::HealthcheckArgs),
    Why(why::WhyArgs),
    /// Show what the node advertises.
    #[command(subcommand)]
    Ad(ad::AdCommand),
    /// List or export the receipts of this node.
    #[command(subcommand)]
    Receipts(receipts::ReceiptsCommand),
    /// Find, install or list runners.
    #[command(subcommand)]
    Runner(runner::RunnerCommand),
    /// Take nothing new and finish what runs; the node stays.
    Drain(control::ControlArgs),
    /// Take nothing new until `resume`.
    Pause(control::ControlArgs),
    /// Take jobs again.
    Resume(control::ControlArgs),
    /// Show the node's public key.
    #[command(subcommand)]
    Key(key::KeyCommand),
}

/// Where the node lives.
#[derive(Clone, Debug, Args)]
pub(crate) struct DataArgs {
    /// Data directory: key, journal, status.
    #[arg(long, env = "FEDAI_NODE_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
}

impl DataArgs {
    /// The directory, by default that of the user.
    fn dir(&self) -> Result<PathBuf, exit::Failure> {
        use etcetera::BaseStrategy as _;
        if let Some(dir) = &self.data {
            return Ok(dir.clone());
        }
        let base = etcetera::choose_base_strategy();
        base.map(|base| base.data_dir().join("fedai").join("node"))
            .map_err(|_| exit::Failure::config("no home folder is known\nhint: name a directory with --data"))
    }
}

/// Runs one command. Logging starts here, unless the caller has started it.
pub async fn execute(cli: Cli) -> ExitCode {
    let Cli { command, log_format } = cli;
    let level = if matches!(command, Command::Run(_)) { "info" } else { "warn" };
    logging::init(log_format, level);
    let outcome = match command {
        Command::Run(args) => run::run(*args).await,
        Command::Status(args) => status::status(&args),
        Command::Healthcheck(args) => status::healthcheck(&args),
        Command::Why(args) => why::run(&args),
        Command::Ad(command) => ad::run(&command),
        Command::Receipts(command) => receipts::run(&command),
        Command::Runner(command) => runner::run(command).await,
        Command::Drain(args) => control::tell(&args, "drain"),
        Command::Pause(args) => control::tell(&args, "pause"),
        Command::Resume(args) => control::tell(&args, "resume"),
        Command::Key(command) => key::run(&command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
