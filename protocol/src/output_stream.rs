//! The output of a job as a byte stream, and the one way of counting it.
//!
//! The stream is a sequence of lines, each the JSON of one OpenAI choice
//! (`{"index":0,"delta":{"content":"Hi"}}`) and a line break. Its SHA-256 is what `final` states and the
//! receipt commits to. "Delivered text" is content, reasoning and tool-call arguments; both sides count it
//! here, so they can never disagree about how.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::limits::OUTPUT_BYTES_MAX;

/// Reads an output stream piece by piece; pieces may be cut anywhere.
#[derive(Clone, Debug, Default)]
pub struct OutputCounter {
    hasher: Sha256,
    stream_bytes: usize,
    text_bytes: u64,
    partial_line: String,
    finish_reason: Option<String>,
}

/// Why a piece of output is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// More than one job may deliver.
    #[error("output is larger than {OUTPUT_BYTES_MAX} bytes")]
    TooLarge,
    /// A line that is not the JSON of a choice.
    #[error("a line of the output is not the JSON of a choice")]
    Line,
}

/// What one line of the stream adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputLine {
    /// Index of the choice.
    pub index: u64,
    /// Visible text.
    pub text: String,
    /// Reasoning text.
    pub reasoning: String,
    /// The line as it came.
    pub line: String,
    /// Bytes of text that it delivers, as [`delivered_bytes`] counts them.
    pub delivered: u64,
}

impl OutputCounter {
    /// Takes the next piece and gives the lines that it completes.
    pub fn push(&mut self, piece: &str) -> Result<Vec<OutputLine>, OutputError> {
        let mut lines = Vec::new();
        self.read(piece, |line, reading| lines.push(OutputLine::of(line, reading)))?;
        Ok(lines)
    }

    /// Takes the next piece, for who counts it and hands no line on.
    pub fn count(&mut self, piece: &str) -> Result<(), OutputError> {
        self.read(piece, |_, _| {})
    }

    fn read(&mut self, piece: &str, mut take: impl FnMut(&str, Reading<'_>)) -> Result<(), OutputError> {
        self.stream_bytes = self.stream_bytes.saturating_add(piece.len());
        if self.stream_bytes > OUTPUT_BYTES_MAX {
            return Err(OutputError::TooLarge);
        }
        self.hasher.update(piece.as_bytes());
        for part in piece.split_inclusive('\n') {
            let is_end = part.ends_with('\n');
            if is_end && self.partial_line.is_empty() {
                let line = part.trim_end();
                take(line, self.read_line(line)?);
                continue;
            }
            self.partial_line.push_str(part);
            if is_end {
                let whole = core::mem::take(&mut self.partial_line);
                let line = whole.trim_end();
                take(line, self.read_line(line)?);
            }
        }
        Ok(())
    }

    /// Bytes of delivered text so far.
    #[must_use]
    pub const fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    /// Bytes of the stream so far.
    #[must_use]
    pub const fn stream_bytes(&self) -> usize {
        self.stream_bytes
    }

    /// True when the stream ends with a whole line, as it does at the end of a job.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.partial_line.is_empty()
    }

    /// The last finish reason seen.
    #[must_use]
    pub fn finish_reason(&self) -> Option<&str> {
        self.finish_reason.as_deref()
    }

    /// SHA-256 of the stream so far (hex).
    #[must_use]
    pub fn sha256(&self) -> String {
        hex::encode(self.hasher.clone().finalize())
    }

    fn read_line<'a>(&mut self, line: &'a str) -> Result<Reading<'a>, OutputError> {
        let reading = Reading::of(line)?;
        self.text_bytes = self.text_bytes.saturating_add(reading.delivered());
        if let Some(reason) = reading.finish_reason() {
            self.finish_reason = Some(reason.to_owned());
        }
        Ok(reading)
    }
}

impl OutputLine {
    /// The whole choice object, for those who pass it on.
    #[must_use]
    pub fn choice(&self) -> Value {
        serde_json::from_str(&self.line).unwrap_or_default()
    }

    /// What is left of it for somebody who has the first `seen` bytes of its text already; none when nothing is.
    #[must_use]
    pub fn after(&self, seen: usize) -> Option<Self> {
        let rest = self.text.get(seen..).filter(|rest| !rest.is_empty())?;
        let mut choice = self.choice();
        let (body, name) = match choice.get("text") {
            Some(_) => (Some(&mut choice), "text"),
            None => (choice.get_mut("delta"), "content"),
        };
        if let Some(body) = body.and_then(Value::as_object_mut) {
            body.insert(name.to_owned(), Value::from(rest));
            // It came before the text.
            for name in ["reasoning", "reasoning_content"] {
                body.remove(name);
            }
        }
        let delivered = delivered_bytes(&choice);
        let (text, line) = (rest.to_owned(), choice.to_string());
        Some(Self { text, line, delivered, reasoning: String::new(), index: self.index })
    }

