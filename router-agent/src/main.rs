//! The binary `router-agent`.

use std::process::ExitCode;

use clap::Parser;
use fedai_relay_bridge::logging;
use fedai_router_agent::cli::{Cli, execute};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::init(cli.log_format, "info");
    execute(cli).await
}
