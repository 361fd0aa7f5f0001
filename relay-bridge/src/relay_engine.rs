//! The relay itself, without a socket: takes texts of clients, keeps what is to be kept, passes on what was asked for.
//!
//! The dev relay puts websockets in front of it, the relay in memory puts channels; both behave alike because this is
//! the only implementation. Ephemeral events never touch the store.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

use fedai_protocol::event_kinds::KindClass;
use fedai_protocol::limits::EVENT_BYTES_MAX;
use fedai_protocol::verified_event::VerifyError;
use fedai_protocol::{PublicKey, VerifiedEvent};
use nostr::{Filter, JsonUtil};
use tokio::sync::mpsc;

use crate::dev_relay::DevRelayLimits;
use crate::event_store::{EventStore, Stored};
use crate::gateway_relay::{Gate, check_written};
use crate::gateway_rules::check_filters;
use crate::lock::{read, write};
use crate::relay_routes::{RelayRoutes, Route};
use crate::relay_session::{Outgoing, Peer};
use crate::wall_clock;
use crate::wire::{self, ClientText, WireError};

/// One relay.
#[derive(Debug)]
pub(crate) struct RelayEngine {
    pub(crate) limits: DevRelayLimits,
    store: EventStore,
    routes: RwLock<RelayRoutes>,
    next_peer: AtomicU64,
    peers: AtomicUsize,
    /// Of a node's gateway: what it takes, and for whom.
    gate: Option<Arc<Gate>>,
}

impl RelayEngine {
    pub(crate) fn new(store: EventStore, limits: DevRelayLimits) -> Arc<Self> {
        Arc::new(Self::with(store, limits, None))
    }

    /// The engine of a node's gateway.
    pub(crate) fn at_gate(store: EventStore, limits: DevRelayLimits, gate: Arc<Gate>) -> Arc<Self> {
        Arc::new(Self::with(store, limits, Some(gate)))
    }

    fn with(store: EventStore, limits: DevRelayLimits, gate: Option<Arc<Gate>>) -> Self {
        let (next_peer, peers) = (AtomicU64::new(0), AtomicUsize::new(0));
        Self { limits, store, routes: RwLock::default(), next_peer, peers, gate }
    }

    /// A new connection, and what is to be written to it.
    pub(crate) fn connect(&self) -> (Arc<Peer>, mpsc::UnboundedReceiver<Outgoing>) {
        let number = self.next_peer.fetch_add(1, Ordering::Relaxed);
        self.peers.fetch_add(1, Ordering::Relaxed);
        Peer::new(number, self.limits.queue_bytes, self.limits.stall)
    }

