//! A runner that costs nothing: an OpenAI-compatible server in this process that streams sixteen tokens at once.

use axum::Router;
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
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // Nagle's algorithm and a delayed acknowledgement would add 40 ms to every streamed answer.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let app = Router::new()
        .route("/v1/models", get(|| async { axum::Json(models()) }))
        .route("/v1/chat/completions", post(|| async { ([(CONTENT_TYPE, "text/event-stream")], answer()) }))
        .fallback(|| async { axum::http::StatusCode::NOT_FOUND.into_response() });
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

fn models() -> Value {
    json!({"object": "list", "data": [{"id": MODEL, "object": "model", "max_model_len": 4096}]})
}

fn answer() -> String {
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
    let usage = json!({"prompt_tokens": 24, "completion_tokens": TOKENS, "total_tokens": 24 + TOKENS});
    body.push_str(&chunk(json!([]), usage));
    body.push_str("data: [DONE]\n\n");
    body
}
