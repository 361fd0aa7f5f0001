//! The binary `router-agent`.

use std::process::ExitCode;

use clap::Parser;
use fedai_relay_bridge::runtime::{self, Share};
use fedai_router_agent::cli::{Cli, execute};

fn main() -> ExitCode {
    runtime::run(Share::Half, execute(Cli::parse()))
}
