//! `relay-bridge`: runs, checks, watches and copies relays.

use std::process::ExitCode;

use clap::Parser;
use fedai_relay_bridge::cli::{Cli, execute};
use fedai_relay_bridge::runtime::{self, Share};

fn main() -> ExitCode {
    runtime::run(Share::Half, execute(Cli::parse()))
}
