//! A connection to a [`MemoryRelay`]: the same texts as over a websocket, through channels.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::{Command, ConnectionState, Incoming, IncomingSink, RelayConnection, SendError};
use crate::lock::lock;
use crate::memory_relay::{Line, MemoryRelay};
use crate::stream_connection::{command_text, report};

use fedai_protocol::limits::RELAY_OUTBOUND_EVENTS_MAX;

/// A connection in memory.
pub struct MemoryConnection {
    relay: Option<MemoryRelay>,
    live: Arc<Mutex<Option<mpsc::Sender<Command>>>>,
    closed: CancellationToken,
    tasks: TaskTracker,
}

impl MemoryConnection {
    /// A connection to this relay; to none: one that never comes up.
    #[must_use]
    pub fn new(relay: Option<MemoryRelay>) -> Self {
        Self { relay, live: Arc::default(), closed: CancellationToken::new(), tasks: TaskTracker::new() }
    }
}

impl RelayConnection for MemoryConnection {
    fn start(&self, sink: Arc<dyn IncomingSink>) {
        let Some(relay) = self.relay.clone() else {
            sink.incoming(Incoming::State(
                ConnectionState::Disconnected,
                Some("no such relay in memory".to_owned()),
            ));
            return;
        };
        let (live, closed) = (Arc::clone(&self.live), self.closed.clone());
        self.tasks.spawn(async move {
            // Leaving the task by cancellation drops the session; the relay forgets it when its peer is dropped.
            closed.run_until_cancelled(keep_up(&relay, &live, &*sink)).await;
            lock(&live).take();
        });
    }

    fn send(&self, command: Command) -> Result<(), SendError> {
        let live = lock(&self.live).clone().ok_or(SendError::NotConnected)?;
        live.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::NotConnected,
        })
    }

    fn close(&self) {
        self.closed.cancel();
        self.tasks.close();
    }

    fn ended(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.tasks.wait())
    }

    fn library(&self) -> &'static str {
        "memory"
    }
}

async fn keep_up(relay: &MemoryRelay, live: &Mutex<Option<mpsc::Sender<Command>>>, sink: &dyn IncomingSink) {
    let mut line = relay.line();
    loop {
        let now: Line = *line.borrow_and_update();
        if !now.down {
            session(relay, live, sink, &mut line).await;
            lock(live).take();
            sink.incoming(Incoming::State(ConnectionState::Disconnected, Some("connection cut".to_owned())));
            continue;
        }
        sink.incoming(Incoming::State(ConnectionState::Disconnected, Some("relay is down".to_owned())));
        if line.changed().await.is_err() {
            return;
        }
    }
}

async fn session(
    relay: &MemoryRelay,
    live: &Mutex<Option<mpsc::Sender<Command>>>,
    sink: &dyn IncomingSink,
    line: &mut watch::Receiver<Line>,
) {
    let (peer, mut outgoing) = relay.engine().connect();
    let (sender, mut commands) = mpsc::channel(RELAY_OUTBOUND_EVENTS_MAX);
    *lock(live) = Some(sender);
    sink.incoming(Incoming::State(ConnectionState::Connected, None));
    let write = async {
        while let Some(command) = commands.recv().await {
            relay.handle(&peer, &command_text(&command)).await;
        }
    };
    let read = async {
        while let Some(outgoing) = outgoing.recv().await {
            report(&outgoing.text, sink);
        }
    };
    tokio::select! {
        () = write => {}
        () = read => {}
        () = peer.ended.cancelled() => {}
        _ = line.changed() => {}
    }
    relay.engine().disconnect(&peer);
}
