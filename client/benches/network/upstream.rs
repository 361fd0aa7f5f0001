//! A runner that costs nothing: an OpenAI-compatible server in this process that says sixteen tokens at once, streamed
//! or whole, as the request asks. A prompt `pace MS` gets as many tokens as it allows, one each so many milliseconds.

use std::net::SocketAddr;
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use serde_json::{Value, json};

use crate::purchase::TOKENS;

/// Name of its only model.
pub const MODEL: &str = "bench-model";

/// Starts it; gives its base URL. It ends with the runtime.
pub async fn start() -> String {
    let (url, server) = listen(SocketAddr::from(([127, 0, 0, 1], 0))).await;
    tokio::spawn(server);
    url
}

/// Serves there until the process ends, for measurements from outside.
pub async fn serve(address: SocketAddr) {
    let (url, server) = listen(address).await;
    println!("listening {url}");
    server.await;
}

async fn listen(address: SocketAddr) -> (String, impl Future<Output = ()>) {
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // Nagle's algorithm and a delayed acknowledgement would add 40 ms to every streamed answer.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let app = Router::new()
        .route("/v1/models", get(|| async { axum::Json(models()) }))
        .route("/v1/chat/completions", post(answer))
        .route("/health", get(|| async {}))
        .fallback(|| async { axum::http::StatusCode::NOT_FOUND.into_response() });
    (url, async move { axum::serve(listener, app).await.unwrap() })
}

async fn answer(body: Bytes) -> axum::response::Response {
    static STREAMED: LazyLock<Bytes> = LazyLock::new(|| streamed().into());
    static WHOLE: LazyLock<Bytes> = LazyLock::new(|| whole().to_string().into());
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let pace = asked["messages"][0]["content"].as_str().and_then(|text| text.strip_prefix("pace "));
    if let Some(pause) = pace.and_then(|text| text.parse().ok()) {
        return paced(asked["max_tokens"].as_u64().unwrap(), Duration::from_millis(pause));
    }
    if asked["stream"] == true {
        return ([(CONTENT_TYPE, "text/event-stream")], STREAMED.clone()).into_response();
    }
    ([(CONTENT_TYPE, "application/json")], WHOLE.clone()).into_response()
}

/// When answers were dropped before their end: the runner's side of a cancelled job.
pub static DROPPED: Mutex<Vec<Instant>> = Mutex::new(Vec::new());

struct Paced {
    left: u64,
    tokens: u64,
    pause: tokio::time::Interval,
}

impl Drop for Paced {
    fn drop(&mut self) {
        if self.left > 0 {
            DROPPED.lock().unwrap().push(Instant::now());
        }
    }
}

fn paced(tokens: u64, pause: Duration) -> axum::response::Response {
    let paced = Paced { left: tokens, tokens, pause: tokio::time::interval(pause) };
    let stream = futures_util::stream::unfold(paced, |mut paced| async move {
        if paced.left == 0 {
            return None;
        }
        paced.pause.tick().await;
        paced.left -= 1;
        let mut text = chunk(delta(json!({"content": "word "}), Value::Null), Value::Null);
        if paced.left == 0 {
            text.push_str(&ending(paced.tokens));
        }
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(text)), paced))
    });
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(stream)).into_response()
}

fn models() -> Value {
    json!({"object": "list", "data": [{"id": MODEL, "object": "model", "max_model_len": 4096}]})
}

fn usage(tokens: u64) -> Value {
    json!({"prompt_tokens": 24, "completion_tokens": tokens, "total_tokens": 24 + tokens})
}

fn whole() -> Value {
    let text: String = (0..TOKENS).map(|n| format!("word{n} ")).collect();
    let message = json!({"role": "assistant", "content": text});
    json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": MODEL,
        "usage": usage(TOKENS.into()), "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
}

fn chunk(choices: Value, usage: Value) -> String {
    let chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL,
        "choices": choices, "usage": usage});
    format!("data: {chunk}\n\n")
}

fn delta(delta: Value, reason: Value) -> Value {
    json!([{"index": 0, "delta": delta, "finish_reason": reason}])
}

fn ending(tokens: u64) -> String {
    let stop = chunk(delta(json!({}), "stop".into()), Value::Null);
    format!("{stop}{}data: [DONE]\n\n", chunk(json!([]), usage(tokens)))
}

fn streamed() -> String {
    let word = |n| chunk(delta(json!({"content": format!("word{n} ")}), Value::Null), Value::Null);
    (0..TOKENS).map(word).chain([ending(TOKENS.into())]).collect()
}
