//! An answer in OpenAI's shape: chunks of a stream as they come, or one object put together from them.

use fedai_protocol::job_open::JobEndpoint;
use fedai_protocol::{Msat, Usage};
use serde_json::{Map, Value, json};

/// What every object of one answer says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerHead {
    /// Interface.
    pub endpoint: JobEndpoint,
    /// Id that the client sees.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Model as the offer names it.
    pub model: String,
}

impl AnswerHead {
    /// One choice as an object of the stream.
    #[must_use]
    pub fn chunk(&self, choice: Value) -> Value {
        let mut choice = choice;
        if self.endpoint == JobEndpoint::Chat
            && let Some(fields) = choice.as_object_mut()
        {
            fields.entry("finish_reason").or_insert(Value::Null);
            fields.entry("delta").or_insert_with(|| json!({}));
        }
        self.object(true, json!([choice]))
    }

    /// The last object of a stream whose client wants its usage.
    #[must_use]
    pub fn usage_chunk(&self, usage: Value) -> Value {
        with_field(self.object(true, json!([])), "usage", usage)
    }

    fn object(&self, is_chunk: bool, choices: Value) -> Value {
        let name = match (self.endpoint, is_chunk) {
            (JobEndpoint::Chat, true) => "chat.completion.chunk",
            (JobEndpoint::Chat, false) => "chat.completion",
            _ => "text_completion",
        };
        json!({"id": self.id, "object": name, "created": self.created, "model": self.model, "choices": choices})
    }

    /// The whole answer.
    #[must_use]
    pub fn whole(&self, choices: &ChoiceAssembly, usage: Value) -> Value {
        let choices = choices.choices(self.endpoint);
        let object = if self.endpoint == JobEndpoint::Embedding {
            json!({"object": "list", "model": self.model, "data": choices})
        } else {
            self.object(false, choices)
        };
        with_field(object, "usage", usage)
    }
}

/// The object with one more field.
#[must_use]
pub fn with_field(mut object: Value, name: &str, value: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
    object
}

/// What was counted and what it cost.
#[must_use]
pub fn usage_object(usage: &Usage, cost: Msat) -> Value {
    let (input, output) = (usage.input_tokens.get(), usage.output_tokens.get());
    json!({
        "prompt_tokens": input,
        "completion_tokens": output,
        "total_tokens": input.saturating_add(output),
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens.get()},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens.get()},
        "cost_msat": cost.get(),
    })
}

/// Choices that are put together out of their pieces, by index.
#[derive(Clone, Debug, Default)]
pub struct ChoiceAssembly {
    choices: std::collections::BTreeMap<u64, Map<String, Value>>,
}

impl ChoiceAssembly {
    /// Takes a piece.
    pub fn push(&mut self, index: u64, piece: Value) {
        let Value::Object(mut piece) = piece else { return };
        let choice = self.choices.entry(index).or_default();
        if let Some(Value::Object(delta)) = piece.remove("delta") {
            let message = choice.entry("message").or_insert_with(|| json!({}));
            if let Value::Object(message) = message {
                delta.into_iter().for_each(|(name, value)| merge(message, name, value));
            }
        }
        piece.into_iter().for_each(|(name, value)| merge(choice, name, value));
    }

    /// Forgets what came: the answer begins anew.
    pub fn clear(&mut self) {
        self.choices.clear();
    }

    fn choices(&self, endpoint: JobEndpoint) -> Value {
        let finished = self.choices.iter().map(|(index, fields)| {
            let mut fields = fields.clone();
            fields.insert("index".into(), (*index).into());
            if endpoint == JobEndpoint::Embedding {
                fields.entry("object").or_insert_with(|| "embedding".into());
                return Value::Object(fields);
            }
            fields.entry("finish_reason").or_insert(Value::Null);
            fields.entry("logprobs").or_insert(Value::Null);
            if endpoint == JobEndpoint::Chat {
                let message = fields.entry("message").or_insert_with(|| json!({}));
                if let Value::Object(message) = message {
                    message.entry("role").or_insert_with(|| "assistant".into());
                    message.entry("content").or_insert(Value::Null);
                    message.entry("refusal").or_insert(Value::Null);
                    finish_tool_calls(message);
                }
            }
            Value::Object(fields)
        });
        finished.collect()
    }
}

/// Texts grow, lists of tool calls merge by index, other lists grow, everything else is said again.
fn merge(into: &mut Map<String, Value>, name: String, value: Value) {
    match (into.get_mut(&name), value) {
        (Some(Value::String(known)), Value::String(more)) if is_text(&name) => known.push_str(&more),
        (Some(Value::Array(known)), Value::Array(more)) if name == "tool_calls" => {
            more.into_iter().for_each(|call| merge_call(known, call));
        }
        (Some(Value::Array(known)), Value::Array(more)) => known.extend(more),
        (Some(Value::Object(known)), Value::Object(more)) => {
            more.into_iter().for_each(|(name, value)| merge(known, name, value));
        }
        // A later "nothing" does not undo what was said.
        (Some(_), Value::Null) => {}
        (_, value) => {
            into.insert(name, value);
        }
    }
}

