//! The binary `router-agent`.

use std::process::ExitCode;

use clap::Parser;
use fedai_router_agent::cli::{Cli, execute};

#[tokio::main]
async fn main() -> ExitCode {
    // On a worker thread: whatever runs on the main one is woken across threads, once for each event.
    tokio::spawn(execute(Cli::parse())).await.unwrap_or(ExitCode::FAILURE)
}
