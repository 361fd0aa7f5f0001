//! vLLM's OpenAI server: exact context and load figures, and a tokenizer endpoint.
//!
//! The rule: figures come from `/metrics`, whose names changed over time, so every known spelling is
//! tried and a missing one is a missing field.

use super::fields::u32_at;
use super::http::Http;
use super::{
    Adapter, Answers, BoxFuture, Endpoint, Estimate, EventStream, InferRequest, OpenError, Runner,
    RunnerError, RunnerLoad, RunnerModel, RunnerOptions, chat_stream, openai, prometheus,
};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub(super) const ADAPTER: Adapter = Adapter { kind: "vllm", title: "vLLM", open, recognises };

fn open(url: &str, options: RunnerOptions) -> Result<Arc<dyn Runner>, OpenError> {
    Ok(Arc::new(Vllm { http: Http::new(url, options)? }))
}

fn recognises(answers: &Answers) -> bool {
    answers.models_owned_by("vllm")
        || (answers.lists_models() && answers.version.as_ref().is_some_and(|v| v.get("version").is_some()))
}

struct Vllm {
    http: Http,
}

impl Vllm {
    async fn models(&self) -> Result<Vec<RunnerModel>, RunnerError> {
        let mut models = openai::models(&self.http.get("/v1/models").await?)?;
        for model in &mut models {
            model.loaded = Some(true);
        }
        Ok(models)
    }

    async fn count(&self, mut question: Value, model: &str) -> Result<Option<u32>, RunnerError> {
        if let Some(fields) = question.as_object_mut() {
            fields.insert("model".into(), json!(model));
        }
        match self.http.post("/tokenize", &question).await {
            Ok(answer) => u32_at(&answer, "/count")
                .map(Some)
                .ok_or(RunnerError::Protocol { what: "tokenize gave no count" }),
            Err(RunnerError::Unsupported) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn prompt_tokens(&self, request: &InferRequest) -> Option<u32> {
        let mut question = json!({});
        let wanted: &[&str] = match request.endpoint {
            Endpoint::Chat => &["messages", "tools", "chat_template_kwargs"],
            Endpoint::Completion => &["prompt"],
            Endpoint::Embedding => &["input"],
        };
        for field in wanted {
            if let (Some(value), Some(fields)) = (request.body.get(*field), question.as_object_mut()) {
                // Its tokenizer takes texts under one name only.
                let name = if *field == "input" { "prompt" } else { field };
                fields.insert(name.into(), value.clone());
            }
        }
        self.count(question, &request.model).await.ok().flatten()
    }
}

impl Runner for Vllm {
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
        Box::pin(async {
            match self.prompt_tokens(request).await {
                Some(tokens) => request.estimate_with(tokens, true),
                None => request.estimate_by_bytes(),
            }
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), RunnerError>> {
        // The body is empty, only the status speaks.
        Box::pin(async { self.http.get_text("/health").await.map(drop) })
    }

    fn load(&self) -> BoxFuture<'_, Result<RunnerLoad, RunnerError>> {
        Box::pin(async {
            let page = self.http.get_text("/metrics").await?;
            Ok(RunnerLoad {
                running: prometheus::count(&page, "vllm:num_requests_running"),
                waiting: prometheus::count(&page, "vllm:num_requests_waiting"),
                slots: None,
                kv_usage: prometheus::value(&page, "vllm:kv_cache_usage_perc")
                    .or_else(|| prometheus::value(&page, "vllm:gpu_cache_usage_perc")),
                progress: prometheus::value(&page, "vllm:generation_tokens_total").map(|n| n.max(0.0) as u64),
            })
        })
    }

    fn count_tokens<'a>(
        &'a self,
        model: &'a str,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Option<u32>, RunnerError>> {
        Box::pin(self.count(json!({"prompt": text, "add_special_tokens": false}), model))
    }
}
