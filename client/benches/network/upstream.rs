//! A runner that costs nothing: an OpenAI-compatible server in this process that says sixteen tokens at once, streamed
//! or whole, as the request asks.

use std::net::SocketAddr;
use std::sync::LazyLock;

use axum::Router;
use axum::body::Bytes;
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
    if asked["stream"] == true {
        return ([(CONTENT_TYPE, "text/event-stream")], STREAMED.clone()).into_response();
    }
    ([(CONTENT_TYPE, "application/json")], WHOLE.clone()).into_response()
}

fn models() -> Value {
    json!({"object": "list", "data": [{"id": MODEL, "object": "model", "max_model_len": 4096}]})
}

fn usage() -> Value {
    json!({"prompt_tokens": 24, "completion_tokens": TOKENS, "total_tokens": 24 + TOKENS})
}

fn whole() -> Value {
    let text: String = (0..TOKENS).map(|n| format!("word{n} ")).collect();
    let message = json!({"role": "assistant", "content": text});
    json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": MODEL, "usage": usage(),
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
}

fn streamed() -> String {
    let chunk = |choices: Value, usage: Value| {
        let chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL,
            "choices": choices, "usage": usage});
        format!("data: {chunk}\n\n")
    };
    let delta = |delta: Value, reason: Value| json!([{"index": 0, "delta": delta, "finish_reason": reason}]);
    let mut body: String = (0..TOKENS)
        .map(|n| chunk(delta(json!({"content": format!("word{n} ")}), Value::Null), Value::Null))
        .collect();
    body.push_str(&chunk(delta(json!({}), "stop".into()), Value::Null));
    body.push_str(&chunk(json!([]), usage()));
    body.push_str("data: [DONE]\n\n");
    body
}
