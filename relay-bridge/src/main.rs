//! `relay-bridge`: runs, checks, watches and copies relays.

use std::process::ExitCode;

use clap::Parser;
use fedai_relay_bridge::cli::{Cli, execute};

#[tokio::main]
async fn main() -> ExitCode {
    execute(Cli::parse()).await
}
