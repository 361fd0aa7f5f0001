//! The binary `router-agent`.

use std::process::ExitCode;

use fedai_relay_bridge::environment::parse_or_exit;
use fedai_relay_bridge::runtime::{self, Share};
use fedai_router_agent::cli::execute;

fn main() -> ExitCode {
    runtime::run(Share::Half, execute(parse_or_exit(std::env::args_os())))
}
