//! The simulator's command line.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    fedai_sim::cli::execute(&fedai_sim::cli::Cli::parse())
}
