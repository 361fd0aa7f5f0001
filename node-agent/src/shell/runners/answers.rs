//! What an unknown server answers to a few harmless questions, for telling runners apart.
//!
//! The rule: only JSON of the right shape counts. Some servers answer every path with a web page.

use super::http::Http;
use super::{Adapter, RunnerError};
use serde_json::Value;

/// The answers of one server.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// `GET /v1/models`
    pub(crate) models: Option<Value>,
    /// `GET /props` (llama.cpp)
    pub(crate) props: Option<Value>,
    /// `GET /api/version` (Ollama)
    pub(crate) ollama_version: Option<Value>,
    /// `GET /version` (vLLM)
    pub(crate) version: Option<Value>,
    /// The first error of the model list, if it failed.
    pub(crate) models_error: Option<RunnerError>,
}

impl Answers {
    /// Asks all questions at the same time.
    pub(crate) async fn collect(http: &Http) -> Self {
        let (models, props, ollama_version, version) = tokio::join!(
            http.get("/v1/models"),
            http.get("/props"),
            http.get("/api/version"),
            http.get("/version"),
        );
        let models_error = models.as_ref().err().cloned();
        Self {
            models: models.ok(),
            props: props.ok(),
            ollama_version: ollama_version.ok(),
            version: version.ok(),
            models_error,
        }
    }

    /// The first adapter that recognises the server.
    pub(crate) fn adapter(&self) -> Option<&'static Adapter> {
        super::ADAPTERS.iter().find(|adapter| (adapter.recognises)(self))
    }

    /// Whether every listed model says it is owned by `owner`, and there is one.
    pub(crate) fn models_owned_by(&self, owner: &str) -> bool {
        let models = self.models.as_ref().and_then(|m| m.get("data")?.as_array());
        models.is_some_and(|models| {
            !models.is_empty()
                && models.iter().all(|m| m.get("owned_by").and_then(Value::as_str) == Some(owner))
        })
    }

    /// Whether there is a model list in OpenAI's shape.
    pub(crate) fn lists_models(&self) -> bool {
        self.models.as_ref().is_some_and(|m| m.get("data").is_some_and(Value::is_array))
    }
}
