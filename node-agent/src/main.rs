//! `node-agent`: sells inference from a runner on this machine.

use std::process::ExitCode;

use fedai_node_agent::cli::execute;
use fedai_relay_bridge::environment::parse_or_exit;
use fedai_relay_bridge::runtime::{self, Share};

fn main() -> ExitCode {
    runtime::run(Share::Half, execute(parse_or_exit(std::env::args_os())))
}
