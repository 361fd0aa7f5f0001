//! The `fedai` binary: everything it does is in the library.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    // On a worker thread: whatever runs on the main one is woken across threads, once for each event.
    let command = fedai_client::cli::execute(std::env::args_os().collect());
    tokio::spawn(command).await.unwrap_or(ExitCode::FAILURE)
}
