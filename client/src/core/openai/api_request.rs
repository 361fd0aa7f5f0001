//! One request of an OpenAI client, read: what the runner will get, byte for byte, and what the network must know of
//! it.

use fedai_protocol::Tokens;
use fedai_protocol::job_open::JobEndpoint;
use fedai_protocol::limits::{NAME_BYTES_MAX, REQUEST_BYTES_MAX};
use fedai_protocol::quote_request::ModelWanted;
use serde_json::{Map, Value};

use super::api_error::ApiError;
use super::provider_wish::ProviderWish;

/// Choices of one request.
const CHOICES_MAX: u64 = 16;
/// Names of "whatever is there".
const ANY_MODEL: [&str; 3] = ["", "any", "auto"];
/// The names that an output limit goes by.
const OUTPUT_LIMITS: [&str; 2] = ["max_completion_tokens", "max_tokens"];

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiRequest {
    /// Interface of the runner.
    pub endpoint: JobEndpoint,
    /// What the client called the model; none for any.
    pub model: Option<String>,
    /// The body for the runner.
    pub body: String,
    /// True when the answer is wanted as it comes.
    pub is_streamed: bool,
    /// True when a stream should end with its usage.
    pub wants_usage: bool,
    /// Messages, for the bound on prompt tokens.
    pub messages: u64,
    /// Estimate of the prompt's size.
    pub prompt_tokens: Tokens,
    /// Most output tokens, all choices together.
    pub max_output_tokens: Tokens,
    /// What is needed of the model.
    pub wanted: ModelWanted,
    /// Whom to prefer.
    pub provider: ProviderWish,
}

impl ApiRequest {
    /// Reads a body. `default_output` is the output limit of requests that state none.
    pub fn read(endpoint: JobEndpoint, body: &[u8], default_output: u32) -> Result<Self, ApiError> {
        let mut fields = match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return Err(ApiError::new(400, "invalid_json", "the body must be a JSON object")),
            Err(error) => {
                let place = format!("line {} column {}", error.line(), error.column());
                return Err(ApiError::new(400, "invalid_json", format!("the body is not JSON ({place})")));
            }
        };
        let model = model(&fields)?;
        let provider = ProviderWish::read(fields.remove("provider").as_ref())?;
        check_prompt(endpoint, &fields)?;
        let is_streamed = switch(&fields, "stream")?;
        let wants_usage = stream_usage(&fields)?;
        let choices = whole(&fields, "n", CHOICES_MAX)?.unwrap_or(1);
        let each = output_limit(&fields)?.unwrap_or_else(|| u64::from(default_output));
        let messages = fields.get("messages").and_then(Value::as_array).map_or(1, Vec::len) as u64;
        let size = PromptSize::of(&fields);
        let wanted = ModelWanted {
            model: model.clone(),
            quantizations: provider.quantizations.clone(),
            modalities: modalities(endpoint, &size),
            features: features(&fields, &provider),
            ..ModelWanted::default()
        };
        let max_output_tokens = if endpoint == JobEndpoint::Embedding {
            Tokens::saturating(1)
        } else {
            Tokens::saturating(each.saturating_mul(choices))
        };
        if endpoint != JobEndpoint::Embedding && OUTPUT_LIMITS.iter().all(|name| !fields.contains_key(*name))
        {
            fields.insert("max_tokens".into(), each.into());
        }
        let body = Value::Object(fields).to_string();
        if body.len() > REQUEST_BYTES_MAX {
            return Err(too_large());
        }
        Ok(Self {
            endpoint,
            model,
            body,
            is_streamed,
            wants_usage,
            messages,
            prompt_tokens: size.tokens(messages),
            max_output_tokens,
            wanted,
            provider,
        })
    }
}

/// A body that no node would take.
#[must_use]
pub fn too_large() -> ApiError {
    let message = format!("the request is larger than {REQUEST_BYTES_MAX} bytes; no node takes more at once");
    ApiError::new(413, "too_large", message)
}

/// The model that a name means, in lower case as offers name it; none for "whatever is there".
pub(crate) fn named_model(name: &str) -> Option<String> {
    let name = name.to_lowercase();
    (!ANY_MODEL.contains(&name.as_str())).then_some(name)
}

/// The model, when one is named.
fn model(fields: &Map<String, Value>) -> Result<Option<String>, ApiError> {
    match fields.get("model") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) if name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control) => {
            Ok(named_model(name))
        }
        Some(Value::String(_)) => {
            let what = format!("must be a name of at most {NAME_BYTES_MAX} bytes; see GET /v1/models");
            Err(ApiError::field("model", what))
        }
        Some(_) => Err(ApiError::field("model", "must be a text; see GET /v1/models")),
    }
}

