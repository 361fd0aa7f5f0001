//! Any server that speaks OpenAI's HTTP interface: LM Studio, mistral.rs, SGLang, TGI, gateways.
//!
//! It also holds what the more specific adapters share. The rule: only `/v1/models` and the
//! generation endpoints are assumed to exist.

use super::fields::{array_at, text_at, u32_at, u64_at};
use super::http::Http;
use super::{
    Adapter, Answers, BoxFuture, Estimate, EventStream, InferRequest, OpenError, Runner, RunnerError,
    RunnerLoad, RunnerModel, RunnerOptions, chat_stream,
};
use serde_json::Value;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub(super) const ADAPTER: Adapter =
    Adapter { kind: "openai", title: "an OpenAI-compatible server", open, recognises };

fn open(url: &str, options: RunnerOptions) -> Result<Arc<dyn Runner>, OpenError> {
    Ok(Arc::new(OpenAi { http: Http::new(url, options)? }))
}

fn recognises(answers: &Answers) -> bool {
    answers.lists_models()
}

struct OpenAi {
    http: Http,
}

impl Runner for OpenAi {
    fn kind(&self) -> &'static str {
        ADAPTER.kind
    }

    fn list_models(&self) -> BoxFuture<'_, Result<Vec<RunnerModel>, RunnerError>> {
        Box::pin(async { models(&self.http.get("/v1/models").await?) })
    }

    fn infer(&self, request: InferRequest, cancel: CancellationToken) -> EventStream {
        chat_stream::infer(self.http.clone(), request, cancel, true)
    }

    fn estimate<'a>(&'a self, request: &'a InferRequest) -> BoxFuture<'a, Estimate> {
        Box::pin(async { request.estimate_by_bytes() })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), RunnerError>> {
        Box::pin(async { self.list_models().await.map(drop) })
    }

    fn load(&self) -> BoxFuture<'_, Result<RunnerLoad, RunnerError>> {
        Box::pin(async { Ok(RunnerLoad::default()) })
    }

    fn count_tokens<'a>(
        &'a self,
        _model: &'a str,
        _text: &'a str,
    ) -> BoxFuture<'a, Result<Option<u32>, RunnerError>> {
        Box::pin(async { Ok(None) })
    }
}

/// Reads a `/v1/models` answer; the names of the context field are those seen in the wild.
pub(super) fn models(answer: &Value) -> Result<Vec<RunnerModel>, RunnerError> {
    if !answer.get("data").is_some_and(Value::is_array) {
        return Err(RunnerError::Protocol { what: "the model list has no data" });
    }
    let context_fields = [
        "/meta/n_ctx",
        "/max_model_len",
        "/loaded_context_length",
        "/context_length",
        "/max_context_length",
        "/context_window",
    ];
    let models = array_at(answer, "/data").iter().filter_map(|entry| {
        Some(RunnerModel {
            id: text_at(entry, "/id")?,
            context_tokens: context_fields.iter().find_map(|field| u32_at(entry, field)),
            max_output: u32_at(entry, "/max_output_tokens")
                .or_else(|| u32_at(entry, "/top_provider/max_completion_tokens")),
            quantization: text_at(entry, "/quantization"),
            parameters: u64_at(entry, "/meta/n_params"),
            size_bytes: u64_at(entry, "/meta/size"),
            ..RunnerModel::default()
        })
    });
    Ok(models.collect())
}
