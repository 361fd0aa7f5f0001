//! A runner that answers byte for byte what a test says, over a plain TCP socket.
//!
//! Why not a web framework: the faults of real runners are below HTTP (a promised keep-alive that is
//! not kept, a cut in the middle of a chunk), and a framework would repair them.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, missing_docs, unreachable_pub)]

use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// One step of an answer.
#[derive(Clone)]
pub enum Step {
    /// Bytes as they are.
    Raw(Vec<u8>),
    /// Stay silent until the other side goes away.
    Hang,
    /// Send that every 20 ms until the other side goes away.
    Repeat(&'static str),
}

/// A request as it arrived.
pub struct Seen {
    pub head: String,
    pub body: Value,
}

pub struct Fake {
    pub port: u16,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    /// Receives a word each time a peer left a hanging answer.
    pub left: mpsc::UnboundedReceiver<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    /// Answers each path with its steps, any other with 404.
    pub async fn start(routes: &[(&str, Vec<Step>)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let routes: BTreeMap<String, Vec<Step>> =
            routes.iter().map(|(path, steps)| ((*path).to_owned(), steps.clone())).collect();
        let routes = Arc::new(routes);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (gone, left) = mpsc::unbounded_channel();
        let kept = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                socket.set_nodelay(true).unwrap();
                let (routes, kept, gone) = (Arc::clone(&routes), Arc::clone(&kept), gone.clone());
                tokio::spawn(async move {
                    let _peer_left = serve(socket, &routes, &kept, &gone).await;
                });
            }
        });
        Self { port, seen, left, task }
    }

    /// The same answer on every generation endpoint.
    pub async fn generating(steps: Vec<Step>) -> Self {
        let paths = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"];
        Self::start(&paths.map(|path| (path, steps.clone()))).await
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

async fn serve(
    mut socket: TcpStream,
    routes: &BTreeMap<String, Vec<Step>>,
    seen: &Mutex<Vec<Seen>>,
    gone: &mpsc::UnboundedSender<()>,
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        if socket.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_lowercase();
    let length = head.split("content-length: ").nth(1);
    let length = length.and_then(|l| l.lines().next()?.parse().ok()).unwrap_or(0usize);
    while bytes.len() < head_end + length {
        socket.read_buf(&mut bytes).await?;
    }
    let path = head.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let body = serde_json::from_slice(&bytes[head_end..]).unwrap_or(Value::Null);
    seen.lock().unwrap().push(Seen { head, body });
    let missing = vec![status(404, "application/json", "{}")];
    for step in routes.get(&path).unwrap_or(&missing) {
        match step {
            Step::Raw(bytes) => socket.write_all(bytes).await?,
            Step::Hang => {
                let mut rest = Vec::new();
                let _reset = socket.read_to_end(&mut rest).await;
                gone.send(()).ok();
            }
            Step::Repeat(text) => {
                let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
                loop {
                    ticks.tick().await;
                    socket.write_all(chunk(text).as_bytes()).await?;
                }
            }
        }
    }
    socket.shutdown().await
}

/// A whole answer with a status.
pub fn status(code: u16, kind: &str, body: &str) -> Step {
    Step::Raw(
        format!(
            "HTTP/1.1 {code} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Keep-Alive: timeout=5, max=100\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
    )
}

/// A whole answer of JSON.
pub fn json_answer(body: &str) -> Vec<Step> {
    vec![status(200, "application/json", body)]
}

/// The head of an event stream that promises, like llama-server, to keep the connection.
pub fn sse_head() -> Step {
    Step::Raw(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\
          Keep-Alive: timeout=5, max=100\r\n\r\n"
            .to_vec(),
    )
}

/// Events, each as one chunk.
pub fn events(data: &[&str]) -> Step {
    let text: String = data.iter().map(|d| chunk(&format!("data: {d}\n\n"))).collect();
    Step::Raw(text.into_bytes())
}

/// The proper end of a chunked body.
pub fn end() -> Step {
    Step::Raw(b"0\r\n\r\n".to_vec())
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}
