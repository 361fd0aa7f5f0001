//! The HTTP side every adapter shares: one client, bounded answers, and errors in our own words.
//!
//! The rules: runners announce keep-alive and then close, so what fails on a connection that was used before, without
//! a byte of an answer, is asked once more on a fresh one; no redirect and no proxy is followed, they would carry a
//! prompt to somebody unasked; the text of an error body is looked at to find a code and then dropped.

use super::fields::{text_at, u32_at};
use super::{OpenError, RunnerError, RunnerOptions};
use crate::shell::sandbox;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, redirect};
use serde_json::Value;
use std::sync::Once;
use std::time::Duration;
use tokio::time::timeout;

/// Connections that are kept for the next job: making one costs a job a fifth of a millisecond.
const KEPT_CONNECTIONS: usize = 16;
/// How long each is kept: shorter than what runners announce, which is five seconds.
const KEPT_FOR: Duration = Duration::from_secs(3);

/// A client of one runner.
#[derive(Clone)]
pub(crate) struct Http {
    /// Uses connections again.
    client: Client,
    /// Never does.
    fresh: Client,
    base: String,
    pub(crate) options: RunnerOptions,
}

impl Http {
    pub(crate) fn new(url: &str, options: RunnerOptions) -> Result<Self, OpenError> {
        let base = sandbox::check_runner_url(url, options.allow_remote)?;
        install_tls_provider();
        let build = |kept: usize| {
            let mut builder = Client::builder()
                .pool_max_idle_per_host(kept)
                .pool_idle_timeout(KEPT_FOR)
                .tcp_nodelay(true)
                .connect_timeout(options.connect_timeout)
                .redirect(redirect::Policy::none())
                .no_proxy();
            if base.starts_with("http://") {
                // Without TLS the system's certificates are not needed, nor have to exist.
                builder = builder.tls_certs_only([]);
            }
            builder.build().map_err(|_| OpenError::Client { url: base.clone() })
        };
        let (client, fresh) = (build(KEPT_CONNECTIONS)?, build(0)?);
        Ok(Self { client, fresh, base, options })
    }

    /// A small GET whose answer is JSON.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, RunnerError> {
        parse_json(&self.query(Method::GET, path, None).await?)
    }

    /// A small GET whose answer is text.
    pub(crate) async fn get_text(&self, path: &str) -> Result<String, RunnerError> {
        let bytes = self.query(Method::GET, path, None).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A small POST whose answer is JSON.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, RunnerError> {
        parse_json(&self.query(Method::POST, path, Some(body)).await?)
    }

    /// Sends a generation and returns the response once its head says success. Not bounded in time:
    /// the caller knows how long the first token may take.
    pub(crate) async fn start(&self, path: &str, body: &Value) -> Result<Response, RunnerError> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// Reads a whole body, up to the limit.
    pub(crate) async fn read_body(
        &self,
        mut response: Response,
        max_bytes: usize,
    ) -> Result<Vec<u8>, RunnerError> {
        let mut body = Vec::new();
        while let Some(bytes) = response.chunk().await.map_err(|_| CUT)? {
            if body.len() + bytes.len() > max_bytes {
                return Err(RunnerError::Protocol { what: "an answer is too large" });
            }
            body.extend_from_slice(&bytes);
        }
        Ok(body)
    }

    async fn query(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Vec<u8>, RunnerError> {
        let limit = self.options.query_timeout;
        let exchange = async {
            let response = self.send(method, path, body).await?;
            self.read_body(response, self.options.max_body_bytes).await
        };
        match timeout(limit, exchange).await {
            Ok(Err(RunnerError::BadRequest { status: 404 | 405 })) => Err(RunnerError::Unsupported),
            Ok(answer) => answer,
            Err(_) => Err(stalled("an answer", limit)),
        }
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Response, RunnerError> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        let request = self.with_key(request).build().map_err(|_| RunnerError::Unreachable)?;
        let again = request.try_clone();
        let response = match (self.client.execute(request).await, again) {
            (Ok(response), _) => response,
            (Err(error), Some(again)) if !error.is_connect() && !error.is_timeout() => {
                self.fresh.execute(again).await.map_err(|_| RunnerError::Unreachable)?
            }
            (Err(_), _) => return Err(RunnerError::Unreachable),
        };
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(response).await)
    }

    fn with_key(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.options.api_key {
            // reqwest marks this header sensitive, so it is not printed either.
            Some(key) => request.bearer_auth(key.reveal()),
            None => request,
        }
    }

    async fn refusal(&self, response: Response) -> RunnerError {
        let status = response.status();
        let retry_after_s =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let reading = self.read_body(response, ERROR_BODY_BYTES_MAX);
        let body = match timeout(ERROR_BODY_TIMEOUT, reading).await {
            Ok(Ok(bytes)) => serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            _ => Value::Null,
        };
        classify(status.as_u16(), &body, retry_after_s)
    }
}

