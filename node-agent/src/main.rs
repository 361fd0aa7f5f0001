//! `node-agent`: sells inference from a runner on this machine.

use std::process::ExitCode;

use clap::Parser;
use fedai_node_agent::cli::{Cli, execute};
use fedai_relay_bridge::runtime::{self, Share};

fn main() -> ExitCode {
    runtime::run(Share::Half, execute(Cli::parse()))
}
