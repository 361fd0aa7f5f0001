//! `relay-bridge healthcheck`: is the relay there and answering? For containers and service managers.

use std::path::PathBuf;
use std::time::Duration;

use crate::{RelayAddress, probe};
use clap::Args;

use crate::cli::exit::Failure;
use crate::cli::serve::URL_FILE;

/// Ask a running relay one question over its websocket; exit 0 if it answers, 4 if not.
#[derive(Debug, Args)]
pub(crate) struct HealthcheckArgs {
    /// Data directory of the `serve` to check.
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    data: Option<PathBuf>,
    /// URL of the relay to check.
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:7447")]
    url: String,
    /// Longest wait, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    timeout: u64,
}

pub(crate) async fn run(args: HealthcheckArgs) -> Result<(), Failure> {
    let url = match &args.data {
        Some(dir) => {
            let file = dir.join(URL_FILE);
            let missing = |error| {
                Failure::no_relay(format!(
                    "{}: {error}\nhint: is the relay running with --data?",
                    file.display()
                ))
            };
            std::fs::read_to_string(&file).map_err(missing)?.trim().to_owned()
        }
        None => args.url,
    };
    let address = RelayAddress::parse(&url).map_err(|error| Failure::config(format!("{url:?} {error}")))?;
    match probe::answers(&address, Duration::from_secs(args.timeout)).await {
        Ok(took) => {
            anstream::eprintln!("ok {url} ({} ms)", took.as_millis());
            Ok(())
        }
        Err(reason) => Err(Failure::no_relay(format!("{url}: {reason}"))),
    }
}