    /// Forgets a connection.
    pub(crate) fn disconnect(&self, peer: &Peer) {
        peer.ended.cancel();
        write(&self.routes).remove_all(peer.number, peer.take_subscriptions());
        self.peers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Connections now.
    pub(crate) fn peers(&self) -> usize {
        self.peers.load(Ordering::Relaxed)
    }

    /// The node that this is the gateway of.
    pub(crate) fn gate(&self) -> Option<&Gate> {
        self.gate.as_deref()
    }

    /// Who asked for an event by the key that it is addressed to.
    pub(crate) fn addressed(&self, event: &VerifiedEvent) -> Vec<Arc<Route>> {
        read(&self.routes).addressed(event)
    }

    /// True when somebody asked for this kind by this key.
    pub(crate) fn is_asked_for(&self, kind: u16, key: PublicKey) -> bool {
        read(&self.routes).is_asked_for(kind, key)
    }

    /// Keeps an event of our own and passes it on. Never waits for a reader: one that has no room for it is left, which
    /// it notices, and can ask for what is stored.
    pub(crate) async fn show(&self, event: &VerifiedEvent) {
        if self.store.save(event).await != Stored::New {
            return;
        }
        let routes = read(&self.routes).matching(event);
        if routes.is_empty() {
            return;
        }
        let json = event.to_json();
        for route in routes.iter().filter(|route| !route.peer.ended.is_cancelled()) {
            if !route.peer.try_send(wire::deliver(&route.subscription, &json)) {
                tracing::debug!(
                    connection = route.peer.number,
                    "a reader is too slow for what is shown: left"
                );
                route.peer.ended.cancel();
            }
        }
    }

    /// All stored events.
    pub(crate) async fn stored(&self) -> Vec<nostr::Event> {
        self.store.query(&[Filter::new()]).await
    }

    /// Acts on one text of a client.
    pub(crate) async fn handle(&self, peer: &Arc<Peer>, text: &str) {
        match wire::parse_client(text) {
            Ok(ClientText::Event(json)) => self.event(peer, json).await,
            Ok(ClientText::Req { subscription, filters }) => self.request(peer, subscription, filters).await,
            Ok(ClientText::Count { subscription, filters }) => {
                if let Err(reason) = self.check_request(&subscription, &filters) {
                    return peer.send(wire::closed(&subscription, &reason)).await;
                }
                let found = self.store.query(&filters).await.len();
                peer.send(wire::count(&subscription, found)).await;
            }
            Ok(ClientText::Close { subscription }) => {
                peer.remove_subscription(&subscription);
                write(&self.routes).remove(peer.number, &subscription);
            }
            Ok(ClientText::Auth) => peer.send(wire::notice("authentication is not needed here")).await,
            Ok(ClientText::Unknown) => peer.send(wire::notice("unknown message type")).await,
            Err(WireError::Filter) => peer.send(wire::notice("invalid: filter is not readable")).await,
            Err(_) => peer.send(wire::notice("invalid: not a message of NIP-01")).await,
        }
    }

    /// Passes an event to everybody who asked for it.
    pub(crate) async fn deliver(&self, event: &VerifiedEvent) {
        let routes = read(&self.routes).matching(event);
        if routes.is_empty() {
            return;
        }
        let json = event.to_json();
        for route in routes {
            route.peer.send(wire::deliver(&route.subscription, &json)).await;
        }
    }

    /// An event that a client wrote to the node.
    async fn written(&self, gate: &Gate, peer: &Arc<Peer>, json: &str) {
        if json.len() > EVENT_BYTES_MAX {
            return peer.send(wire::notice("invalid: event is too large")).await;
        }
        let Ok(event) = nostr::Event::from_json(json) else {
            return peer.send(wire::notice("invalid: event is not readable")).await;
        };
        let id = event.id.to_hex();
        if let Err(reason) = check_written(gate, &event) {
            return peer.send(wire::ok(&id, false, reason)).await;
        }
        let event = match VerifiedEvent::from_event(event) {
            Ok(event) => event,
            Err(error) => return peer.send(wire::ok(&id, false, &format!("invalid: {error}"))).await,
        };
        if let Err(reason) = self.check_time(&event) {
            return peer.send(wire::ok(&id, false, reason)).await;
        }
        let taken = gate.inbox.send(event).await.is_ok();
        // First the node, then the OK: nobody waits for it, and writing it would hold the job back.
        tokio::task::yield_now().await;
        let reason = if taken { "" } else { "error: the node is gone" };
        peer.send(wire::ok(&id, taken, reason)).await;
    }

    async fn event(&self, peer: &Arc<Peer>, json: &str) {
        if let Some(gate) = &self.gate {
            return self.written(gate, peer, json).await;
        }
        let event = match VerifiedEvent::from_json(json) {
            Ok(event) => event,
            Err(VerifyError::Json) => return peer.send(wire::notice("invalid: event is not readable")).await,
            Err(error) => {
                let id = serde_json::from_str::<EventHead>(json).map(|head| head.id).unwrap_or_default();
                return peer.send(wire::ok(&id, false, &format!("invalid: {error}"))).await;
            }
        };
        let id = event.id().to_hex();
        if let Err(reason) = self.check_time(&event) {
            return peer.send(wire::ok(&id, false, reason)).await;
        }
        if KindClass::of(event.kind()) == KindClass::Ephemeral {
            // First the event, then the OK: whoever measures a round trip by the event is not kept waiting.
            self.deliver(&event).await;
            return peer.send(wire::ok(&id, true, "")).await;
        }
        match self.store.save(&event).await {
            Stored::New => {
                peer.send(wire::ok(&id, true, "")).await;
                self.deliver(&event).await;
            }
            Stored::Not { accepted, message } => peer.send(wire::ok(&id, accepted, message)).await,
        }
    }

    async fn request(&self, peer: &Arc<Peer>, subscription: String, filters: Vec<Filter>) {
        if let Err(reason) = self.check_request(&subscription, &filters) {
            return peer.send(wire::closed(&subscription, &reason)).await;
        }
        if !peer.add_subscription(&subscription, self.limits.subscriptions) {
            let reason = format!("blocked: more than {} subscriptions", self.limits.subscriptions);
            return peer.send(wire::closed(&subscription, &reason)).await;
        }
        // First the route, then the query: an event that comes between is sent twice rather than never.
        write(&self.routes).add(peer, subscription.clone(), filters.clone());
        if peer.ended.is_cancelled() {
            write(&self.routes).remove(peer.number, &subscription);
        }
        for event in self.store.query(&filters).await {
            peer.send(wire::deliver(&subscription, &event.as_json())).await;
        }
        peer.send(wire::end_of_stored(&subscription)).await;
    }

    fn check_request(&self, subscription: &str, filters: &[Filter]) -> Result<(), String> {
        if subscription.is_empty() || subscription.len() > self.limits.subscription_id_bytes {
            return Err(format!(
                "invalid: subscription id is empty or above {} bytes",
                self.limits.subscription_id_bytes
            ));
        }
        if filters.is_empty() || filters.len() > self.limits.filters {
            return Err(format!("invalid: between 1 and {} filters", self.limits.filters));
        }
        if self.gate.is_some() { check_filters(filters) } else { Ok(()) }
    }

    fn check_time(&self, event: &VerifiedEvent) -> Result<(), &'static str> {
        let now = wall_clock::now_seconds();
        if event.created_at() > now.plus(self.limits.future_seconds) {
            return Err("invalid: created_at is too far in the future");
        }
        let ephemeral = KindClass::of(event.kind()) == KindClass::Ephemeral;
        if ephemeral && now.since(event.created_at()) > self.limits.ephemeral_age_seconds {
            return Err("invalid: ephemeral event expired");
        }
        if event.expiration().is_some_and(|at| at < now) {
            return Err("invalid: event has expired");
        }
        Ok(())
    }
}

#[derive(serde::Deserialize)]
struct EventHead {
    id: String,
}
