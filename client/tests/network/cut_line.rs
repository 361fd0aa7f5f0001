//! A TCP line to somewhere that a test can cut or stall, as a proxy that dies or hangs.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// The line. Inside a tokio runtime only.
pub struct CutLine {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    target: Mutex<Option<String>>,
    stalled: AtomicBool,
    cut: CancellationToken,
    accepted: AtomicUsize,
    open: AtomicUsize,
}

impl CutLine {
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            let accept = async {
                while let Ok((stream, _)) = listener.accept().await {
                    let state = Arc::clone(&shared);
                    state.accepted.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(async move {
                        state.open.fetch_add(1, Ordering::Relaxed);
                        state.cut.run_until_cancelled(carry(stream, &state)).await;
                        state.open.fetch_sub(1, Ordering::Relaxed);
                    });
                }
            };
            // The listener ends with it: later connections are refused.
            shared.cut.run_until_cancelled(accept).await;
        });
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub fn lead_to(&self, target: &str) {
        *self.state.target.lock().unwrap() = Some(target.to_owned());
    }

    /// New connections are taken and lead nowhere.
    pub fn stall(&self) {
        self.state.stalled.store(true, Ordering::Relaxed);
    }

    /// Ends all connections and takes no more.
    pub fn cut(&self) {
        self.state.cut.cancel();
    }

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::Relaxed)
    }

    /// Connections now.
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::Relaxed)
    }
}

async fn carry(mut here: TcpStream, state: &State) {
    if state.stalled.load(Ordering::Relaxed) {
        return std::future::pending().await;
    }
    here.set_nodelay(true).unwrap();
    let target = state.target.lock().unwrap().clone().unwrap();
    let Ok(mut there) = TcpStream::connect(target).await else { return };
    there.set_nodelay(true).unwrap();
    drop(copy_bidirectional(&mut here, &mut there).await);
}