/// Turns a status and an error body into one of our errors, keeping none of its text.
pub(crate) fn classify(status: u16, body: &Value, retry_after_s: Option<u32>) -> RunnerError {
    // OpenAI nests it, vLLM before 0.10 does not, Ollama's is a bare string.
    let error = body.get("error").filter(|e| e.is_object()).unwrap_or(body);
    let kind = text_at(error, "/type").unwrap_or_default();
    let code = text_at(error, "/code").unwrap_or_default();
    let message =
        error.get("message").or_else(|| body.get("error")).and_then(Value::as_str).unwrap_or_default();
    if let Some(exceeded) = context_exceeded(error, &kind, &code, message) {
        return exceeded;
    }
    match StatusCode::from_u16(status) {
        Ok(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => RunnerError::Unauthorized,
        Ok(StatusCode::TOO_MANY_REQUESTS) => RunnerError::Overloaded { retry_after_s },
        Ok(StatusCode::SERVICE_UNAVAILABLE)
            if kind == "unavailable_error" || message.to_lowercase().contains("loading") =>
        {
            RunnerError::Loading
        }
        Ok(StatusCode::SERVICE_UNAVAILABLE) => RunnerError::Overloaded { retry_after_s },
        Ok(StatusCode::NOT_IMPLEMENTED) => RunnerError::Unsupported,
        Ok(s) if s.is_client_error() => RunnerError::BadRequest { status },
        _ => RunnerError::Failed { status },
    }
}

fn context_exceeded(error: &Value, kind: &str, code: &str, message: &str) -> Option<RunnerError> {
    let named = kind == "exceed_context_size_error" || code == "context_length_exceeded";
    let said = message.contains("maximum context length") || message.contains("maximum model length");
    if !named && !said {
        return None;
    }
    let after = |marks: &[&str]| marks.iter().find_map(|mark| number_after(message, mark));
    let n_ctx = u32_at(error, "/n_ctx")
        .or_else(|| after(&["maximum context length is ", "maximum model length of "]));
    let n_prompt = u32_at(error, "/n_prompt_tokens")
        .or_else(|| after(&["tokens (", "(length ", "you requested ", "resulted in "]));
    Some(RunnerError::ContextExceeded { n_prompt: n_prompt.unwrap_or(0), n_ctx: n_ctx.unwrap_or(0) })
}

fn number_after(message: &str, mark: &str) -> Option<u32> {
    let (_, rest) = message.split_once(mark)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The error for silence.
pub(crate) fn stalled(phase: &'static str, waited: Duration) -> RunnerError {
    let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
    RunnerError::Stalled { phase, waited_ms }
}

fn parse_json(bytes: &[u8]) -> Result<Value, RunnerError> {
    serde_json::from_slice(bytes).map_err(|_| RunnerError::Protocol { what: "an answer is not JSON" })
}

/// rustls asks for one provider per process; a second call, here or elsewhere, is harmless.
fn install_tls_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _already_set = rustls::crypto::ring::default_provider().install_default();
    });
}

/// The error for a connection that ended inside an answer.
pub(crate) const CUT: RunnerError = RunnerError::Protocol { what: "the answer was cut short" };

/// Error bodies are a few hundred bytes, except where they quote the whole prompt.
const ERROR_BODY_BYTES_MAX: usize = 64 << 10;
/// The status alone is enough when the body dawdles.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn context_errors_are_known_in_every_dialect() {
        let llama = json!({"error": {"code": 400, "type": "exceed_context_size_error",
            "message": "…", "n_prompt_tokens": 5000, "n_ctx": 2048}});
        let vllm = json!({"object": "error", "code": 400, "message":
            "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens \
             (4900 in the messages, 100 in the completion)."});
        let openai = json!({"error": {"code": "context_length_exceeded", "message": "…"}});
        let want = |n_prompt, n_ctx| RunnerError::ContextExceeded { n_prompt, n_ctx };
        assert_eq!(classify(400, &llama, None), want(5000, 2048));
        assert_eq!(classify(400, &vllm, None), want(4900, 4096));
        assert_eq!(classify(400, &openai, None), want(0, 0));
    }

    #[test]
    fn statuses_become_codes_and_loading_is_not_overload() {
        let loading = json!({"error": {"code": 503, "message": "Loading model",
            "type": "unavailable_error"}});
        let code = |status, body: &Value| classify(status, body, Some(7)).code();
        assert_eq!(code(503, &loading), "loading");
        assert_eq!(code(503, &Value::Null), "overloaded");
        assert_eq!(code(401, &Value::Null), "unauthorized");
        assert_eq!(code(501, &Value::Null), "unsupported");
        assert_eq!(code(422, &json!("text")), "bad_request");
        assert_eq!(code(302, &Value::Null), "failed");
        assert_eq!(code(500, &json!({"error": "llama runner process"})), "failed");
        let busy = RunnerError::Overloaded { retry_after_s: Some(7) };
        assert_eq!(classify(429, &Value::Null, Some(7)), busy);
    }
}
