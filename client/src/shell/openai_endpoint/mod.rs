//! The local OpenAI-compatible endpoint: any program that speaks OpenAI's API buys from the network through it.
//!
//! It listens on loopback, holds the tickets and keys of this user, and is no part of the network: nobody else ever
//! talks to it. Prompts and outputs pass it in memory and are written nowhere.

pub mod api_keys;
mod endpoint;
mod gatekeeper;
mod jobs;
mod models;
mod purchase;
mod streaming;
mod ticket_shelf;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use fedai_protocol::limits::REQUEST_BYTES_MAX;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::endpoint::{Endpoint, EndpointTerms};

/// Room in a body for what is taken out before a node sees it.
const BODY_BYTES_MAX: usize = REQUEST_BYTES_MAX + 65_536;

/// Serves until `stop`, then finishes what runs, at most for `patience`. True when everything was finished.
pub async fn serve(
    listener: TcpListener,
    endpoint: Arc<Endpoint>,
    stop: CancellationToken,
    patience: Duration,
) -> std::io::Result<bool> {
    let application = application(Arc::clone(&endpoint));
    let stopping = stop.clone();
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // A token in a small packet must not wait for the next one.
        drop(stream.set_nodelay(true));
    });
    let server = axum::serve(listener, application)
        .with_graceful_shutdown(async move { stopping.cancelled().await })
        .into_future();
    let mut server = std::pin::pin!(server);
    tokio::select! {
        outcome = &mut server => return outcome.map(|()| true),
        () = stop.cancelled() => {}
    }
    endpoint.drain();
    match tokio::time::timeout(patience, server).await {
        Ok(outcome) => outcome.map(|()| true),
        Err(_) => {
            endpoint.cancel_all();
            Ok(false)
        }
    }
}

fn application(endpoint: Arc<Endpoint>) -> Router {
    let wrong_method = || async { gatekeeper::refuse(&gatekeeper::wrong_method()) };
    Router::new()
        .route("/v1/models", get(models::list).fallback(wrong_method))
        .route("/v1/models/{*model}", get(models::one).fallback(wrong_method))
        .route("/v1/chat/completions", post(jobs::chat).fallback(wrong_method))
        .route("/v1/completions", post(jobs::completion).fallback(wrong_method))
        .route("/v1/embeddings", post(jobs::embedding).fallback(wrong_method))
        .route("/health", get(models::health).fallback(wrong_method))
        .fallback(|| async { gatekeeper::refuse(&gatekeeper::unknown_path()) })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&endpoint), gatekeeper::guard))
        .with_state(endpoint)
}
