//! `/v1/models`: what the network offers now, each model once, with the best that its nodes announce.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use fedai_protocol::ModelOffer;
use fedai_protocol::message::Received;
use fedai_relay_bridge::RelayRole;
use serde_json::{Value, json};

use super::endpoint::Endpoint;
use super::gatekeeper::refuse;
use crate::core::openai::api_error::ApiError;
use crate::shell::network_view::NetworkView;

/// Every model.
pub(super) async fn list(State(endpoint): State<Arc<Endpoint>>) -> Response {
    let view = endpoint.models().await;
    Json(json!({"object": "list", "data": by_model(&view).into_values().collect::<Vec<_>>()})).into_response()
}

/// One model.
pub(super) async fn one(State(endpoint): State<Arc<Endpoint>>, Path(model): Path<String>) -> Response {
    let view = endpoint.models().await;
    match by_model(&view).remove(&model.to_lowercase()) {
        Some(found) => Json(found).into_response(),
        None => {
            refuse(&ApiError::new(404, "unknown_model", "no live node offers this model; see GET /v1/models"))
        }
    }
}

/// Whether relays are connected.
pub(super) async fn health(State(endpoint): State<Arc<Endpoint>>) -> Response {
    let relays = endpoint.buyer.pool().connected_urls(RelayRole::Stream).len();
    if relays == 0 {
        return refuse(&ApiError::new(503, "no_relay", "no relay is connected"));
    }
    Json(json!({"status": "ok", "relays": relays})).into_response()
}

fn by_model(view: &NetworkView) -> BTreeMap<String, Value> {
    let mut offers: BTreeMap<String, Vec<&Received<ModelOffer>>> = BTreeMap::new();
    for offer in &view.offers {
        offers.entry(offer.received.message.model.clone()).or_default().push(&offer.received);
    }
    offers.into_iter().map(|(model, offers)| (model.clone(), described(&model, &offers))).collect()
}

fn described(model: &str, offers: &[&Received<ModelOffer>]) -> Value {
    let most = |of: fn(&ModelOffer) -> u64| offers.iter().map(|offer| of(&offer.message)).max().unwrap_or(0);
    let least = |of: fn(&ModelOffer) -> u64| offers.iter().map(|offer| of(&offer.message)).min().unwrap_or(0);
    let words = |of: fn(&ModelOffer) -> &[String]| {
        let mut words: Vec<&String> = offers.iter().flat_map(|offer| of(&offer.message)).collect();
        words.sort();
        words.dedup();
        json!(words)
    };
    json!({
        "id": model,
        "object": "model",
        "created": offers.iter().map(|offer| offer.created_at.0).min().unwrap_or(0),
        "owned_by": if offers.len() == 1 { "1 node".to_owned() } else { format!("{} nodes", offers.len()) },
        "context_length": most(|offer| offer.context_tokens.get()),
        "max_output_tokens": most(|offer| offer.max_output_tokens.get()),
        "pricing": {
            "unit": "msat",
            "prompt_per_million_tokens": least(|offer| offer.price.input.get()),
            "completion_per_million_tokens": least(|offer| offer.price.output.get()),
            "request": least(|offer| offer.price.request.get()),
        },
        "modalities": words(|offer| &offer.modalities),
        "features": words(|offer| &offer.features),
        "nodes": offers.len(),
    })
}
