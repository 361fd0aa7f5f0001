//! A connection through nostr-sdk, for stored events and queries, and the choice between it and our own client.
//!
//! What the library is known to do wrong is answered here: messages are drained at once into our own queues, and a
//! lag is reported as such (the library drops silently); subscriptions are sent as plain requests, so that neither its
//! resubscription with outdated filters nor its removal of closed ones takes part; OKs are not waited for inside it;
//! nothing is sent while it is not connected, where it would queue and send late. Events are taken from its `Message`
//! notifications, which it does not verify: every one is verified by the pool.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use fedai_protocol::limits::EVENT_BYTES_MAX;
use nostr_sdk::prelude::{
    Client, ClientMessage, Relay, RelayLimits, RelayMessage, RelayNotification, RelayOptions, RelayStatus,
    SubscriptionId,
};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::{
    Command, ConnectionState, Connector, Incoming, IncomingSink, Lane, OpenRequest, RelayConnection,
    SendError,
};
use crate::lock::lock;
use crate::stream_connection::{StreamConnection, install_crypto};

/// Messages that the library holds for us; drained at once.
const NOTIFICATIONS: usize = 16_384;
const RETRY: Duration = Duration::from_secs(1);

/// Chooses the client for a relay: nostr-sdk for stored events, our own for what has to be prompt, and for relays
/// that somebody announced (only ours checks the resolved address).
pub struct SocketConnector;

impl Connector for SocketConnector {
    fn open(&self, request: OpenRequest) -> Arc<dyn RelayConnection> {
        match request.lane {
            Lane::Stored if !request.public_only => Arc::new(SdkConnection::new(request)),
            _ => Arc::new(StreamConnection::new(request)),
        }
    }
}

/// A connection of nostr-sdk.
pub struct SdkConnection {
    request: OpenRequest,
    client: OnceLock<Client>,
    live: Live,
    closed: CancellationToken,
    tasks: TaskTracker,
}

type Live = Arc<Mutex<Option<Relay>>>;

impl SdkConnection {
    /// A connection, not started yet.
    #[must_use]
    pub fn new(request: OpenRequest) -> Self {
        Self {
            request,
            client: OnceLock::new(),
            live: Arc::default(),
            closed: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }
}

impl RelayConnection for SdkConnection {
    fn start(&self, sink: Arc<dyn IncomingSink>) {
        install_crypto();
        let client = Client::builder().build();
        client.automatic_authentication(false);
        let (url, live, closed) =
            (self.request.address.url().to_owned(), Arc::clone(&self.live), self.closed.clone());
        let task_client = client.clone();
        self.tasks.spawn(async move {
            let work = run(&task_client, &url, &live, &*sink);
            if let Some(reason) = closed.run_until_cancelled(work).await {
                sink.incoming(Incoming::State(ConnectionState::Disconnected, Some(reason)));
            }
            lock(&live).take();
            task_client.shutdown().await;
        });
        // Started once: a second client would only be dropped.
        drop(self.client.set(client));
    }

    fn send(&self, command: Command) -> Result<(), SendError> {
        let live = lock(&self.live);
        let relay = live.as_ref().ok_or(SendError::NotConnected)?;
        let message = match &command {
            Command::Event(event) => ClientMessage::Event(Cow::Borrowed(event.as_event())),
            Command::Auth(event) => ClientMessage::Auth(Cow::Borrowed(event.as_event())),
            Command::Subscribe { id, filters } => {
                ClientMessage::req(SubscriptionId::new(id), filters.clone())
            }
            Command::Unsubscribe { id } => ClientMessage::close(SubscriptionId::new(id)),
        };
        relay.send_msg(message).map_err(|error| {
            tracing::debug!(%error, "library did not take a message");
            if relay.is_connected() { SendError::Full } else { SendError::NotConnected }
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
        "nostr-sdk"
    }
}

impl Drop for SdkConnection {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

async fn run(client: &Client, url: &str, live: &Live, sink: &dyn IncomingSink) -> String {
    let mut limits = RelayLimits::default();
    limits.messages.max_size = u32::try_from(EVENT_BYTES_MAX.saturating_mul(2)).ok();
    let options = RelayOptions::new()
        .retry_interval(RETRY)
        .limits(limits)
        .verify_subscriptions(false)
        .notification_channel_size(NOTIFICATIONS);
    if let Err(error) = client.pool().add_relay(url, options).await {
        return error.to_string();
    }
    let relay = match client.relay(url).await {
        Ok(relay) => relay,
        Err(error) => return error.to_string(),
    };
    let mut notifications = relay.notifications();
    relay.connect();
    loop {
        match notifications.recv().await {
            Ok(RelayNotification::Message { message }) => take(message, sink),
            Ok(RelayNotification::RelayStatus { status }) => state(status, &relay, live, sink),
            Ok(RelayNotification::Shutdown) | Err(broadcast::error::RecvError::Closed) => {
                return "closed".to_owned();
            }
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(lost)) => {
                sink.incoming(Incoming::Lagged(lost));
                state(relay.status(), &relay, live, sink);
            }
        }
    }
}

fn state(status: RelayStatus, relay: &Relay, live: &Live, sink: &dyn IncomingSink) {
    let was_live = lock(live).is_some();
    if status == RelayStatus::Connected {
        if !was_live {
            *lock(live) = Some(relay.clone());
            sink.incoming(Incoming::State(ConnectionState::Connected, None));
        }
    } else if matches!(status, RelayStatus::Disconnected | RelayStatus::Terminated | RelayStatus::Banned) {
        lock(live).take();
        sink.incoming(Incoming::State(
            ConnectionState::Disconnected,
            Some(format!("connection lost or refused ({status})")),
        ));
    }
}

fn take(message: RelayMessage<'static>, sink: &dyn IncomingSink) {
    let message = match message {
        RelayMessage::Event { subscription_id, event } => {
            Incoming::Event { subscription: subscription_id.to_string(), event: Box::new(event.into_owned()) }
        }
        RelayMessage::Ok { event_id, status, message } => {
            Incoming::Ok { event_id, accepted: status, message: message.into_owned() }
        }
        RelayMessage::EndOfStoredEvents(id) => Incoming::EndOfStored { subscription: id.to_string() },
        RelayMessage::Closed { subscription_id, message } => {
            Incoming::Closed { subscription: subscription_id.to_string(), message: message.into_owned() }
        }
        RelayMessage::Notice(text) => Incoming::Notice(text.into_owned()),
        RelayMessage::Auth { challenge } => Incoming::Auth(challenge.into_owned()),
        _ => return,
    };
    sink.incoming(message);
}
