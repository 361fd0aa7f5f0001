//! The binary `router-agent`.

use std::process::ExitCode;

use fedai_relay_bridge::environment::parse_or_exit;
use fedai_router_agent::cli::execute;

#[tokio::main]
async fn main() -> ExitCode {
    // On a worker thread: whatever runs on the main one is woken across threads, once for each event.
    tokio::spawn(execute(parse_or_exit(std::env::args_os()))).await.unwrap_or(ExitCode::FAILURE)
}
