//! A relay without a socket, for tests of every crate: the same engine as the dev relay, and faults on demand.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fedai_protocol::VerifiedEvent;
use tokio::sync::watch;

use crate::connection::{Connector, OpenRequest, RelayConnection};
use crate::dev_relay::DevRelayLimits;
use crate::event_store::EventStore;
use crate::lock::lock;
use crate::memory_connection::MemoryConnection;
use crate::relay_address::RelayAddress;
use crate::relay_engine::RelayEngine;
use crate::relay_session::Peer;
use crate::wire::{self, ClientText};

/// What the relay does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Loses every n-th event that is published to it (1: all).
    pub drop_every: Option<u64>,
    /// Says OK to the events it loses.
    pub lying_ok: bool,
    /// Sends every event this many more times.
    pub duplicate: u32,
    /// Keeps every event for this long before it acts on it.
    pub delay: Option<Duration>,
}

/// A relay in memory. Clones are the same relay.
#[derive(Clone, Debug)]
pub struct MemoryRelay(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Arc<RelayEngine>,
    faults: Mutex<Faults>,
    seen: Mutex<Vec<VerifiedEvent>>,
    published: AtomicU64,
    line: watch::Sender<Line>,
}

/// Whether connections are possible, and which generation of them is alive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) down: bool,
    pub(crate) generation: u64,
}

impl Default for MemoryRelay {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryRelay {
    /// An empty relay without faults.
    #[must_use]
    pub fn new() -> Self {
        let limits = DevRelayLimits::default();
        let engine =
            RelayEngine::new(EventStore::in_memory(limits.stored_events, limits.query_events), limits);
        Self(Arc::new(Inner {
            engine,
            faults: Mutex::default(),
            seen: Mutex::default(),
            published: AtomicU64::new(0),
            line: watch::Sender::new(Line::default()),
        }))
    }

    /// Sets what it does wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        *lock(&self.0.faults) = faults;
    }

    /// Cuts all connections; they may come back at once.
    pub fn disconnect_all(&self) {
        self.0.line.send_modify(|line| line.generation = line.generation.wrapping_add(1));
    }

    /// Cuts all connections and refuses new ones while `down`.
    pub fn set_down(&self, down: bool) {
        self.0.line.send_modify(|line| *line = Line { down, generation: line.generation.wrapping_add(1) });
    }

    /// What is stored.
    pub async fn events(&self) -> Vec<VerifiedEvent> {
        let events = self.0.engine.stored().await;
        events.into_iter().filter_map(|event| VerifiedEvent::from_event(event).ok()).collect()
    }

    /// Every event that was ever published to it, in order: what a relay gets to see.
    #[must_use]
    pub fn seen(&self) -> Vec<VerifiedEvent> {
        lock(&self.0.seen).clone()
    }

    /// Gives an event to all who asked for it, as if a client had published it, but without any check of a relay.
    pub async fn inject(&self, event: &VerifiedEvent) {
        self.0.engine.deliver(event).await;
    }

    pub(crate) fn engine(&self) -> &Arc<RelayEngine> {
        &self.0.engine
    }

    pub(crate) fn line(&self) -> watch::Receiver<Line> {
        self.0.line.subscribe()
    }

    pub(crate) async fn handle(&self, peer: &Arc<Peer>, text: &str) {
        let faults = *lock(&self.0.faults);
        let event = match wire::parse_client(text) {
            Ok(ClientText::Event(json)) => VerifiedEvent::from_json(json).ok(),
            _ => None,
        };
        let Some(event) = event else { return self.0.engine.handle(peer, text).await };
        lock(&self.0.seen).push(event.clone());
        if let Some(delay) = faults.delay {
            tokio::time::sleep(delay).await;
        }
        let number = self.0.published.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        if faults.drop_every.is_some_and(|every| number.checked_rem(every) == Some(0)) {
            if faults.lying_ok {
                peer.send(wire::ok(&event.id().to_hex(), true, "")).await;
            }
            return;
        }
        self.0.engine.handle(peer, text).await;
        for _ in 0..faults.duplicate {
            self.0.engine.deliver(&event).await;
        }
    }
}

/// Reaches relays in memory by their URL; other URLs stay unreachable.
pub struct MemoryConnector {
    relays: HashMap<String, MemoryRelay>,
}

impl MemoryConnector {
    /// Relays by URL.
    #[must_use]
    pub fn new(relays: &[(&str, &MemoryRelay)]) -> Self {
        let normalised =
            |url: &str| RelayAddress::parse(url).map_or_else(|_| url.to_owned(), |a| a.url().to_owned());
        Self { relays: relays.iter().map(|(url, relay)| (normalised(url), (*relay).clone())).collect() }
    }
}

impl Connector for MemoryConnector {
    fn open(&self, request: OpenRequest) -> Arc<dyn RelayConnection> {
        Arc::new(MemoryConnection::new(self.relays.get(request.address.url()).cloned()))
    }
}
