//! `relay-bridge serve`: a relay for development and small private networks.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use crate::dev_relay::DevRelayError;
use crate::{DataDir, DevRelay, DevRelayLimits, DevRelayOptions};
use clap::Args;

use crate::cli::exit::Failure;

/// Name of the file in the data directory that holds the relay's URL while it runs.
pub(crate) const URL_FILE: &str = "relay.url";

/// Run a relay in the foreground, until Ctrl-C or SIGTERM.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7447")]
    listen: String,
    /// Keep stored events in this directory (without it they live in memory).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Allow an address that other machines can reach. The relay takes events from anyone then, without TLS.
    #[arg(long)]
    allow_remote: bool,
}

pub(crate) async fn run(args: ServeArgs) -> Result<(), Failure> {
    let listen = resolve(&args.listen)?;
    if !listen.ip().is_loopback() && !args.allow_remote {
        return Err(Failure::config(format!(
            "{listen} can be reached from other machines\n\
             hint: listen on 127.0.0.1, or add --allow-remote if that is what you want"
        )));
    }
    let data = args.data.as_deref().map(DataDir::open).transpose().map_err(Failure::config)?;
    let data_dir = data.as_ref().map(|dir| dir.path().to_owned());
    let mut stop = stop_signal()?;
    let options = DevRelayOptions { listen, data_dir, limits: DevRelayLimits::default() };
    let relay = DevRelay::start(options).await.map_err(|error| match error {
        DevRelayError::Listen { .. } => Failure::config(error),
        DevRelayError::Storage(_) => Failure::general(error),
    })?;
    let url_file = data.as_ref().map(|dir| dir.path().join(URL_FILE));
    if let Some(file) = &url_file {
        std::fs::write(file, relay.url())
            .map_err(|error| Failure::general(format!("{}: {error}", file.display())))?;
    }
    anstream::eprintln!("listening {}", relay.url());
    stop.recv().await;
    tracing::info!("stopping");
    relay.shutdown().await;
    if let Some(file) = &url_file {
        // A file left behind is noticed by the health check, which connects.
        drop(std::fs::remove_file(file));
    }
    Ok(())
}

fn resolve(listen: &str) -> Result<SocketAddr, Failure> {
    let wrong = |error: String| {
        Failure::config(format!(
            "--listen {listen:?}: {error}\nhint: write HOST:PORT, for example 127.0.0.1:7447"
        ))
    };
    let mut found = listen.to_socket_addrs().map_err(|error| wrong(error.to_string()))?;
    found.next().ok_or_else(|| wrong("no such address".to_owned()))
}

/// Ctrl-C and SIGTERM.
pub(crate) struct StopSignal {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl StopSignal {
    pub(crate) async fn recv(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(not(unix))]
        drop(tokio::signal::ctrl_c().await);
    }
}

pub(crate) fn stop_signal() -> Result<StopSignal, Failure> {
    #[cfg(unix)]
    {
        let kind = tokio::signal::unix::SignalKind::terminate();
        let terminate = tokio::signal::unix::signal(kind).map_err(Failure::general)?;
        Ok(StopSignal { terminate })
    }
    #[cfg(not(unix))]
    Ok(StopSignal {})
}
