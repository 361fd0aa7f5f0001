//! The binary `router-agent`.

use std::process::ExitCode;

use clap::Parser;
use fedai_router_agent::cli::{Cli, execute};

#[tokio::main]
async fn main() -> ExitCode {
    execute(Cli::parse()).await
}
