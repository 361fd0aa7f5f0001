//! A node's own relay: job opens and frames come and go without a third party, as the same signed and sealed events.
//!
//! The socket and the queues are those of the dev relay, the rules are in `gateway_rules`. What comes in is verified in
//! the connection's own task and handed to the node over one bounded channel: while the node is busy, connections are
//! not read. What goes out is found by (kind, `p`) and never broadcast. Messages of one connection are handled in their
//! order, so a client may subscribe and publish in one breath.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use fedai_protocol::event_kinds::SESSION_FRAME;
use fedai_protocol::limits::{
    EPHEMERAL_AGE_SECONDS_MAX, EVENT_BYTES_MAX, FUTURE_SECONDS_MAX, GATEWAY_CONNECTIONS_MAX,
    GATEWAY_EVENTS_PER_MINUTE, GATEWAY_INBOX_EVENTS_MAX, GATEWAY_QUERY_EVENTS_MAX, GATEWAY_QUEUE_BYTES_MAX,
    GATEWAY_SILENCE_SECONDS, GATEWAY_STORED_EVENTS_MAX, GATEWAY_SUBSCRIPTIONS_MAX,
};
use fedai_protocol::{PublicKey, VerifiedEvent};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dev_relay::{DevRelayError, DevRelayLimits, accept};
use crate::event_store::EventStore;
use crate::lock::{read, write};
use crate::relay_engine::RelayEngine;
use crate::wire;

/// How long connections may take to end when the gateway does.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Whose gateway it is and where it listens.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// Address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Identity key of the node.
    pub node: PublicKey,
    /// Its name.
    pub name: String,
    /// The operator's own key.
    pub operator: Option<PublicKey>,
    /// Limits.
    pub limits: DevRelayLimits,
}

impl GatewayOptions {
    /// A gateway with the usual limits.
    #[must_use]
    pub fn new(listen: SocketAddr, node: PublicKey, name: String) -> Self {
        let limits = DevRelayLimits {
            connections: GATEWAY_CONNECTIONS_MAX,
            subscriptions: GATEWAY_SUBSCRIPTIONS_MAX,
            filters: 4,
            subscription_id_bytes: 64,
            message_bytes: 2 * EVENT_BYTES_MAX,
            queue_bytes: GATEWAY_QUEUE_BYTES_MAX,
            stall: Duration::from_secs(5),
            stored_events: GATEWAY_STORED_EVENTS_MAX,
            query_events: GATEWAY_QUERY_EVENTS_MAX,
            future_seconds: FUTURE_SECONDS_MAX,
            ephemeral_age_seconds: EPHEMERAL_AGE_SECONDS_MAX,
            handshake: Duration::from_secs(10),
            silence: Some(Duration::from_secs(GATEWAY_SILENCE_SECONDS)),
            events_per_minute: Some(GATEWAY_EVENTS_PER_MINUTE),
        };
        Self { listen, node, name, operator: None, limits }
    }
}

/// What became of an event for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handed {
    /// A connection that asked for it has it in its queue.
    Queued,
    /// It was asked for, and the reader is too slow for it: it is asked for again when the reader has caught up.
    Full,
    /// Nobody here asked for it.
    Nobody,
}

/// The node's side of a gateway, as the engine sees it.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Keys of this node that may be written to now.
    pub(crate) keys: RwLock<BTreeSet<PublicKey>>,
    /// Where what was written goes.
    pub(crate) inbox: mpsc::Sender<VerifiedEvent>,
    node: PublicKey,
    name: String,
    operator: Option<PublicKey>,
}

impl Gate {
    /// What the document of NIP-11 says of this gateway, beside the limits that every relay names.
    pub(crate) fn describe(&self, document: &mut serde_json::Map<String, serde_json::Value>) {
        let mut say = |key: &str, value: serde_json::Value| drop(document.insert(key.to_owned(), value));
        say("name", format!("fed_AI node {}", self.name).into());
        say(
            "description",
            "Gateway of one node: takes sealed jobs for it, shows its announcements and receipts".into(),
        );
        say("self", self.node.to_hex().into());
        say("pubkey", self.operator.unwrap_or(self.node).to_hex().into());
        say("supported_nips", serde_json::json!([1, 11, 40, 44, 45, 59]));
    }
}

/// A running gateway. Dropping it ends it.
#[derive(Debug)]
pub struct GatewayRelay {
    url: String,
    gate: Arc<Gate>,
    engine: Arc<RelayEngine>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl GatewayRelay {
    /// Listens and serves; the other half of the result is what clients wrote to this node, verified.
    pub async fn start(
        options: GatewayOptions,
    ) -> Result<(Self, mpsc::Receiver<VerifiedEvent>), DevRelayError> {
        let GatewayOptions { listen, node, name, operator, limits } = options;
        let failed = |error| DevRelayError::Listen { address: listen, error };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (inbox, written) = mpsc::channel(GATEWAY_INBOX_EVENTS_MAX);
        let gate = Arc::new(Gate { keys: RwLock::default(), inbox, node, name, operator });
        let store = EventStore::in_memory(limits.stored_events, limits.query_events);
        let engine = RelayEngine::at_gate(store, limits, Arc::clone(&gate));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(accept(listener, Arc::clone(&engine), stop.clone(), tasks.clone()));
        Ok((Self { url: format!("ws://{address}"), gate, engine, stop, tasks }, written))
    }

    /// Its URL on this machine.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Lets clients write to this key.
    pub fn listen_for(&self, key: PublicKey) {
        write(&self.gate.keys).insert(key);
    }

    /// Takes that back.
    pub fn forget(&self, key: &PublicKey) {
        write(&self.gate.keys).remove(key);
    }

    /// Hands an event to who asked for it by the key that it is addressed to. Never waits.
    #[must_use]
    pub fn hand_over(&self, event: &VerifiedEvent) -> Handed {
        let routes = self.engine.addressed(event);
        if routes.is_empty() {
            return Handed::Nobody;
        }
        let json = event.to_json();
        let (mut handed, mut written) = (Handed::Full, BTreeSet::new());
        for route in routes {
            // Once for each connection, however often it asked for the same.
            if !written.insert(route.peer.number) {
                continue;
            }
            if route.peer.try_send(wire::deliver(&route.subscription, &json)) {
                handed = Handed::Queued;
            }
        }
        handed
    }

    /// True when a connection asks for frames to this key.
    #[must_use]
    pub fn is_asked_for(&self, key: &PublicKey) -> bool {
        self.engine.is_asked_for(SESSION_FRAME, *key)
    }

    /// Shows an event of this node to everybody who asks.
    pub async fn show(&self, event: &VerifiedEvent) {
        self.engine.show(event).await;
    }

    /// Connections now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.engine.peers()
    }

    /// Stops listening and says goodbye to all connections.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(SHUTDOWN_GRACE, self.tasks.wait()).await.is_err() {
            tracing::debug!("some connections to the gateway did not end in time");
        }
    }
}

impl Drop for GatewayRelay {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// True for a key that may be written to at this gate.
pub(crate) fn check_written(gate: &Gate, event: &nostr::Event) -> Result<(), &'static str> {
    crate::gateway_rules::check_event(event, &read(&gate.keys))
}