    fn of(line: &str, reading: Reading<'_>) -> Self {
        let (line, delivered) = (line.to_owned(), reading.delivered());
        let choice = match reading {
            Reading::Plain(PlainChoice { index, delta, .. }) => {
                let text = delta.content.map(|text| text.0.into_owned()).unwrap_or_default();
                return Self { index, text, reasoning: String::new(), line, delivered };
            }
            Reading::Tree(choice) => choice,
        };
        let body = choice.get("delta").unwrap_or(&choice);
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let visible = if choice.get("text").is_some() { text("text") } else { text("content") };
        let reasoning = [text("reasoning_content"), text("reasoning")].concat();
        let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
        Self { index, text: visible, reasoning, line, delivered }
    }
}

/// A line, read.
#[derive(Debug)]
enum Reading<'a> {
    /// Nearly every line: no tree of values is made for it.
    Plain(PlainChoice<'a>),
    /// Any other choice.
    Tree(Value),
}

/// A choice that is nothing but a piece of text. Whatever has one field more is read as a tree, and a choice that can
/// be read in both ways gives the same either way.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainChoice<'a> {
    index: u64,
    #[serde(borrow)]
    delta: PlainDelta<'a>,
    #[serde(default, borrow)]
    finish_reason: Option<PlainText<'a>>,
    /// Null, or a tree.
    #[serde(default, rename = "logprobs")]
    _logprobs: Option<()>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainDelta<'a> {
    #[serde(default, borrow, rename = "role")]
    _role: Option<PlainText<'a>>,
    #[serde(default, borrow)]
    content: Option<PlainText<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct PlainText<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Reading<'a> {
    fn of(line: &'a str) -> Result<Self, OutputError> {
        serde_json::from_str(line).map(Self::Plain).or_else(|_| Self::tree(line))
    }

    fn tree(line: &str) -> Result<Self, OutputError> {
        let choice: Value = serde_json::from_str(line).map_err(|_| OutputError::Line)?;
        if choice.is_object() { Ok(Self::Tree(choice)) } else { Err(OutputError::Line) }
    }

    /// As [`delivered_bytes`].
    fn delivered(&self) -> u64 {
        match self {
            Self::Plain(choice) => choice.delta.content.as_ref().map_or(0, |text| text.0.len() as u64),
            Self::Tree(choice) => delivered_bytes(choice),
        }
    }

    fn finish_reason(&self) -> Option<&str> {
        match self {
            Self::Plain(choice) => choice.finish_reason.as_ref().map(|reason| reason.0.as_ref()),
            Self::Tree(choice) => choice.get("finish_reason").and_then(Value::as_str),
        }
    }
}

/// Writes one choice as a line of the stream.
#[must_use]
pub fn output_line(choice: &Value) -> String {
    format!("{choice}\n")
}

