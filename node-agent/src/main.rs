//! `node-agent`: sells inference from a runner on this machine.

use std::process::ExitCode;

use fedai_node_agent::cli::execute;
use fedai_relay_bridge::environment::parse_or_exit;

fn main() -> ExitCode {
    let cli = parse_or_exit(std::env::args_os());
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        // On a worker thread: whatever runs on the main one is woken across threads, once for each event.
        Ok(runtime) => {
            let command = runtime.spawn(execute(cli));
            runtime.block_on(command).unwrap_or(ExitCode::FAILURE)
        }
        Err(error) => {
            anstream::eprintln!("error: no runtime: {error}");
            ExitCode::FAILURE
        }
    }
}
