//! `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use fedai_protocol::job_open::JobEndpoint;
use fedai_relay_bridge::wall_clock;
use serde_json::json;

use super::endpoint::Endpoint;
use super::gatekeeper::{Caller, refuse};
use super::purchase::{self, Delivered, Place, Progress, Purchase};
use super::streaming;
use crate::core::openai::answer::{AnswerHead, ChoiceAssembly, usage_object, with_field};
use crate::core::openai::api_error::ApiError;
use crate::core::openai::api_request::{ApiRequest, too_large};

type Body = Result<Bytes, BytesRejection>;

pub(super) async fn chat(
    State(endpoint): State<Arc<Endpoint>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(endpoint, caller, JobEndpoint::Chat, &headers, body).await
}

pub(super) async fn completion(
    State(endpoint): State<Arc<Endpoint>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(endpoint, caller, JobEndpoint::Completion, &headers, body).await
}

pub(super) async fn embedding(
    State(endpoint): State<Arc<Endpoint>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(endpoint, caller, JobEndpoint::Embedding, &headers, body).await
}

async fn answer(
    endpoint: Arc<Endpoint>,
    caller: Caller,
    kind: JobEndpoint,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let outcome = async {
        let body = body.map_err(|rejection| match rejection.status().as_u16() {
            413 => too_large(),
            _ => ApiError::new(400, "unreadable_body", "the body could not be read"),
        })?;
        check_content_type(headers)?;
        let request = ApiRequest::read(kind, &body, endpoint.terms.default_output)?;
        let (is_streamed, wants_usage) = (request.is_streamed, request.wants_usage);
        let purchase = purchase::begin(&endpoint, request, caller.0).await?;
        if is_streamed && kind != JobEndpoint::Embedding {
            return streaming::respond(kind, purchase, wants_usage).await;
        }
        whole(kind, purchase).await
    };
    outcome.await.unwrap_or_else(|error: ApiError| refuse(&error))
}

/// Only JSON: a web page can send other forms anywhere without asking first.
fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let form = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let form = form.split(';').next().unwrap_or_default().trim();
    if form.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::new(415, "wrong_content_type", "the body must be sent as application/json"))
}

async fn whole(kind: JobEndpoint, mut purchase: Purchase) -> Result<Response, ApiError> {
    let (mut place, mut assembly) = (Place::default(), ChoiceAssembly::default());
    while let Some(progress) = purchase.progress.recv().await {
        match progress {
            Progress::Opening(at) => place = at,
            Progress::Lines(lines) => {
                lines.into_iter().for_each(|line| assembly.push(line.index, line.choice()));
            }
        }
    }
    let delivered = outcome(&mut purchase).await?;
    let head = head(kind, &place);
    let object = head.whole(&assembly, usage_object(&delivered.answer.usage, delivered.cost));
    let mut response = Json(with_field(object, "fedai", particulars(&delivered))).into_response();
    place.attempts = u32::try_from(delivered.answer.attempts.len()).unwrap_or(u32::MAX);
    add_headers(&mut response, &place, delivered.cost.get());
    Ok(response)
}

/// The end of a purchase.
pub(super) async fn outcome(purchase: &mut Purchase) -> Result<Delivered, ApiError> {
    match (&mut purchase.outcome).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ApiError::new(500, "internal", "the job ended without a word; see the log")),
    }
}

/// What every object of this answer says of it.
pub(super) fn head(endpoint: JobEndpoint, place: &Place) -> AnswerHead {
    let prefix = if endpoint == JobEndpoint::Chat { "chatcmpl" } else { "cmpl" };
    let id = place.request.get(..24).unwrap_or_default();
    AnswerHead {
        endpoint,
        // One ticket serves several jobs: the time makes ids differ.
        id: format!("{prefix}-{id}{:x}", wall_clock::now().0),
        created: wall_clock::now_seconds().0,
        model: place.model.clone(),
    }
}

/// What only this network says of an answer.
pub(super) fn particulars(delivered: &Delivered) -> serde_json::Value {
    let settlement = &delivered.answer.settlement;
    json!({
        "receipt": settlement.receipt.id().to_hex(),
        "verified": settlement.verdict.is_ok(),
        "dispute": settlement.verdict.err().map(|dispute| dispute.code()),
        "node": settlement.node.node.to_hex(),
        "cost_msat": delivered.cost.get(),
        "attempts": delivered.answer.attempts.len(),
    })
}

/// Where the answer came from. `price` is the cost, or the ceiling while the answer still streams.
pub(super) fn add_headers(response: &mut Response, place: &Place, price_msat: u64) {
    let headers = response.headers_mut();
    let texts = [
        ("x-fedai-node", place.node.clone()),
        ("x-fedai-router", place.router.clone()),
        ("x-fedai-request", place.request.clone()),
        ("x-fedai-decision", place.decision.clone()),
        ("x-fedai-price", format!("{price_msat}")),
        ("x-fedai-attempts", place.attempts.to_string()),
    ];
    for (name, text) in texts {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}
