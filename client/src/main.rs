//! The `fedai` binary: everything it does is in the library.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    fedai_client::cli::execute(std::env::args_os().collect()).await
}
