//! A conversation with a relay, text by text, for finding out what it does: nothing is retried and nothing is hidden.

use std::time::Duration;

use fedai_protocol::VerifiedEvent;
use futures_util::{SinkExt, StreamExt};
use nostr::Filter;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::relay_address::RelayAddress;
use crate::stream_connection::{ConnectError, connect};
use crate::wire::{self, RelayText};

/// An open conversation.
pub(crate) struct RawRelay {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// How a publication ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Taken,
    Refused(String),
    /// Neither yes nor no in time.
    NoAnswer,
    /// The relay hung up.
    Closed,
}

impl RawRelay {
    pub(crate) async fn open(address: &RelayAddress, timeout: Duration) -> Result<Self, ConnectError> {
        Ok(Self { socket: connect(address, false, timeout).await? })
    }

    pub(crate) async fn send(&mut self, text: String) -> bool {
        self.socket.send(Message::text(text)).await.is_ok()
    }

    /// Asks, and waits for the end of what is stored; the number of events, or `None`.
    pub(crate) async fn subscribe(&mut self, id: &str, filter: &Filter, timeout: Duration) -> Option<usize> {
        if !self.send(wire::request(id, std::slice::from_ref(filter))).await {
            return None;
        }
        let deadline = Instant::now() + timeout;
        let mut events = 0_usize;
        loop {
            match self.next(deadline).await? {
                RelayText::Event { subscription, .. } if subscription == id => {
                    events = events.saturating_add(1)
                }
                RelayText::EndOfStored { subscription } if subscription == id => return Some(events),
                RelayText::Closed { subscription, .. } if subscription == id => return None,
                _ => {}
            }
        }
    }

    /// Publishes, and waits for the relay's word.
    pub(crate) async fn publish(&mut self, event: &VerifiedEvent, timeout: Duration) -> Verdict {
        if !self.send(wire::publish(event)).await {
            return Verdict::Closed;
        }
        let deadline = Instant::now() + timeout;
        loop {
            match self.next(deadline).await {
                Some(RelayText::Ok { event_id, accepted, message }) if event_id == event.id() => {
                    return if accepted { Verdict::Taken } else { Verdict::Refused(message) };
                }
                Some(_) => {}
                None if Instant::now() >= deadline => return Verdict::NoAnswer,
                None => return Verdict::Closed,
            }
        }
    }

    /// Waits for this event to come by.
    pub(crate) async fn sees(&mut self, event: &VerifiedEvent, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        while let Some(text) = self.next(deadline).await {
            if matches!(text, RelayText::Event { event: seen, .. } if seen.id == event.id()) {
                return true;
            }
        }
        false
    }

    /// What the relay says next; `None` at the deadline or when it hung up.
    async fn next(&mut self, deadline: Instant) -> Option<RelayText> {
        loop {
            let message = tokio::time::timeout_at(deadline, self.socket.next()).await.ok()??.ok()?;
            if let Message::Text(text) = message
                && let Ok(parsed) = wire::parse_relay(text.as_str())
            {
                return Some(parsed);
            }
        }
    }
}