fn is_text(name: &str) -> bool {
    matches!(name, "content" | "text" | "reasoning" | "reasoning_content" | "refusal" | "arguments")
}

fn merge_call(calls: &mut Vec<Value>, call: Value) {
    let index = |call: &Value| call.get("index").and_then(Value::as_u64);
    let known = calls.iter_mut().find(|known| index(known).is_some() && index(known) == index(&call));
    match (known, call) {
        (Some(Value::Object(known)), Value::Object(more)) => {
            more.into_iter().for_each(|(name, value)| merge(known, name, value));
        }
        (_, call) => calls.push(call),
    }
}

/// Whole answers carry no `index` in their tool calls.
fn finish_tool_calls(message: &mut Map<String, Value>) {
    for call in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(fields) = call.as_object_mut() {
            fields.remove("index");
            fields.entry("type").or_insert_with(|| "function".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(endpoint: JobEndpoint) -> AnswerHead {
        AnswerHead { endpoint, id: "chatcmpl-1".into(), created: 7, model: "m".into() }
    }

    fn assembled(endpoint: JobEndpoint, pieces: &[Value]) -> Value {
        let mut assembly = ChoiceAssembly::default();
        for piece in pieces {
            assembly.push(piece.get("index").and_then(Value::as_u64).unwrap_or(0), piece.clone());
        }
        head(endpoint).whole(&assembly, json!({}))
    }

    #[test]
    fn a_chat_answer_is_put_together_from_its_deltas() {
        let answer = assembled(
            JobEndpoint::Chat,
            &[
                json!({"index": 0, "delta": {"role": "assistant", "content": null}}),
                json!({"index": 0, "delta": {"content": "Hel"}, "logprobs": {"content": [{"token": "Hel"}]}}),
                json!({"index": 1, "delta": {"content": "Ho"}}),
                json!({"index": 0, "delta": {"content": "lo"}, "logprobs": {"content": [{"token": "lo"}]}}),
                json!({"index": 0, "delta": {}, "finish_reason": "stop"}),
            ],
        );
        assert_eq!(answer["object"], "chat.completion");
        assert_eq!(
            answer["choices"][0]["message"],
            json!({"role": "assistant", "content": "Hello", "refusal": null})
        );
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        assert_eq!(answer["choices"][0]["logprobs"]["content"].as_array().unwrap().len(), 2);
        assert_eq!(answer["choices"][1]["message"]["content"], "Ho");
    }

    #[test]
    fn tool_calls_merge_by_their_index() {
        let call = |fields: Value| json!({"index": 0, "delta": {"tool_calls": [fields]}});
        let answer = assembled(
            JobEndpoint::Chat,
            &[
                call(json!({
                    "index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\""}
                })),
                call(json!({"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}})),
                call(json!({"index": 0, "function": {"arguments": ":1}"}})),
            ],
        );
        let calls = &answer["choices"][0]["message"]["tool_calls"];
        assert_eq!(calls[0]["function"], json!({"name": "f", "arguments": "{\"x\":1}"}));
        assert_eq!((&calls[1]["id"], &calls[1]["type"]), (&json!("b"), &json!("function")));
        assert!(calls[0].get("index").is_none());
        assert_eq!(answer["choices"][0]["message"]["content"], Value::Null);
    }

    #[test]
    fn completions_and_embeddings_have_their_own_shapes() {
        let text = assembled(
            JobEndpoint::Completion,
            &[json!({"text": "a"}), json!({"text": "b", "finish_reason": "length"})],
        );
        assert_eq!(
            (text["object"].as_str(), text["choices"][0]["text"].as_str()),
            (Some("text_completion"), Some("ab"))
        );
        let vectors = assembled(
            JobEndpoint::Embedding,
            &[json!({"index": 0, "embedding": [1.5]}), json!({"index": 1, "embedding": [2.5]})],
        );
        assert_eq!(
            (vectors["object"].as_str(), vectors["data"][1]["embedding"][0].as_f64()),
            (Some("list"), Some(2.5))
        );
        assert_eq!(vectors["data"][0]["object"], "embedding");
    }

    #[test]
    fn a_chunk_says_all_that_strict_clients_look_for() {
        let chunk = head(JobEndpoint::Chat).chunk(json!({"index": 0}));
        assert_eq!(chunk["choices"][0], json!({"index": 0, "delta": {}, "finish_reason": null}));
        assert_eq!(chunk["object"], "chat.completion.chunk");
    }
}
