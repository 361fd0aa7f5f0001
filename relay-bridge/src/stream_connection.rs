//! Our own websocket client, for traffic where each millisecond counts: no Nagle delay, writes batched into one flush
//! when several are waiting, one channel between the publisher and the socket and none on the way in.
//!
//! It reconnects with jittered back-off, pings so that a dead peer is noticed, and refuses what it cannot write now.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fedai_protocol::Entropy;
use fedai_protocol::limits::{EVENT_BYTES_MAX, RELAY_OUTBOUND_EVENTS_MAX};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::{
    Command, ConnectionState, Incoming, IncomingSink, OpenRequest, RelayConnection, SendError,
};
use crate::entropy::SystemEntropy;
use crate::lock::lock;
use crate::relay_address::{RelayAddress, is_public};
use crate::relay_socket::{READ_BUFFER_BYTES, WRITE_BUFFER_BYTES};
use crate::wire::{self, RelayText, WireError};

/// First wait after a lost connection; doubles, with jitter.
const BACKOFF: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A connection that lasted this long was a good one: the back-off starts anew.
const GOOD_AFTER: Duration = Duration::from_secs(10);
const PING_EVERY: Duration = Duration::from_secs(15);
/// How long a closed connection may still write what it was given.
const CLOSE_GRACE: Duration = Duration::from_secs(5);
/// Silence, pongs included, after which the peer is taken for dead.
const SILENCE_MAX: Duration = Duration::from_secs(40);
/// Largest frame read: an event and the subscription id around it.
const FRAME_BYTES_MAX: usize = 2 * EVENT_BYTES_MAX;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A websocket connection of our own.
pub struct StreamConnection {
    request: OpenRequest,
    live: Live,
    closed: CancellationToken,
    tasks: TaskTracker,
}

type Live = Arc<Mutex<Option<mpsc::Sender<Command>>>>;

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name does not resolve.
    #[error("{host}: name does not resolve ({error})")]
    Resolve {
        /// Host name.
        host: String,
        /// The system's words.
        error: std::io::Error,
    },
    /// It resolves to private addresses only.
    #[error("{0}: leads into a private network, which an announced relay may not")]
    Private(String),
    /// Nobody answers.
    #[error("{0}")]
    Tcp(std::io::Error),
    /// No websocket there.
    #[error("{0}")]
    Websocket(Box<WsError>),
    /// Too slow.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

impl StreamConnection {
    /// A connection, not started yet.
    #[must_use]
    pub fn new(request: OpenRequest) -> Self {
        Self { request, live: Arc::default(), closed: CancellationToken::new(), tasks: TaskTracker::new() }
    }
}

impl RelayConnection for StreamConnection {
    fn start(&self, sink: Arc<dyn IncomingSink>) {
        let (request, live, closed) = (self.request.clone(), Arc::clone(&self.live), self.closed.clone());
        self.tasks.spawn(async move {
            let goodbye = async {
                closed.cancelled().await;
                // Without its sender the queue ends: the session writes what is in it and is over.
                lock(&live).take();
                tokio::time::sleep(CLOSE_GRACE).await;
            };
            tokio::select! {
                () = Box::pin(keep_up(&request, &live, &*sink, &closed)) => {}
                () = goodbye => {}
            }
        });
    }

    fn send(&self, command: Command) -> Result<(), SendError> {
        let live = lock(&self.live);
        let live = live.as_ref().ok_or(SendError::NotConnected)?;
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
        "stream"
    }
}

impl Drop for StreamConnection {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

async fn keep_up(request: &OpenRequest, live: &Live, sink: &dyn IncomingSink, closed: &CancellationToken) {
    let mut failures: u32 = 0;
    loop {
        let started = Instant::now();
        let attempt = Box::pin(connect(&request.address, request.public_only, request.connect_timeout));
        let reason = match closed.run_until_cancelled(attempt).await {
            Some(Ok(socket)) => session(socket, live, sink).await,
            Some(Err(error)) => error.to_string(),
            None => return,
        };
        lock(live).take();
        failures = if started.elapsed() >= GOOD_AFTER { 0 } else { failures.saturating_add(1) };
        sink.incoming(Incoming::State(ConnectionState::Disconnected, Some(reason)));
        if closed.run_until_cancelled(tokio::time::sleep(backoff(failures))).await.is_none() {
            return;
        }
    }
}

/// Connects to a relay: own DNS look-up (so that what is checked is what is connected to), no Nagle, then TLS and
/// the websocket handshake.
pub async fn connect(
    address: &RelayAddress,
    public_only: bool,
    timeout: Duration,
) -> Result<Socket, ConnectError> {
    let attempt = async {
        let tcp = connect_tcp(address, public_only).await?;
        tcp.set_nodelay(true).map_err(ConnectError::Tcp)?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX))
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES);
        install_crypto();
        let (socket, _) =
            tokio_tungstenite::client_async_tls_with_config(address.url(), tcp, Some(config), None)
                .await
                .map_err(|error| ConnectError::Websocket(Box::new(error)))?;
        Ok(socket)
    };
    tokio::time::timeout(timeout, attempt).await.unwrap_or(Err(ConnectError::Timeout(timeout)))
}

async fn connect_tcp(address: &RelayAddress, public_only: bool) -> Result<TcpStream, ConnectError> {
    let resolve = |error| ConnectError::Resolve { host: address.host().to_owned(), error };
    let found: Vec<SocketAddr> =
        tokio::net::lookup_host((address.host(), address.port())).await.map_err(resolve)?.collect();
    let allowed: Vec<SocketAddr> =
        found.into_iter().filter(|at| !public_only || is_public(at.ip())).collect();
    if allowed.is_empty() {
        return Err(ConnectError::Private(address.host().to_owned()));
    }
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for at in allowed {
        match TcpStream::connect(at).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = error,
        }
    }
    Err(ConnectError::Tcp(last))
}

