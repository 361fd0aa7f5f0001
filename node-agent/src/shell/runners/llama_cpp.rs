//! llama.cpp's `llama-server`, in any packaging.
//!
//! Measured quirks: `model` in a request is ignored, usage counts one choice of several, requests
//! beyond the slots queue silently, and `/props`, `/slots`, `/metrics` can each be switched off. The
//! rule: an endpoint that is off costs a field, never the answer.

use super::fields::{array_at, text_at, u32_at};
use super::http::Http;
use super::{
    Adapter, Answers, BoxFuture, Endpoint, Estimate, EventStream, InferRequest, OpenError, Runner,
    RunnerError, RunnerLoad, RunnerModel, RunnerOptions, chat_stream, openai, prometheus,
};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

pub(super) const ADAPTER: Adapter =
    Adapter { kind: "llama_cpp", title: "llama.cpp server", open, recognises };

fn open(url: &str, options: RunnerOptions) -> Result<Arc<dyn Runner>, OpenError> {
    Ok(Arc::new(LlamaCpp { http: Http::new(url, options)?, embeds: OnceCell::new() }))
}

fn recognises(answers: &Answers) -> bool {
    let props = answers.props.as_ref();
    props.is_some_and(|p| p.get("total_slots").is_some() || p.get("model_path").is_some())
        || answers.models_owned_by("llamacpp")
}

struct LlamaCpp {
    http: Http,
    /// Whether it embeds, once it has said so: only a restart of the server changes that.
    embeds: OnceCell<bool>,
}

impl LlamaCpp {
    async fn models(&self) -> Result<Vec<RunnerModel>, RunnerError> {
        let (list, props) = tokio::join!(self.http.get("/v1/models"), self.http.get("/props"));
        let list = list?;
        let mut models = openai::models(&list)?;
        // With several models (router mode) /props describes the router, not a model.
        if let ([model], Ok(props)) = (models.as_mut_slice(), props) {
            describe(model, &props, array_at(&list, "/data").first());
            if model.supports_embeddings.is_none() {
                model.supports_embeddings = self.embeds().await;
            }
        }
        Ok(models)
    }

    /// Asks for an embedding of one letter: nothing else tells whether the server was started with them.
    async fn embeds(&self) -> Option<bool> {
        let ask = || async {
            match self.http.post("/v1/embeddings", &json!({"input": "a"})).await {
                Ok(_) => Ok(true),
                // 501 without --embeddings, 400 where the model's pooling gives no vector of the text.
                Err(RunnerError::Unsupported | RunnerError::BadRequest { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        };
        self.embeds.get_or_try_init(ask).await.ok().copied()
    }

    async fn prompt_tokens(&self, request: &InferRequest) -> Option<u32> {
        match request.endpoint {
            Endpoint::Chat => {
                let counted =
                    self.http.post("/v1/chat/completions/input_tokens", &request.body).await.ok()?;
                u32_at(&counted, "/input_tokens")
            }
            Endpoint::Completion | Endpoint::Embedding => {
                let field = if request.endpoint == Endpoint::Completion { "/prompt" } else { "/input" };
                let text = request.body.pointer(field)?.as_str()?;
                self.tokenize(text, true).await.ok()?
            }
        }
    }

    async fn tokenize(&self, text: &str, add_special: bool) -> Result<Option<u32>, RunnerError> {
        let question = json!({"content": text, "add_special": add_special});
        match self.http.post("/tokenize", &question).await {
            Ok(answer) => {
                let tokens = answer.get("tokens").and_then(Value::as_array);
                let tokens = tokens.ok_or(RunnerError::Protocol { what: "tokenize gave no tokens" })?;
                Ok(u32::try_from(tokens.len()).ok())
            }
            Err(RunnerError::Unsupported) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn read_load(&self) -> Result<RunnerLoad, RunnerError> {
        let (slots, page) = tokio::join!(self.http.get("/slots"), self.http.get_text("/metrics"));
        let mut load = RunnerLoad::default();
        match &slots {
            Ok(slots) => {
                let slots = array_at(slots, "");
                let busy = slots.iter().filter(|slot| slot["is_processing"] == json!(true));
                load.running = u32::try_from(busy.count()).ok();
                load.slots = u32::try_from(slots.len()).ok();
            }
            Err(RunnerError::Unsupported | RunnerError::BadRequest { .. }) => {}
            Err(error) => return Err(error.clone()),
        }
        if let Ok(page) = page {
            let processing = prometheus::count(&page, "llamacpp:requests_processing");
            load.running = load.running.or(processing);
            load.waiting = prometheus::count(&page, "llamacpp:requests_deferred");
            load.kv_usage = prometheus::value(&page, "llamacpp:kv_cache_usage_ratio");
            let decodes = prometheus::value(&page, "llamacpp:n_decode_total");
            load.progress = decodes.map(|n| n.max(0.0) as u64);
        }
        Ok(load)
    }
}

impl Runner for LlamaCpp {
    fn kind(&self) -> &'static str {
        ADAPTER.kind
    }

    fn list_models(&self) -> BoxFuture<'_, Result<Vec<RunnerModel>, RunnerError>> {
        Box::pin(self.models())
    }

    fn infer(&self, request: InferRequest, cancel: CancellationToken) -> EventStream {
        chat_stream::infer(self.http.clone(), request, cancel, false)
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
        Box::pin(async { self.http.get("/health").await.map(drop) })
    }

    fn load(&self) -> BoxFuture<'_, Result<RunnerLoad, RunnerError>> {
        Box::pin(self.read_load())
    }

    fn count_tokens<'a>(
        &'a self,
        _model: &'a str,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Option<u32>, RunnerError>> {
        Box::pin(self.tokenize(text, false))
    }
}

fn describe(model: &mut RunnerModel, props: &Value, entry: Option<&Value>) {
    model.slots = u32_at(props, "/total_slots");
    // The model list states the whole cache, /props what one request gets.
    model.context_tokens = u32_at(props, "/default_generation_settings/n_ctx").or(model.context_tokens);
    model.quantization = text_at(props, "/model_ftype")
        .or_else(|| entry.and_then(|entry| text_at(entry, "/meta/ftype")))
        .map(|ftype| quantization(&ftype));
    model.loaded = Some(true);
    model.supports_chat = Some(true);
    let flag = |pointer: &str| props.pointer(pointer).and_then(Value::as_bool);
    model.supports_vision = flag("/modalities/vision");
    model.supports_tools = flag("/chat_template_caps/supports_tools");
    model.supports_embeddings = flag("/endpoint_embeddings");
}

/// `Q4_K - Medium` is how llama.cpp writes the `Q4_K_M` of file names.
fn quantization(ftype: &str) -> String {
    let ftype = ftype.trim_start_matches("(guessed) ");
    match ftype.split_once(" - ") {
        Some((kind, size)) => match size.chars().next().filter(char::is_ascii_alphabetic) {
            Some(initial) => format!("{kind}_{initial}"),
            None => kind.to_owned(),
        },
        None => ftype.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::quantization;

    #[test]
    fn quantizations_are_written_as_in_file_names() {
        assert_eq!(quantization("Q4_1"), "Q4_1");
        assert_eq!(quantization("Q4_K - Medium"), "Q4_K_M");
        assert_eq!(quantization("(guessed) Q8_0"), "Q8_0");
        assert_eq!(quantization("IQ2_XXS - 2.0625 bpw"), "IQ2_XXS");
    }
}
