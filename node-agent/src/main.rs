//! `node-agent`: sells inference from a runner on this machine.

use std::process::ExitCode;

use clap::Parser;
use fedai_node_agent::cli::{Cli, execute};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        // On a worker thread: whatever runs on the main one is woken across threads, once for each event.
        Ok(runtime) => {
            let command = runtime.spawn(execute(cli));
            runtime.block_on(command).unwrap_or(ExitCode::FAILURE)
        }
        Err(error) => {
            anstream::eprintln!("error: no runtime: {error}");
            ExitCode::FAILURE
        }
    }
}
