//! One endpoint under load: its address, and one request to it.

use std::sync::{Arc, Once};
use std::time::Duration;

use reqwest::{Client, Response, redirect};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::LoadPlan;
use super::exchange::{Exchange, ExchangeError, StreamWatch, tokens_of};
use super::prompt::prompt;

/// Wait for a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Number of the request that finds out whether anybody answers.
const CHECK: u64 = u64::MAX;

/// An endpoint.
pub struct Target {
    url: String,
    path: String,
    key: Option<String>,
    client: Client,
}

/// Why a target cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Not a URL of an endpoint.
    #[error("{url:?} is not the URL of an endpoint: {what}\nhint: write it like http://127.0.0.1:8484/v1")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong.
        what: String,
    },
    /// No answer to the first request.
    #[error("{url} did not answer a first request for model {model:?}: {error}\nhint: {hint}")]
    Silent {
        /// Where.
        url: String,
        /// Which model was asked for.
        model: String,
        /// What came instead.
        error: Box<ExchangeError>,
        /// The way out.
        hint: String,
    },
}

impl Target {
    /// An endpoint by its base URL, with or without the `/v1` at its end.
    pub fn new(url: &str, key: Option<String>) -> Result<Arc<Self>, TargetError> {
        let wrong = |what: &str| TargetError::Url { url: url.to_owned(), what: what.to_owned() };
        let parsed = reqwest::Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(wrong("it does not begin with http:// or https://"));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(wrong("a name or password in it would be printed; use --api-key"));
        }
        let base = url.trim_end_matches('/');
        let version = if parsed.path().trim_matches('/').is_empty() { "/v1" } else { "" };
        install_tls_provider();
        let mut builder = Client::builder()
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_PATIENCE)
            .redirect(redirect::Policy::none())
            .no_proxy();
        if parsed.scheme() == "http" {
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| wrong(&error.to_string()))?;
        let path = format!("{base}{version}/chat/completions");
        Ok(Arc::new(Self { url: url.to_owned(), path, key, client }))
    }

    /// As it was named.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// One request that must be answered.
    pub(super) async fn check(&self, plan: &LoadPlan) -> Result<(), TargetError> {
        match self.exchange(plan, CHECK, Instant::now()).await {
            Ok(_) => Ok(()),
            Err(error) => Err(TargetError::Silent {
                url: self.url.clone(),
                model: plan.model.clone(),
                hint: self.hint(&error),
                error: Box::new(error),
            }),
        }
    }

    /// One request, due at that time.
    pub(super) async fn exchange(
        &self,
        plan: &LoadPlan,
        number: u64,
        due: Instant,
    ) -> Result<Exchange, ExchangeError> {
        let body = body(plan, number);
        let sent = Instant::now();
        let limit = plan.timeout.saturating_sub(sent.saturating_duration_since(due));
        let answer = async {
            let response = self.send(body).await?;
            if plan.is_streamed {
                streamed(response, due, sent).await
            } else {
                whole(response, due, sent).await
            }
        };
        timeout(limit, answer).await.unwrap_or(Err(ExchangeError::Timeout))
    }

    async fn send(&self, body: String) -> Result<Response, ExchangeError> {
        let send = |body: String| {
            let mut request = self.client.post(&self.path).header("content-type", "application/json");
            if let Some(key) = &self.key {
                request = request.bearer_auth(key);
            }
            request.body(body).send()
        };
        let response = match send(body.clone()).await {
            // Some servers promise to keep a connection and close it: that is found out by using it, once.
            Err(error) if !error.is_connect() && !error.is_timeout() => send(body).await,
            other => other,
        };
        let mut response = response.map_err(|error| match error.is_connect() {
            true => ExchangeError::Connect(cause(&error)),
            false => ExchangeError::Cut,
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        Err(ExchangeError::of_status(status, &read(&mut response).await.unwrap_or_default()))
    }

    fn hint(&self, error: &ExchangeError) -> String {
        match error {
            ExchangeError::Connect(_) => {
                "is it running? The network's own endpoint is started by: fedai serve, or fedai up --listen \
                 127.0.0.1:8484"
                    .to_owned()
            }
            ExchangeError::Status { status: 401 | 403, .. } => {
                "name a key it accepts with --api-key".to_owned()
            }
            ExchangeError::Status { status: 404, .. } => {
                format!(
                    "look at the path and at its models: curl {}",
                    self.path.replace("chat/completions", "models")
                )
            }
            ExchangeError::Timeout => "wait longer with --timeout, or look at its log".to_owned(),
            _ => "look at its log".to_owned(),
        }
    }
}

fn body(plan: &LoadPlan, number: u64) -> String {
    let mut body = json!({
        "model": plan.model,
        "messages": [{"role": "user", "content": prompt(plan.seed, number, plan.prompt_tokens)}],
        "max_tokens": plan.max_tokens,
        "temperature": 0,
    });
    if let Some(fields) = body.as_object_mut().filter(|_| plan.is_streamed) {
        fields.insert("stream".to_owned(), true.into());
        fields.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    body.to_string()
}

async fn streamed(mut response: Response, due: Instant, sent: Instant) -> Result<Exchange, ExchangeError> {
    let mut watch = StreamWatch::new();
    let mut now = Instant::now();
    // Read to the end of the body, not only to [DONE]: the connection is used again.
    while let Some(bytes) = response.chunk().await.map_err(|_| ExchangeError::Cut)? {
        now = Instant::now();
        watch.push(&bytes, now)?;
    }
    watch.finish(due, sent, now)
}

async fn whole(mut response: Response, due: Instant, sent: Instant) -> Result<Exchange, ExchangeError> {
    let body = read(&mut response).await?;
    let total = Instant::now() - due;
    let tokens = tokens_of(&body)?;
    // Whoever does not stream sees the first token with the last.
    Ok(Exchange { first: total, total, late: sent - due, gaps: Vec::new(), tokens })
}

async fn read(response: &mut Response) -> Result<Vec<u8>, ExchangeError> {
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await.map_err(|_| ExchangeError::Cut)? {
        if body.len() + bytes.len() > ANSWER_BYTES_MAX {
            return Err(ExchangeError::Form);
        }
        body.extend_from_slice(&bytes);
    }
    Ok(body)
}

/// The innermost cause, which says most.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// rustls asks for one provider per process; a second call is harmless.
fn install_tls_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}
