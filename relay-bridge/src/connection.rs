//! One connection to one relay, whoever makes it: the Nostr library, our own websocket client, or memory.
//!
//! A connection is a pipe: commands go in, what the relay says comes out through a sink, in order. It reconnects by
//! itself. It never keeps an event for later: what cannot be written to a live connection is refused, because a
//! request that is sent late is worse than one that failed. Verification, subscriptions and retries are the pool's.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fedai_protocol::VerifiedEvent;
use nostr::{Event, EventId, Filter};

use crate::relay_address::RelayAddress;

/// A connection that keeps itself up. Object safe; all methods return at once.
pub trait RelayConnection: Send + Sync + 'static {
    /// Starts connecting; everything that happens goes to `sink`, in order, until [`RelayConnection::close`].
    fn start(&self, sink: Arc<dyn IncomingSink>);
    /// Hands a command to the live connection.
    fn send(&self, command: Command) -> Result<(), SendError>;
    /// Ends the connection for good. What was handed over before is still written, for a moment, where that is
    /// possible.
    fn close(&self);
    /// Resolves when the connection has ended after [`RelayConnection::close`].
    fn ended(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
    /// Which implementation this is.
    fn library(&self) -> &'static str;
}

/// Where a connection reports. Called from the connection's own task: must be quick and must not block.
pub trait IncomingSink: Send + Sync + 'static {
    /// Something happened.
    fn incoming(&self, message: Incoming);
}

/// Makes connections; tests hand in one that reaches relays in memory.
pub trait Connector: Send + Sync + 'static {
    /// A connection, not started yet.
    fn open(&self, request: OpenRequest) -> Arc<dyn RelayConnection>;
}

/// What to connect to, and how.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// Where.
    pub address: RelayAddress,
    /// For which traffic.
    pub lane: Lane,
    /// Refuse addresses that are not public (the URL came from an announcement).
    pub public_only: bool,
    /// Longest wait for one attempt.
    pub connect_timeout: Duration,
}

/// Traffic with the same needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Stored events and queries: the Nostr library carries them.
    Stored,
    /// Short-lived events where each millisecond counts: our own client carries them.
    Prompt,
}

/// What a connection is told.
#[derive(Clone, Debug)]
pub enum Command {
    /// Publish an event.
    Event(VerifiedEvent),
    /// Ask for events, replacing an earlier request of the same id.
    Subscribe {
        /// Subscription id.
        id: String,
        /// Filters.
        filters: Vec<Filter>,
    },
    /// Stop asking.
    Unsubscribe {
        /// Subscription id.
        id: String,
    },
    /// Answer a challenge (NIP-42).
    Auth(VerifiedEvent),
}

/// What a connection reports.
#[derive(Debug)]
pub enum Incoming {
    /// The connection changed; a reason where it was lost or could not be made.
    State(ConnectionState, Option<String>),
    /// An event, not verified.
    Event {
        /// Subscription it is said to answer.
        subscription: String,
        /// The event.
        event: Box<Event>,
    },
    /// All stored events of a subscription were sent.
    EndOfStored {
        /// Subscription id.
        subscription: String,
    },
    /// The relay ended a subscription.
    Closed {
        /// Subscription id.
        subscription: String,
        /// Its reason.
        message: String,
    },
    /// The relay took or refused an event.
    Ok {
        /// Event id.
        event_id: EventId,
        /// Taken?
        accepted: bool,
        /// Its reason.
        message: String,
    },
    /// Text for people.
    Notice(String),
    /// A challenge (NIP-42).
    Auth(String),
    /// The library lost this many messages before we saw them.
    Lagged(u64),
    /// Something unreadable or too large came.
    Unreadable {
        /// It was too large.
        oversize: bool,
    },
    /// A ping took this long.
    RoundTrip(Duration),
}

/// Is it up?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// First attempt under way.
    Connecting,
    /// Up.
    Connected,
    /// Lost or refused; attempts go on.
    Disconnected,
}

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No live connection.
    #[error("not connected")]
    NotConnected,
    /// The relay does not read as fast as we write.
    #[error("too much is waiting to be written")]
    Full,
}