/// Bytes of text that a choice delivers: content, reasoning, text and tool-call arguments.
#[must_use]
pub fn delivered_bytes(choice: &Value) -> u64 {
    let body = choice.get("delta").unwrap_or(choice);
    let length = |value: Option<&Value>| value.and_then(Value::as_str).map_or(0, |text| text.len() as u64);
    let mut bytes = length(choice.get("text"));
    for name in ["content", "reasoning_content", "reasoning"] {
        bytes = bytes.saturating_add(length(body.get(name)));
    }
    for call in body.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
        let function = call.get("function");
        bytes = bytes.saturating_add(length(function.and_then(|f| f.get("arguments"))));
        bytes = bytes.saturating_add(length(function.and_then(|f| f.get("name"))));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = concat!(
        "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null}}\n",
        "{\"index\":0,\"delta\":{\"content\":\"Grün\"}}\n",
        "{\"index\":0,\"delta\":{\"reasoning_content\":\"hm\"}}\n",
        "{\"index\":0,\"delta\":{\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}}\n",
        "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}\n",
    );

    #[test]
    fn however_the_stream_is_cut_the_count_and_the_digest_are_the_same() {
        let mut whole = OutputCounter::default();
        let lines = whole.push(STREAM).unwrap();
        assert_eq!(lines.len(), 5);
        assert_eq!(whole.text_bytes(), 5 + 2 + 1 + 2);
        assert_eq!(whole.finish_reason(), Some("stop"));
        for size in 1..20 {
            let mut cut = OutputCounter::default();
            let mut text = String::new();
            let characters: Vec<char> = STREAM.chars().collect();
            for piece in characters.chunks(size) {
                for line in cut.push(&piece.iter().collect::<String>()).unwrap() {
                    text.push_str(&line.text);
                }
            }
            assert_eq!((cut.text_bytes(), cut.sha256()), (whole.text_bytes(), whole.sha256()), "{size}");
            assert_eq!(text, "Grün");
        }
    }

    #[test]
    fn a_stream_that_ends_within_a_line_is_not_whole() {
        let mut counter = OutputCounter::default();
        assert!(counter.is_whole());
        assert!(counter.push("{\"index\":0").unwrap().is_empty());
        assert!(!counter.is_whole());
        assert_eq!(counter.push("}\n").unwrap().len(), 1);
        assert!(counter.is_whole());
    }

    #[test]
    fn a_plain_line_and_its_tree_say_the_same() {
        let lines = [
            (true, r#"{"index":0,"delta":{"content":"Hi"}}"#),
            (
                true,
                r#"{"finish_reason":null,"index":3,"delta":{"role":"assistant","content":"a\n\"é\u00e9"}}"#,
            ),
            (true, r#"{"index":0,"delta":{},"finish_reason":"stop","logprobs":null}"#),
            (true, r#"{"delta":{"content":null},"index":1}"#),
            (false, r#"{"index":0,"delta":{"content":"Hi","reasoning":"hm"}}"#),
            (false, r#"{"index":0,"delta":{"content":"first","content":"last"}}"#),
            (false, r#"{"index":-1,"delta":{"content":7},"finish_reason":false}"#),
            (false, r#"{"index":0,"text":"Hi"}"#),
            (false, r#"{"index":0,"delta":{"content":"Hi"},"logprobs":{"content":[]}}"#),
            (false, r#"{"delta":{"content":"Hi"}}"#),
            (false, "{}"),
        ];
        for (is_plain, line) in lines {
            let (read, tree) = (Reading::of(line).unwrap(), Reading::tree(line).unwrap());
            assert_eq!(matches!(read, Reading::Plain(_)), is_plain, "{line}");
            let sums =
                |reading: &Reading<'_>| (reading.delivered(), reading.finish_reason().map(str::to_owned));
            assert_eq!(sums(&read), sums(&tree), "{line}");
            assert_eq!(OutputLine::of(line, read), OutputLine::of(line, tree), "{line}");
        }
    }

    #[test]
    fn the_rest_of_a_line_says_nothing_twice_in_any_of_its_forms() {
        for (line, rest) in [
            (
                r#"{"index":2,"delta":{"content":"Grün","role":"a"}}"#,
                r#"{"delta":{"content":"n","role":"a"},"index":2}"#,
            ),
            (r#"{"index":0,"text":"Grün"}"#, r#"{"index":0,"text":"n"}"#),
            (r#"{"delta":{"reasoning":"hm","content":"Grün"}}"#, r#"{"delta":{"content":"n"}}"#),
        ] {
            let whole = OutputLine::of(line, Reading::of(line).unwrap());
            let left = whole.after(4).unwrap();
            assert_eq!((left.text.as_str(), left.line.as_str(), left.delivered), ("n", rest, 1));
            assert_eq!(left.index, whole.index);
            assert!(whole.after(5).is_none() && whole.after(3).is_none(), "nothing left, or within a letter");
        }
    }

    #[test]
    fn completions_carry_their_text_in_another_place() {
        let mut counter = OutputCounter::default();
        let lines = counter.push("{\"index\":1,\"text\":\" red\",\"finish_reason\":null}\n").unwrap();
        assert_eq!((lines[0].text.as_str(), lines[0].index, counter.text_bytes()), (" red", 1, 4));
    }

    #[test]
    fn garbage_and_floods_are_refused() {
        assert_eq!(OutputCounter::default().push("nonsense\n"), Err(OutputError::Line));
        assert_eq!(OutputCounter::default().push("[]\n"), Err(OutputError::Line));
        assert!(OutputCounter::default().push(&" ".repeat(OUTPUT_BYTES_MAX)).is_ok());
        assert_eq!(
            OutputCounter::default().push(&" ".repeat(OUTPUT_BYTES_MAX + 1)),
            Err(OutputError::TooLarge)
        );
    }
}
