//! The `fedai` binary: everything it does is in the library.

use std::ffi::OsString;
use std::process::ExitCode;

use fedai_relay_bridge::runtime::{self, Share};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Relay, router, node and client are in one process then. The word elsewhere costs a few idle threads.
    let share = if arguments.iter().any(|word| word == "up") { Share::Whole } else { Share::Half };
    runtime::run(share, fedai_client::cli::execute(arguments))
}
