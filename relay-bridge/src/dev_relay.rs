//! The relay for development, tests and small private networks.
//!
//! Of nostr-relay-builder it uses the database (what replaces what, what a deletion deletes, queries). The connection
//! is our own, because the stock one costs 44 ms a round trip (Nagle's algorithm) and passes events on through one
//! broadcast of 1,024, which loses them silently under load: here each connection has a queue of its own, publishers
//! wait while it is full, and a reader that stays full is disconnected. Every limit is explicit ([`DevRelayLimits`]).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fedai_protocol::limits::{EVENT_BYTES_MAX, FUTURE_SECONDS_MAX};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::event_store::EventStore;
use crate::journal::JournalError;
use crate::relay_engine::RelayEngine;

/// How long running connections get at shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Limits of a relay, all of them.
#[derive(Clone, Debug)]
pub struct DevRelayLimits {
    /// Connections at once.
    pub connections: usize,
    /// Subscriptions of one connection.
    pub subscriptions: usize,
    /// Filters of one request.
    pub filters: usize,
    /// Length of a subscription id.
    pub subscription_id_bytes: usize,
    /// Length of one message.
    pub message_bytes: usize,
    /// Unsent bytes of one connection before publishers wait.
    pub queue_bytes: usize,
    /// How long publishers wait for one reader before it is disconnected.
    pub stall: Duration,
    /// Events kept; the oldest go first.
    pub stored_events: usize,
    /// Events in the answer to one filter.
    pub query_events: usize,
    /// How far in the future `created_at` may lie, in seconds.
    pub future_seconds: u64,
    /// Oldest ephemeral event passed on, in seconds.
    pub ephemeral_age_seconds: u64,
    /// How long a connection may take for its handshake.
    pub handshake: Duration,
    /// Silence, pings included, after which a connection is ended.
    pub silence: Option<Duration>,
    /// Events that one connection may publish; a faster one is read more slowly.
    pub events_per_minute: Option<u32>,
}

impl Default for DevRelayLimits {
    fn default() -> Self {
        Self {
            connections: 2_048,
            subscriptions: 1_024,
            filters: 20,
            subscription_id_bytes: 64,
            message_bytes: 2 * EVENT_BYTES_MAX,
            queue_bytes: 32 * 1_048_576,
            stall: Duration::from_secs(5),
            stored_events: 200_000,
            query_events: 5_000,
            future_seconds: 3 * FUTURE_SECONDS_MAX,
            ephemeral_age_seconds: 60,
            handshake: Duration::from_secs(10),
            silence: None,
            events_per_minute: None,
        }
    }
}

/// Where the relay listens and what it keeps.
#[derive(Clone, Debug)]
pub struct DevRelayOptions {
    /// Address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Directory of the stored events; `None` keeps them in memory.
    pub data_dir: Option<PathBuf>,
    /// Limits.
    pub limits: DevRelayLimits,
}

impl DevRelayOptions {
    /// In memory, with default limits.
    #[must_use]
    pub fn on(listen: SocketAddr) -> Self {
        Self { listen, data_dir: None, limits: DevRelayLimits::default() }
    }
}

/// Why the relay does not start.
#[derive(Debug, thiserror::Error)]
pub enum DevRelayError {
    /// The address cannot be used.
    #[error(
        "cannot listen on {address}: {error}\n\
         hint: is something else running there? choose another address"
    )]
    Listen {
        /// Address.
        address: SocketAddr,
        /// The system's words.
        error: std::io::Error,
    },
    /// The stored events cannot be opened.
    #[error(transparent)]
    Storage(#[from] JournalError),
}

/// A running relay. Dropping it ends it; [`DevRelay::shutdown`] does so in order.
#[derive(Debug)]
pub struct DevRelay {
    url: String,
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl DevRelay {
    /// Opens the store, listens, serves.
    pub async fn start(options: DevRelayOptions) -> Result<Self, DevRelayError> {
        let limits = options.limits;
        let store = match &options.data_dir {
            Some(dir) => {
                EventStore::open(&dir.join("events"), limits.stored_events, limits.query_events).await?
            }
            None => EventStore::in_memory(limits.stored_events, limits.query_events),
        };
        let listen = |error| DevRelayError::Listen { address: options.listen, error };
        let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let engine = RelayEngine::new(store, limits);
        tasks.spawn(accept(listener, engine, stop.clone(), tasks.clone()));
        Ok(Self { url: format!("ws://{address}"), address, stop, tasks })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening, says goodbye to all connections, and waits for them for a moment.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(SHUTDOWN_GRACE, self.tasks.wait()).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
    }
}

impl Drop for DevRelay {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Serves whoever connects, until told to stop.
pub(crate) async fn accept(
    listener: TcpListener,
    engine: Arc<RelayEngine>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(engine.limits.connections));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (stream, _) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, usually: existing connections go on, new ones wait.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(limit = engine.limits.connections, "too many connections: one was refused");
            continue;
        };
        let (engine, stop) = (Arc::clone(&engine), stop.clone());
        tasks.spawn(async move {
            if let Err(error) = crate::relay_socket::serve(stream, &engine, &stop).await {
                tracing::debug!(%error, "connection ended");
            }
            drop(place);
        });
    }
}
