//! `run`: flags over the file over the defaults, then the router until a signal.

use std::path::PathBuf;
use std::process::ExitCode;

use fedai_relay_bridge::RelayList;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::output::failure;
use crate::shell::config::{RouterConfig, RouterSettings};

/// Flags of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Relay URL; repeat for more. Without one: FEDAI_RELAYS, ./relays.toml, then the user's relays.toml.
    #[arg(long, value_name = "URL")]
    relay: Vec<String>,
    /// Relay list in a file.
    #[arg(long, value_name = "FILE", conflicts_with = "relay")]
    relays: Option<PathBuf>,
    /// Relay URLs separated by commas.
    #[arg(long, env = "FEDAI_RELAYS", hide = true)]
    relays_from_environment: Option<String>,
    /// Where keys, journal and status are kept.
    #[arg(long, env = "FEDAI_ROUTER_DATA", default_value = "router-data", value_name = "DIR")]
    data: PathBuf,
    /// Configuration file (TOML); `policy show` prints one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Name of the router.
    #[arg(long)]
    name: Option<String>,
    /// Flat part of the fee, in msat.
    #[arg(long, value_name = "MSAT")]
    fee_flat_msat: Option<u64>,
    /// Fee in parts per million of the node's price.
    #[arg(long, value_name = "PPM")]
    fee_ppm: Option<u32>,
    /// Write metrics to this file every second.
    #[arg(long, value_name = "FILE")]
    metrics_file: Option<PathBuf>,
    /// Opens an encrypted key file.
    #[arg(long, env = "FEDAI_ROUTER_PASSPHRASE", hide_env_values = true, hide = true)]
    passphrase: Option<String>,
}

/// Runs until SIGTERM or Ctrl-C.
pub(super) async fn execute(args: RunArgs) -> ExitCode {
    let config = match config(args) {
        Ok(config) => config,
        Err(error) => return failure(3, &error),
    };
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        if let Err(error) = stopped().await {
            tracing::error!(%error, "signals cannot be heard; stop the process to end it");
            return;
        }
        tracing::info!("stopping");
        stop.cancel();
    });
    let (ready, _) = oneshot::channel();
    match crate::run(config, shutdown, ready).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(error.exit_code(), &error),
    }
}

/// Returns at the first SIGTERM or SIGINT.
async fn stopped() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn config(args: RunArgs) -> Result<RouterConfig, String> {
    let mut settings = match &args.config {
        Some(path) => RouterSettings::load(path).map_err(|error| error.to_string())?,
        None => RouterSettings::default(),
    };
    settings.name = args.name.unwrap_or(settings.name);
    settings.fee_flat_msat = args.fee_flat_msat.unwrap_or(settings.fee_flat_msat);
    settings.fee_ppm = args.fee_ppm.unwrap_or(settings.fee_ppm);
    settings.check().map_err(|error| error.to_string())?;
    let relays = match &args.relays {
        Some(path) => RelayList::load(path),
        None => RelayList::lookup(&args.relay, args.relays_from_environment.as_deref()).map(|(list, _)| list),
    };
    Ok(RouterConfig {
        data: args.data,
        relays: relays.map_err(|error| error.to_string())?,
        settings,
        metrics_file: args.metrics_file,
        passphrase: args.passphrase,
    })
}
