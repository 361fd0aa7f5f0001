//! `node-agent`: sells inference from a runner on this machine.

use std::process::ExitCode;

use clap::Parser;
use fedai_node_agent::cli::{Cli, execute};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(execute(cli)),
        Err(error) => {
            anstream::eprintln!("error: no runtime: {error}");
            ExitCode::FAILURE
        }
    }
}
