//! One request to a runner, in the shape its author wrote it.
//!
//! The rule: the body is forwarded untouched except for what the node must own: the model id, the
//! streaming switches, and a ceiling on the output, since somebody paid for that many tokens only.

use super::Estimate;
use serde_json::{Map, Value, json};

/// Which endpoint of the OpenAI interface a body is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completion,
    /// `/v1/embeddings`
    Embedding,
}

impl Endpoint {
    /// The path below the runner's base URL.
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completion => "/v1/completions",
            Self::Embedding => "/v1/embeddings",
        }
    }
}

/// One generation to run. Its `Debug` form shows no content.
#[derive(Clone)]
pub struct InferRequest {
    /// Which endpoint the body is for.
    pub endpoint: Endpoint,
    /// The runner's own id of the model; replaces `model` in the body.
    pub model: String,
    /// The body in OpenAI shape. Unknown fields are kept.
    pub body: Value,
    /// Ceiling on generated tokens: a missing or larger limit in the body is lowered to this.
    pub max_output_tokens: u32,
}

impl std::fmt::Debug for InferRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InferRequest")
            .field("endpoint", &self.endpoint)
            .field("model", &self.model)
            .field("max_output_tokens", &self.max_output_tokens)
            .finish_non_exhaustive()
    }
}

impl InferRequest {
    /// A chat request with a body of the caller's.
    pub fn chat(model: impl Into<String>, body: Value, max_output_tokens: u32) -> Self {
        Self { endpoint: Endpoint::Chat, model: model.into(), body, max_output_tokens }
    }

    /// The smallest useful request: one token, to see whether the model still computes.
    pub fn canary(model: impl Into<String>) -> Self {
        let body = json!({"messages": [{"role": "user", "content": "Hi"}], "temperature": 0});
        Self::chat(model, body, 1)
    }

    /// What is really sent.
    pub(crate) fn outgoing_body(&self) -> Value {
        let mut body = match &self.body {
            Value::Object(fields) => fields.clone(),
            _ => Map::new(),
        };
        body.insert("model".into(), json!(self.model));
        if self.endpoint == Endpoint::Embedding {
            return Value::Object(body);
        }
        body.insert("stream".into(), json!(true));
        let mut options = match body.remove("stream_options") {
            Some(Value::Object(options)) => options,
            _ => Map::new(),
        };
        options.insert("include_usage".into(), json!(true));
        body.insert("stream_options".into(), Value::Object(options));
        self.cap_output(&mut body);
        Value::Object(body)
    }

    fn cap_output(&self, body: &mut Map<String, Value>) {
        let mut stated = false;
        for field in OUTPUT_LIMITS {
            if let Some(value) = body.get_mut(field) {
                match value.as_u64() {
                    Some(asked) if asked <= u64::from(self.max_output_tokens) => {}
                    // Also -1, null and fractions, which runners read as "no limit".
                    _ => *value = json!(self.max_output_tokens),
                }
                stated = true;
            }
        }
        if !stated {
            body.insert("max_tokens".into(), json!(self.max_output_tokens));
        }
    }

    /// Choices asked for (`n`, at least 1).
    pub(crate) fn choices(&self) -> u32 {
        let n = self.body.get("n").and_then(Value::as_u64).unwrap_or(1);
        u32::try_from(n).unwrap_or(u32::MAX).max(1)
    }

    /// An estimate from bytes alone: English has about four bytes a token, most other scripts three.
    pub(crate) fn estimate_by_bytes(&self) -> Estimate {
        let fields = ["messages", "prompt", "input", "tools"];
        let bytes: usize = fields.iter().filter_map(|f| self.body.get(*f)).map(text_bytes).sum();
        let messages = self.body.get("messages").and_then(Value::as_array).map_or(0, Vec::len);
        let tokens = bytes.div_ceil(3) + TOKENS_PER_MESSAGE * messages + TOKENS_PER_TEMPLATE;
        self.estimate_with(u32::try_from(tokens).unwrap_or(u32::MAX), false)
    }

    pub(crate) fn estimate_with(&self, prompt_tokens: u32, prompt_is_exact: bool) -> Estimate {
        let asked = OUTPUT_LIMITS
            .iter()
            .filter_map(|field| self.body.get(*field)?.as_u64())
            .filter_map(|n| u32::try_from(n).ok())
            .min()
            .unwrap_or(self.max_output_tokens);
        let per_choice =
            if self.endpoint == Endpoint::Embedding { 0 } else { asked.min(self.max_output_tokens) };
        Estimate {
            prompt_tokens,
            prompt_is_exact,
            max_output_tokens: per_choice.saturating_mul(self.choices()),
        }
    }
}

/// Bytes of every string inside a value, keys of tool schemas included.
fn text_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(text_bytes).sum(),
        Value::Object(fields) => fields.iter().map(|(k, v)| k.len() + text_bytes(v)).sum(),
        _ => 1,
    }
}

/// The names the output limit goes by; `n_predict` is llama.cpp's, `num_predict` Ollama's.
const OUTPUT_LIMITS: [&str; 4] = ["max_tokens", "max_completion_tokens", "n_predict", "num_predict"];
/// Role marks and separators around each message in common chat templates.
const TOKENS_PER_MESSAGE: usize = 4;
/// A template's own opening, without a default system prompt.
const TOKENS_PER_TEMPLATE: usize = 8;

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn sent(body: Value) -> Value {
        InferRequest::chat("m", body, 10).outgoing_body()
    }

    #[test]
    fn unknown_fields_survive_and_the_node_owns_model_and_streaming() {
        let body = sent(json!({"model": "x", "top_k": 5, "stream": false, "grammar": "g",
            "stream_options": {"odd": 1}}));
        assert_eq!(body["top_k"], 5);
        assert_eq!(body["grammar"], "g");
        assert_eq!(body["model"], "m");
        assert_eq!(body["stream"], true);
        assert_eq!(body["stream_options"], json!({"odd": 1, "include_usage": true}));
    }

    #[test]
    fn the_output_is_capped_however_the_limit_is_written() {
        assert_eq!(sent(json!({}))["max_tokens"], 10);
        assert_eq!(sent(json!({"max_tokens": 10}))["max_tokens"], 10);
        assert_eq!(sent(json!({"max_tokens": 11}))["max_tokens"], 10);
        assert_eq!(sent(json!({"max_tokens": -1}))["max_tokens"], 10);
        assert_eq!(sent(json!({"max_tokens": null}))["max_tokens"], 10);
        let both = sent(json!({"max_completion_tokens": 3, "n_predict": 99}));
        assert_eq!((&both["max_completion_tokens"], &both["n_predict"]), (&json!(3), &json!(10)));
        assert_eq!(both.get("max_tokens"), None);
    }

    #[test]
    fn an_estimate_counts_all_choices_and_never_the_cap_alone() {
        let body = json!({"messages": [{"role": "user", "content": "x".repeat(300)}],
            "max_tokens": 4, "n": 3});
        let estimate = InferRequest::chat("m", body, 10).estimate_by_bytes();
        assert_eq!(estimate.max_output_tokens, 12);
        assert!((100..140).contains(&estimate.prompt_tokens));
        assert!(!estimate.prompt_is_exact);
    }

    #[test]
    fn debug_hides_the_prompt() {
        let request = InferRequest::chat("m", json!({"messages": "canary"}), 1);
        assert!(!format!("{request:?}").contains("canary"));
    }
}
