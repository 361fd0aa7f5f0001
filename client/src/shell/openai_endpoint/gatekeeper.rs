//! Who may call: the right host name, an allowed web page, a known key. And how every refusal looks.
//!
//! A page in a browser can send requests to loopback. So a request with an `Origin` needs one that was allowed, and the
//! `Host` must be this machine's: a name that a stranger's DNS points here is refused.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, AUTHORIZATION, HOST, ORIGIN, RETRY_AFTER, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::endpoint::Endpoint;
use crate::core::openai::api_error::ApiError;

/// The name of the key that a request came with; none when no keys are asked for.
#[derive(Clone, Debug)]
pub(super) struct Caller(pub(super) Option<String>);

/// Every request passes here first.
pub(super) async fn guard(
    State(endpoint): State<Arc<Endpoint>>,
    mut request: Request,
    next: Next,
) -> Response {
    let origin = request.headers().get(ORIGIN).cloned();
    let allowed =
        check_host(&endpoint, request.headers()).and_then(|()| check_origin(&endpoint, origin.as_ref()));
    if let Err(error) = allowed {
        return refuse(&error);
    }
    let is_preflight = request.method() == Method::OPTIONS && origin.is_some();
    let mut response = if is_preflight {
        StatusCode::NO_CONTENT.into_response()
    } else {
        match caller(&endpoint, request.uri().path(), request.headers()) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                next.run(request).await
            }
            Err(error) => refuse(&error),
        }
    };
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(VARY, HeaderValue::from_static("origin"));
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(OUR_HEADERS));
        if is_preflight {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
            headers.insert(
                ACCESS_CONTROL_ALLOW_HEADERS,
                HeaderValue::from_static("authorization, content-type"),
            );
        }
    }
    response
}

fn check_host(endpoint: &Endpoint, headers: &HeaderMap) -> Result<(), ApiError> {
    if endpoint.terms.is_remote {
        return Ok(());
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(ApiError::new(403, "wrong_host", "this endpoint answers to localhost only"))
}

fn check_origin(endpoint: &Endpoint, origin: Option<&HeaderValue>) -> Result<(), ApiError> {
    let Some(origin) = origin else { return Ok(()) };
    let allowed = &endpoint.terms.origins;
    if origin.to_str().is_ok_and(|origin| allowed.iter().any(|one| one == "*" || one == origin)) {
        return Ok(());
    }
    Err(ApiError::new(403, "wrong_origin", "this web page is not allowed; see fedai serve --cors-origin"))
}

fn caller(endpoint: &Endpoint, path: &str, headers: &HeaderMap) -> Result<Caller, ApiError> {
    if endpoint.keys.is_empty() || path == "/health" {
        return Ok(Caller(None));
    }
    let sent = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = sent.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
    let name = key.and_then(|key| endpoint.keys.name_of(key));
    let text = "no valid API key; send it as `Authorization: Bearer KEY`";
    name.map(|name| Caller(Some(name))).ok_or_else(|| ApiError::new(401, "invalid_api_key", text))
}

/// A refusal as a response.
pub(super) fn refuse(error: &ApiError) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(error.body())).into_response();
    if let Some(seconds) = error.retry_after_seconds() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// No such path.
pub(super) fn unknown_path() -> ApiError {
    let text = "no such path; there are /v1/models, /v1/chat/completions, /v1/completions and /v1/embeddings";
    ApiError::new(404, "unknown_path", text)
}

/// The path takes another method.
pub(super) fn wrong_method() -> ApiError {
    ApiError {
        kind: "invalid_request_error",
        ..ApiError::new(405, "wrong_method", "this path takes another method")
    }
}

/// What a web page may read.
const OUR_HEADERS: &str =
    "x-fedai-node, x-fedai-router, x-fedai-request, x-fedai-price, x-fedai-decision, x-fedai-attempts";
