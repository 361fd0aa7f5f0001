//! One TCP connection of the dev relay: a websocket, or a plain HTTP request for the relay's description (NIP-11).

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_util::sync::CancellationToken;

use crate::event_budget::EventBudget;
use crate::relay_document;
use crate::relay_engine::RelayEngine;
use crate::relay_session::{Outgoing, Peer};
use crate::wire;

/// Bytes of an HTTP request's head, at most.
const HEAD_BYTES_MAX: usize = 8_192;
/// Messages written before one flush, at most.
const BATCH_MAX: usize = 256;

/// Bytes gathered into one write; a flush follows each batch, so nothing waits in it.
pub(crate) const WRITE_BUFFER_BYTES: usize = 32_768;
/// Every connection has one: the library's own 128 KiB would be most of a relay's memory.
pub(crate) const READ_BUFFER_BYTES: usize = 16_384;

type Socket = WebSocketStream<TcpStream>;

/// Serves one connection to its end.
pub(crate) async fn serve(
    mut stream: TcpStream,
    engine: &Arc<RelayEngine>,
    stop: &CancellationToken,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let head = tokio::time::timeout(engine.limits.handshake, peek_head(&stream)).await??;
    if !is_upgrade(&head) {
        let answer = relay_document::http_answer(&head, engine);
        stream.write_all(answer.as_bytes()).await?;
        return stream.shutdown().await;
    }
    let config = WebSocketConfig::default()
        .max_message_size(Some(engine.limits.message_bytes))
        .max_frame_size(Some(engine.limits.message_bytes))
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES);
    let handshake = tokio_tungstenite::accept_async_with_config(stream, Some(config));
    let socket = tokio::time::timeout(engine.limits.handshake, handshake).await?.map_err(io::Error::other)?;
    let (write, read) = socket.split();
    let (peer, outgoing) = engine.connect();
    let outcome = tokio::select! {
        outcome = read_all(read, engine, &peer) => outcome,
        outcome = write_all(write, outgoing, &peer, stop, engine.limits.silence) => outcome,
    };
    engine.disconnect(&peer);
    outcome.map_err(io::Error::other)
}

async fn read_all(
    mut socket: SplitStream<Socket>,
    engine: &RelayEngine,
    peer: &Arc<Peer>,
) -> Result<(), WsError> {
    let mut budget = EventBudget::new(engine.limits.events_per_minute, Instant::now());
    while let Some(message) = within(engine.limits.silence, socket.next()).await.flatten() {
        match message? {
            Message::Text(text) => {
                while let Err(wait) = budget.take(Instant::now()) {
                    tokio::time::sleep(wait).await;
                }
                engine.handle(peer, text.as_str()).await;
            }
            Message::Binary(_) => {
                peer.send(wire::notice("invalid: binary messages are not part of NIP-01")).await
            }
            Message::Close(_) => return Ok(()),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    Ok(())
}

/// What comes of it in time; without a limit there is time.
async fn within<T>(limit: Option<Duration>, what: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, what).await.ok(),
        None => Some(what.await),
    }
}

async fn write_all(
    mut socket: SplitSink<Socket, Message>,
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
    peer: &Peer,
    stop: &CancellationToken,
    silence: Option<Duration>,
) -> Result<(), WsError> {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        let count = tokio::select! {
            count = outgoing.recv_many(&mut batch, BATCH_MAX) => count,
            () = stop.cancelled() => 0,
            () = peer.ended.cancelled() => 0,
        };
        if count == 0 {
            return socket.close().await;
        }
        for outgoing in batch.drain(..) {
            let write = socket.feed(Message::text(outgoing.text));
            tokio::select! {
                written = write => written?,
                () = peer.ended.cancelled() => return Ok(()),
            }
        }
        tokio::select! {
            flushed = within(silence, socket.flush()) => match flushed {
                Some(flushed) => flushed?,
                // A reader that takes nothing at all is left.
                None => return Ok(()),
            },
            () = peer.ended.cancelled() => return Ok(()),
        }
    }
}

/// The head of the HTTP request, left in the socket for the websocket handshake.
async fn peek_head(stream: &TcpStream) -> io::Result<String> {
    let mut buffer = vec![0; HEAD_BYTES_MAX];
    let mut seen = 0;
    loop {
        stream.readable().await?;
        let count = stream.peek(&mut buffer).await?;
        let head = buffer.get(..count).unwrap_or_default();
        if head.windows(4).any(|window| window == b"\r\n\r\n") {
            return Ok(String::from_utf8_lossy(head).into_owned());
        }
        if count == 0 || count >= HEAD_BYTES_MAX {
            return Err(io::Error::other("not an HTTP request"));
        }
        if count == seen {
            // Nothing new: peeking again at once would spin.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        seen = count;
    }
}

fn is_upgrade(head: &str) -> bool {
    head.lines().any(|line| {
        line.split_once(':').is_some_and(|(name, value)| {
            name.trim().eq_ignore_ascii_case("upgrade") && value.trim().eq_ignore_ascii_case("websocket")
        })
    })
}
