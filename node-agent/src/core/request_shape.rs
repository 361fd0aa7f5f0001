//! What the node must know of a request before it runs: sizes, limits and how it is read, never its meaning.
//!
//! The rule: the body stays as its author wrote it. This only reads it, and nothing read here is kept beside numbers.

use serde_json::Value;

/// Sizes of one OpenAI-shaped request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestShape {
    /// Bytes of the body.
    pub bytes: u64,
    /// Bytes of its text: messages, prompt, tool schemas.
    pub text_bytes: u64,
    /// Messages.
    pub messages: u64,
    /// Choices asked for, at least 1.
    pub choices: u64,
    /// Most output tokens of one choice, where the request says so.
    pub max_output: Option<u64>,
    /// Images in it.
    pub images: u64,
    /// The answer is read while it is made.
    pub is_streamed: bool,
}

/// The body is not the JSON object that the OpenAI interface takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request body is not a JSON object in OpenAI's shape")]
pub struct ShapeError;

impl RequestShape {
    /// Reads the sizes of a body.
    pub fn read(body: &str) -> Result<Self, ShapeError> {
        let Ok(Value::Object(fields)) = serde_json::from_str(body) else { return Err(ShapeError) };
        let mut shape = Self { bytes: body.len() as u64, choices: 1, ..Self::default() };
        for name in ["messages", "prompt", "input", "tools"] {
            if let Some(value) = fields.get(name) {
                shape.measure(value);
            }
        }
        shape.messages = fields.get("messages").and_then(Value::as_array).map_or(0, Vec::len) as u64;
        shape.choices = fields.get("n").and_then(Value::as_u64).unwrap_or(1).max(1);
        shape.is_streamed = fields.get("stream").and_then(Value::as_bool).unwrap_or(false);
        shape.max_output = OUTPUT_LIMITS.iter().filter_map(|name| fields.get(*name)?.as_u64()).min();
        Ok(shape)
    }

    /// The fewest prompt tokens that the request can plausibly have: above a limit by this, it surely does not fit.
    #[must_use]
    pub fn tokens_at_least(&self) -> u64 {
        self.text_bytes / 8
    }

    /// A cautious estimate: English has about four bytes a token, most other scripts three.
    #[must_use]
    pub fn tokens_likely(&self) -> u64 {
        let text = self.text_bytes.div_ceil(3);
        text.saturating_add(self.messages.saturating_mul(4))
            .saturating_add(self.images.saturating_mul(1_024) + 8)
    }

    fn measure(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.text_bytes = self.text_bytes.saturating_add(text.len() as u64),
            Value::Array(items) => items.iter().for_each(|item| self.measure(item)),
            Value::Object(fields) if fields.contains_key("image_url") => {
                self.images = self.images.saturating_add(1)
            }
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.text_bytes = self.text_bytes.saturating_add(name.len() as u64);
                    self.measure(value);
                }
            }
            // A token id in a prompt given as numbers.
            Value::Number(_) => self.text_bytes = self.text_bytes.saturating_add(3),
            Value::Bool(_) | Value::Null => {}
        }
    }
}

/// The names that an output limit goes by.
const OUTPUT_LIMITS: [&str; 4] = ["max_tokens", "max_completion_tokens", "n_predict", "num_predict"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_the_tightest_output_limit_counts() {
        let body = r#"{"messages":[{"role":"user","content":"Hello"}],"max_tokens":9,"max_completion_tokens":7,"n":2}"#;
        let shape = RequestShape::read(body).unwrap();
        assert_eq!((shape.messages, shape.choices, shape.max_output), (1, 2, Some(7)));
        assert_eq!(shape.text_bytes, "rolecontentuserHello".len() as u64);
        assert_eq!(shape.bytes, body.len() as u64);
        assert!(!shape.is_streamed);
        assert!(RequestShape::read(r#"{"stream":true}"#).unwrap().is_streamed);
    }

    #[test]
    fn an_image_is_counted_as_one_and_its_bytes_are_not_text() {
        let url = "x".repeat(1_000);
        let part = format!(r#"{{"type":"image_url","image_url":{{"url":"{url}"}}}}"#);
        let shape = RequestShape::read(&format!(r#"{{"messages":[{{"content":[{part}]}}]}}"#)).unwrap();
        assert_eq!(shape.images, 1);
        assert!(shape.text_bytes < 20);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for body in ["", "[]", "7", "{", "\"text\""] {
            assert_eq!(RequestShape::read(body), Err(ShapeError), "{body}");
        }
    }
}
