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
    /// Outputs asked for, at least 1: choices (`n`) of each prompt of a list.
    pub choices: u64,
    /// Most output tokens of one choice, where the request says so.
    pub max_output: Option<u64>,
    /// Images and other media in it.
    pub images: u64,
    /// Some medium is named by an address, for the runner to fetch.
    pub has_remote_media: bool,
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
        for name in ["messages", "prompt", "input"] {
            if let Some(value) = fields.get(name) {
                shape.measure(value);
            }
        }
        if let Some(tools) = fields.get("tools") {
            shape.measure_schema(tools);
        }
        shape.messages = fields.get("messages").and_then(Value::as_array).map_or(0, Vec::len) as u64;
        let n = match fields.get("n") {
            None | Some(Value::Null) => 1,
            // Runners take "64" and 2.0 for numbers, and would do more than was counted.
            Some(n) => n.as_u64().ok_or(ShapeError)?.max(1),
        };
        shape.choices = n.saturating_mul(fields.get("prompt").map_or(1, prompts));
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
            Value::Object(fields) if fields.keys().any(|name| name.ends_with("_url")) => {
                for (_, medium) in fields.iter().filter(|(name, _)| name.ends_with("_url")) {
                    self.images = self.images.saturating_add(1);
                    self.has_remote_media |= !is_in_the_request(medium);
                }
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

    /// Tools describe their arguments: a name in them is a name, whatever it says.
    fn measure_schema(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.measure_schema(item)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.text_bytes = self.text_bytes.saturating_add(name.len() as u64);
                    self.measure_schema(value);
                }
            }
            value => self.measure(value),
        }
    }
}

/// Prompts in a list of texts or of lists of token ids; one text, or one list of ids, is one.
fn prompts(prompt: &Value) -> u64 {
    match prompt {
        Value::Array(items) if items.iter().any(|item| !item.is_number()) => items.len() as u64,
        _ => 1,
    }
}

/// True for `data:` URLs, in either of the forms in which media are named.
fn is_in_the_request(medium: &Value) -> bool {
    let url = medium.get("url").unwrap_or(medium).as_str();
    url.and_then(|url| url.get(..5)).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"))
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
        let url = format!("data:image/png;base64,{}", "x".repeat(1_000));
        let part = format!(r#"{{"type":"image_url","image_url":{{"url":"{url}"}}}}"#);
        let shape = RequestShape::read(&format!(r#"{{"messages":[{{"content":[{part}]}}]}}"#)).unwrap();
        assert_eq!((shape.images, shape.has_remote_media), (1, false));
        assert!(shape.text_bytes < 20);
    }

    #[test]
    fn media_that_the_runner_would_have_to_fetch_are_noticed_in_every_form() {
        let parts = [
            r#"{"type":"image_url","image_url":{"url":"http://169.254.169.254/latest"}}"#,
            r#"{"type":"image_url","image_url":"HTTPS://example.com/a.png"}"#,
            r#"{"type":"image_url","image_url":{"url":"file:///etc/passwd"}}"#,
            r#"{"type":"image_url","image_url":{"url":" data:image/png;base64,x"}}"#,
            r#"{"type":"video_url","video_url":{"url":"http://10.0.0.1/"}}"#,
            r#"{"type":"audio_url","audio_url":{}}"#,
            r#"{"image_url":{"url":"data:x"},"video_url":{"url":"http://10.0.0.1/"}}"#,
        ];
        for part in parts {
            let shape = RequestShape::read(&format!(r#"{{"messages":[{{"content":[{part}]}}]}}"#)).unwrap();
            assert!(shape.has_remote_media && shape.images > 0, "{part}");
        }
        let schema =
            r#"{"tools":[{"function":{"parameters":{"properties":{"image_url":{"type":"string"}}}}}]}"#;
        let shape = RequestShape::read(schema).unwrap();
        assert_eq!((shape.images, shape.has_remote_media), (0, false), "an argument of a tool");
    }

    #[test]
    fn every_output_counts_and_what_only_looks_like_a_number_is_refused() {
        let choices = |fields: &str| RequestShape::read(&format!("{{{fields}}}")).map(|shape| shape.choices);
        assert_eq!(choices(r#""prompt":"a","n":null"#), Ok(1));
        assert_eq!(choices(r#""prompt":["a","b","c"],"n":2"#), Ok(6));
        assert_eq!(choices(r#""prompt":[[1,2],[3]]"#), Ok(2));
        assert_eq!(choices(r#""prompt":[1,2,3]"#), Ok(1));
        assert_eq!(choices(r#""prompt":[],"n":0"#), Ok(1));
        for n in [r#""64""#, "2.0", "-1", "true", "[3]"] {
            assert_eq!(choices(&format!(r#""n":{n}"#)), Err(ShapeError), "{n}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for body in ["", "[]", "7", "{", "\"text\""] {
            assert_eq!(RequestShape::read(body), Err(ShapeError), "{body}");
        }
    }
}