fn check_prompt(endpoint: JobEndpoint, fields: &Map<String, Value>) -> Result<(), ApiError> {
    let is_text_or_tokens = |value: &Value| match value {
        Value::String(_) => true,
        Value::Array(items) => {
            !items.is_empty()
                && items.iter().all(|item| match item {
                    Value::String(_) | Value::Number(_) => true,
                    Value::Array(tokens) => !tokens.is_empty() && tokens.iter().all(Value::is_number),
                    _ => false,
                })
        }
        _ => false,
    };
    match endpoint {
        JobEndpoint::Chat => {
            let list = fields.get("messages").and_then(Value::as_array);
            let list = list.filter(|list| !list.is_empty());
            let list =
                list.ok_or_else(|| ApiError::field("messages", "must be a list of at least one message"))?;
            let is_message = |message: &Value| message.get("role").is_some_and(Value::is_string);
            match list.iter().position(|message| !is_message(message)) {
                Some(at) => Err(ApiError::field(&format!("messages[{at}].role"), "must be a text")),
                None => Ok(()),
            }
        }
        JobEndpoint::Completion if !fields.get("prompt").is_some_and(is_text_or_tokens) => {
            Err(ApiError::field("prompt", "must be a text, or a list of texts or tokens"))
        }
        JobEndpoint::Embedding if !fields.get("input").is_some_and(is_text_or_tokens) => {
            Err(ApiError::field("input", "must be a text, or a list of texts or tokens"))
        }
        JobEndpoint::Completion | JobEndpoint::Embedding => Ok(()),
    }
}

fn switch(fields: &Map<String, Value>, name: &str) -> Result<bool, ApiError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(is_on)) => Ok(*is_on),
        Some(_) => Err(ApiError::field(name, "must be true or false")),
    }
}

fn stream_usage(fields: &Map<String, Value>) -> Result<bool, ApiError> {
    match fields.get("stream_options") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Object(options)) => switch(options, "include_usage"),
        Some(_) => Err(ApiError::field("stream_options", "must be an object")),
    }
}

fn whole(fields: &Map<String, Value>, name: &str, most: u64) -> Result<Option<u64>, ApiError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(number) if (1..=most).contains(&number) => Ok(Some(number)),
            _ => Err(ApiError::field(name, format!("must be a whole number from 1 to {most}"))),
        },
    }
}

/// The tightest output limit that the request states.
fn output_limit(fields: &Map<String, Value>) -> Result<Option<u64>, ApiError> {
    let mut tightest = None;
    for name in OUTPUT_LIMITS {
        if let Some(limit) = whole(fields, name, u64::from(u32::MAX))? {
            tightest = Some(tightest.map_or(limit, |known: u64| known.min(limit)));
        }
    }
    Ok(tightest)
}

/// What the runner must be able to do. Without `provider.require_parameters` a node that announces nothing may serve:
/// many runners can do more than they say.
fn features(fields: &Map<String, Value>, provider: &ProviderWish) -> Vec<String> {
    let has_tools = fields.get("tools").and_then(Value::as_array).is_some_and(|tools| !tools.is_empty());
    if provider.require_parameters && has_tools { vec!["tools".to_owned()] } else { Vec::new() }
}

fn modalities(endpoint: JobEndpoint, size: &PromptSize) -> Vec<String> {
    match endpoint {
        JobEndpoint::Embedding => vec!["embedding".to_owned()],
        _ if size.images > 0 => vec!["image".to_owned()],
        _ => Vec::new(),
    }
}

/// Bytes of text and number of images, for an estimate of tokens.
#[derive(Clone, Copy, Debug, Default)]
struct PromptSize {
    plain: u64,
    other: u64,
    images: u64,
}

impl PromptSize {
    fn of(fields: &Map<String, Value>) -> Self {
        let mut size = Self::default();
        for name in ["messages", "prompt", "input", "tools"] {
            if let Some(value) = fields.get(name) {
                size.measure(value);
            }
        }
        size
    }