/// TLS by ring, for every connection of the process; a second call changes nothing.
pub(crate) fn install_crypto() {
    // The only failure is that a provider was installed before.
    drop(rustls::crypto::ring::default_provider().install_default());
}

async fn session(socket: Socket, live: &Live, sink: &dyn IncomingSink) -> String {
    let (write, read) = socket.split();
    let (sender, commands) = mpsc::channel(RELAY_OUTBOUND_EVENTS_MAX);
    *lock(live) = Some(sender);
    sink.incoming(Incoming::State(ConnectionState::Connected, None));
    let origin = Instant::now();
    let mut reading = std::pin::pin!(read_all(read, sink, origin));
    let written = tokio::select! {
        written = write_all(write, commands, origin) => written,
        error = &mut reading => return error,
    };
    match written {
        // Closing a socket with unread answers in it would reset it, and the relay would lose what was just written.
        Ok(()) => reading.await,
        Err(error) => error,
    }
}

/// Writes until the queue ends; then says goodbye.
async fn write_all(
    mut socket: SplitSink<Socket, Message>,
    mut commands: mpsc::Receiver<Command>,
    origin: Instant,
) -> Result<(), String> {
    let mut ping = tokio::time::interval(PING_EVERY);
    ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let fed = tokio::select! {
            command = commands.recv() => match command {
                Some(command) => feed_batch(&mut socket, command, &mut commands).await,
                None => {
                    // The peer may be gone already, and then there is nobody to say goodbye to.
                    drop(socket.close().await);
                    return Ok(());
                }
            },
            _ = ping.tick() => socket.feed(Message::Ping(stamp(origin).into())).await,
        };
        let written = match fed {
            Ok(()) => tokio::time::timeout(SILENCE_MAX, socket.flush()).await,
            Err(error) => return Err(error.to_string()),
        };
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("relay does not read".to_owned()),
        }
    }
}

async fn feed_batch(
    socket: &mut SplitSink<Socket, Message>,
    first: Command,
    commands: &mut mpsc::Receiver<Command>,
) -> Result<(), WsError> {
    socket.feed(Message::text(command_text(&first))).await?;
    while let Ok(next) = commands.try_recv() {
        socket.feed(Message::text(command_text(&next))).await?;
    }
    Ok(())
}

async fn read_all(mut socket: SplitStream<Socket>, sink: &dyn IncomingSink, origin: Instant) -> String {
    loop {
        let message = match tokio::time::timeout(SILENCE_MAX, socket.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => return error.to_string(),
            Ok(None) => return "closed by the relay".to_owned(),
            Err(_) => return "relay is silent".to_owned(),
        };
        match message {
            Message::Text(text) => {
                report(text.as_str(), sink);
                // Who was handed something acts on it before the next one is verified.
                tokio::task::yield_now().await;
            }
            Message::Pong(payload) => {
                if let Some(sent) =
                    payload.get(..8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes)
                {
                    let rtt = origin.elapsed().saturating_sub(Duration::from_micros(sent));
                    sink.incoming(Incoming::RoundTrip(rtt));
                }
            }
            Message::Close(frame) => {
                return frame.map_or_else(
                    || "closed by the relay".to_owned(),
                    |f| format!("closed by the relay: {f}"),
                );
            }
            Message::Binary(_) => sink.incoming(Incoming::Unreadable { oversize: false }),
            Message::Ping(_) | Message::Frame(_) => {}
        }
    }
}

/// The text of a command.
pub(crate) fn command_text(command: &Command) -> String {
    match command {
        Command::Event(event) => wire::publish(event),
        Command::Subscribe { id, filters } => wire::request(id, filters),
        Command::Unsubscribe { id } => wire::close(id),
        Command::Auth(event) => wire::auth(event),
    }
}

/// Reports a relay's text.
pub(crate) fn report(text: &str, sink: &dyn IncomingSink) {
    let message = match wire::parse_relay(text) {
        Ok(RelayText::Event { subscription, event }) => Incoming::Event { subscription, event },
        Ok(RelayText::Ok { event_id, accepted, message }) => Incoming::Ok { event_id, accepted, message },
        Ok(RelayText::EndOfStored { subscription }) => Incoming::EndOfStored { subscription },
        Ok(RelayText::Closed { subscription, message }) => Incoming::Closed { subscription, message },
        Ok(RelayText::Notice(text)) => Incoming::Notice(text),
        Ok(RelayText::Auth(challenge)) => Incoming::Auth(challenge),
        Ok(RelayText::Other) => return,
        Err(error) => Incoming::Unreadable { oversize: error == WireError::Oversize },
    };
    sink.incoming(message);
}

fn stamp(origin: Instant) -> Vec<u8> {
    u64::try_from(origin.elapsed().as_micros()).unwrap_or(u64::MAX).to_be_bytes().to_vec()
}

/// Doubles with each failure; half of it is drawn, so that many clients do not come back at once.
fn backoff(failures: u32) -> Duration {
    let full =
        BACKOFF.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(10))).min(BACKOFF_MAX);
    let half = full / 2;
    let micros = u64::try_from(half.as_micros()).unwrap_or(u64::MAX);
    half + Duration::from_micros(SystemEntropy.below(micros.saturating_add(1)))
}
