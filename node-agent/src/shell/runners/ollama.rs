//! Ollama: its own interface for what models there are, OpenAI's for generating.
//!
//! The rule that costs most when broken: Ollama cuts a long prompt silently, so the context reported
//! is the window it really runs with, not the one the model was trained for.

use super::fields::{array_at, text_at, u32_at, u64_at};
use super::http::Http;
use super::{
    Adapter, Answers, BoxFuture, Estimate, EventStream, InferRequest, OpenError, Runner, RunnerError,
    RunnerLoad, RunnerModel, RunnerOptions, chat_stream,
};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub(super) const ADAPTER: Adapter = Adapter { kind: "ollama", title: "Ollama", open, recognises };

fn open(url: &str, options: RunnerOptions) -> Result<Arc<dyn Runner>, OpenError> {
    Ok(Arc::new(Ollama { http: Http::new(url, options)? }))
}

fn recognises(answers: &Answers) -> bool {
    answers.ollama_version.as_ref().is_some_and(|v| v.get("version").is_some_and(Value::is_string))
}

struct Ollama {
    http: Http,
}

impl Ollama {
    async fn models(&self) -> Result<Vec<RunnerModel>, RunnerError> {
        let (tags, running) = tokio::join!(self.http.get("/api/tags"), self.http.get("/api/ps"));
        let tags = tags?;
        let running = running.unwrap_or(Value::Null);
        if !tags.get("models").is_some_and(Value::is_array) {
            return Err(RunnerError::Protocol { what: "the model list has no models" });
        }
        let mut models = Vec::new();
        for tag in array_at(&tags, "/models").iter().take(MODELS_MAX) {
            let Some(id) = text_at(tag, "/name") else {
                continue;
            };
            let shown = self.http.post("/api/show", &json!({"model": id})).await;
            let loaded =
                array_at(&running, "/models").iter().find(|m| text_at(m, "/name").as_ref() == Some(&id));
            models.push(describe(id, tag, &shown.unwrap_or(Value::Null), loaded));
        }
        Ok(models)
    }
}

impl Runner for Ollama {
    fn kind(&self) -> &'static str {
        ADAPTER.kind
    }

    fn list_models(&self) -> BoxFuture<'_, Result<Vec<RunnerModel>, RunnerError>> {
        Box::pin(self.models())
    }

    fn infer(&self, request: InferRequest, cancel: CancellationToken) -> EventStream {
        chat_stream::infer(self.http.clone(), request, cancel, true)
    }

    fn estimate<'a>(&'a self, request: &'a InferRequest) -> BoxFuture<'a, Estimate> {
        Box::pin(async { request.estimate_by_bytes() })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), RunnerError>> {
        Box::pin(async { self.http.get("/api/version").await.map(drop) })
    }

    /// Ollama tells which models are in memory, but not how many requests it is serving.
    fn load(&self) -> BoxFuture<'_, Result<RunnerLoad, RunnerError>> {
        Box::pin(async { self.http.get("/api/ps").await.map(|_| RunnerLoad::default()) })
    }

    fn count_tokens<'a>(
        &'a self,
        _model: &'a str,
        _text: &'a str,
    ) -> BoxFuture<'a, Result<Option<u32>, RunnerError>> {
        Box::pin(async { Ok(None) })
    }
}

fn describe(id: String, tag: &Value, shown: &Value, loaded: Option<&Value>) -> RunnerModel {
    let capabilities = shown.get("capabilities").and_then(Value::as_array);
    let can = |name: &str| capabilities.map(|list| list.iter().any(|c| c == name));
    RunnerModel {
        id,
        context_tokens: loaded
            .and_then(|m| u32_at(m, "/context_length"))
            .or_else(|| parameter(shown, "num_ctx"))
            .or_else(|| Some(trained_context(shown)?.min(DEFAULT_CONTEXT_TOKENS))),
        quantization: text_at(tag, "/details/quantization_level"),
        digest: text_at(tag, "/digest").map(|d| d.trim_start_matches("sha256:").to_owned()),
        parameters: u64_at(shown, "/model_info/general.parameter_count"),
        size_bytes: u64_at(tag, "/size"),
        loaded: Some(loaded.is_some()),
        supports_chat: can("completion"),
        supports_tools: can("tools"),
        supports_vision: can("vision"),
        supports_reasoning: can("thinking"),
        supports_embeddings: can("embedding"),
        ..RunnerModel::default()
    }
}

/// `parameters` is a text of lines such as `num_ctx    8192`.
fn parameter(shown: &Value, name: &str) -> Option<u32> {
    let lines = shown.get("parameters")?.as_str()?;
    lines.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok()).flatten()
    })
}

/// The field is named after the architecture: `llama.context_length`.
fn trained_context(shown: &Value) -> Option<u32> {
    let info = shown.get("model_info")?.as_object()?;
    let (_, value) = info.iter().find(|(name, _)| name.ends_with(".context_length"))?;
    u32_at(value, "")
}

/// What Ollama runs a model with unless told otherwise.
const DEFAULT_CONTEXT_TOKENS: u32 = 4096;
/// Each model costs one question; a shelf longer than this is cut.
const MODELS_MAX: usize = 64;