    fn measure(&mut self, value: &Value) {
        match value {
            Value::String(text) => {
                let plain = text.bytes().filter(u8::is_ascii).count();
                self.plain = self.plain.saturating_add(plain as u64);
                self.other = self.other.saturating_add(text.len().saturating_sub(plain) as u64);
            }
            Value::Array(items) => items.iter().for_each(|item| self.measure(item)),
            Value::Object(fields) if fields.contains_key("image_url") => {
                self.images = self.images.saturating_add(1);
            }
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.plain = self.plain.saturating_add(name.len() as u64);
                    self.measure(value);
                }
            }
            // A token, in a prompt that is given as tokens.
            Value::Number(_) => self.plain = self.plain.saturating_add(3),
            Value::Bool(_) | Value::Null => {}
        }
    }

    /// A cautious estimate: about three bytes a token, two where the script is not Latin, a thousand an image.
    fn tokens(&self, messages: u64) -> Tokens {
        let text = self.plain.div_ceil(3).saturating_add(self.other.div_ceil(2));
        let images = self.images.saturating_mul(1_024);
        Tokens::saturating(
            text.saturating_add(images).saturating_add(messages.saturating_mul(8)).saturating_add(16),
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(endpoint: JobEndpoint, body: &Value) -> Result<ApiRequest, ApiError> {
        ApiRequest::read(endpoint, body.to_string().as_bytes(), 256)
    }

    #[test]
    fn whatever_is_there_has_three_names_in_any_case() {
        for name in ["", "any", "Any", "AUTO"] {
            assert_eq!(named_model(name), None, "{name}");
        }
        assert_eq!(named_model("Llama-3"), Some("llama-3".to_owned()));
    }

    #[test]
    fn what_is_not_ours_passes_untouched() {
        let body = json!({
            "model": "Llama-3", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0.3,
            "tools": [{"type": "function", "function": {"name": "f"}}], "response_format": {"type": "json_object"},
            "logprobs": true, "x-unknown": [1, 2], "provider": {"require_parameters": true}, "max_tokens": 7, "n": 2
        });
        let request = read(JobEndpoint::Chat, &body).unwrap();
        let sent: Value = serde_json::from_str(&request.body).unwrap();
        for name in ["temperature", "tools", "response_format", "logprobs", "x-unknown", "messages", "n"] {
            assert_eq!(sent[name], body[name], "{name}");
        }
        assert!(sent.get("provider").is_none(), "the node need not know");
        assert_eq!(request.model.as_deref(), Some("llama-3"));
        assert_eq!(request.max_output_tokens.get(), 14, "all choices together");
        assert_eq!(request.wanted.features, ["tools"]);
    }

    #[test]
    fn a_request_without_a_limit_gets_one_that_the_runner_sees() {
        let request = read(JobEndpoint::Completion, &json!({"prompt": "Once"})).unwrap();
        assert_eq!((request.model, request.max_output_tokens.get()), (None, 256));
        assert!(request.body.contains("\"max_tokens\":256"));
    }

    #[test]
    fn mistakes_are_named_by_their_field() {
        for (endpoint, body, field) in [
            (JobEndpoint::Chat, json!({}), "messages"),
            (JobEndpoint::Chat, json!({"messages": []}), "messages"),
            (JobEndpoint::Chat, json!({"messages": [{"content": "x"}]}), "messages[0].role"),
            (JobEndpoint::Chat, json!({"messages": [{"role": "user"}], "stream": 1}), "stream"),
            (JobEndpoint::Chat, json!({"messages": [{"role": "user"}], "n": 0}), "n"),
            (JobEndpoint::Chat, json!({"messages": [{"role": "user"}], "max_tokens": -1}), "max_tokens"),
            (JobEndpoint::Chat, json!({"messages": [{"role": "user"}], "model": 4}), "model"),
            (JobEndpoint::Completion, json!({"prompt": {}}), "prompt"),
            (JobEndpoint::Embedding, json!({"input": []}), "input"),
        ] {
            let error = read(endpoint, &body).unwrap_err();
            assert_eq!((error.status, error.param.as_deref()), (400, Some(field)), "{body}");
        }
        assert_eq!(ApiRequest::read(JobEndpoint::Chat, b"{", 1).unwrap_err().code, "invalid_json");
        assert_eq!(ApiRequest::read(JobEndpoint::Chat, b"[]", 1).unwrap_err().code, "invalid_json");
    }

    #[test]
    fn images_and_embeddings_need_a_model_that_takes_them() {
        let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
        let body = json!({"messages": [{"role": "user", "content": [image]}]});
        let request = read(JobEndpoint::Chat, &body).unwrap();
        assert_eq!(request.wanted.modalities, ["image"]);
        assert!(request.prompt_tokens.get() > 1_000);
        let request = read(JobEndpoint::Embedding, &json!({"input": ["a", "b"]})).unwrap();
        assert_eq!(
            (request.wanted.modalities.as_slice(), request.max_output_tokens.get()),
            (&["embedding".to_owned()][..], 1)
        );
    }
}
