//! What is observed of one answer while it comes in.

use std::time::Duration;

use fedai_node_agent::shell::runners::sse::SseParser;
use serde_json::Value;
use tokio::time::Instant;

/// Longest event of a stream.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// Why a request counts as an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// No connection.
    #[error("no connection: {0}")]
    Connect(String),
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The connection ended inside an answer, or before it.
    #[error("the answer was cut short")]
    Cut,
    /// An HTTP error.
    #[error("HTTP {status} {code}: {message}")]
    Status {
        /// Status.
        status: u16,
        /// The code of the error, or nothing.
        code: String,
        /// What was said.
        message: String,
    },
    /// A stream that ends with an error.
    #[error("an error inside the stream: {0}")]
    Inside(String),
    /// Something that is no answer.
    #[error("not an answer of OpenAI's form")]
    Form,
}

impl ExchangeError {
    /// What is counted alike.
    #[must_use]
    pub fn code(&self) -> String {
        match self {
            Self::Connect(_) => "no_connection".to_owned(),
            Self::Timeout => "timeout".to_owned(),
            Self::Cut => "cut".to_owned(),
            Self::Status { status, code, .. } if code.is_empty() => format!("http_{status}"),
            Self::Status { status, code, .. } => format!("http_{status} {code}"),
            Self::Inside(code) => format!("in_stream {code}"),
            Self::Form => "form".to_owned(),
        }
    }

    /// An HTTP error with its body.
    pub(super) fn of_status(status: u16, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let message = body.pointer("/error/message").or_else(|| body.get("error")).and_then(Value::as_str);
        let message = message.unwrap_or_default().chars().take(300).collect();
        Self::Status { status, code: code_in(&body), message }
    }
}

fn code_in(body: &Value) -> String {
    let code = body.pointer("/error/code").or_else(|| body.pointer("/error/type")).and_then(Value::as_str);
    code.unwrap_or_default().chars().filter(|c| !c.is_control()).take(64).collect()
}

/// What was measured of one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exchange {
    /// From when the request was due to its first output.
    pub(super) first: Duration,
    /// To the end of the answer.
    pub(super) total: Duration,
    /// How late it was sent.
    pub(super) late: Duration,
    /// Between two pieces of output.
    pub(super) gaps: Vec<Duration>,
    /// Output tokens by the answer's usage, or its pieces.
    pub(super) tokens: u64,
}

/// Reads a stream of events.
pub(super) struct StreamWatch {
    parser: SseParser,
    first: Option<Instant>,
    last: Option<Instant>,
    gaps: Vec<Duration>,
    tokens: Option<u64>,
    has_finished: bool,
    is_over: bool,
}

impl StreamWatch {
    pub(super) fn new() -> Self {
        Self {
            parser: SseParser::new(EVENT_BYTES_MAX),
            first: None,
            last: None,
            gaps: Vec::new(),
            tokens: None,
            has_finished: false,
            is_over: false,
        }
    }

    /// Takes what came at that time; true when the stream has said that it is over.
    pub(super) fn push(&mut self, bytes: &[u8], now: Instant) -> Result<bool, ExchangeError> {
        let mut events = Vec::new();
        self.parser.push(bytes, &mut events).map_err(|_| ExchangeError::Form)?;
        for event in events {
            self.event(&event, now)?;
        }
        Ok(self.is_over)
    }

    fn event(&mut self, event: &[u8], now: Instant) -> Result<(), ExchangeError> {
        if event == b"[DONE]" {
            self.is_over = true;
            return Ok(());
        }
        let event: Value = serde_json::from_slice(event).map_err(|_| ExchangeError::Form)?;
        if event.get("error").is_some_and(|error| !error.is_null()) {
            return Err(ExchangeError::Inside(code_in(&event)));
        }
        self.tokens = completion_tokens(&event).or(self.tokens);
        for choice in event.get("choices").and_then(Value::as_array).into_iter().flatten() {
            self.has_finished |= choice.get("finish_reason").is_some_and(Value::is_string);
            if has_output(choice) {
                self.first.get_or_insert(now);
                if let Some(last) = self.last.replace(now) {
                    self.gaps.push(now - last);
                }
            }
        }
        Ok(())
    }

    /// The stream has ended.
    pub(super) fn finish(self, due: Instant, sent: Instant, now: Instant) -> Result<Exchange, ExchangeError> {
        // Some runners never say [DONE]; a reason to finish is as good.
        if !self.is_over && !self.has_finished {
            return Err(ExchangeError::Cut);
        }
        let pieces = self.first.map_or(0, |_| self.gaps.len() as u64 + 1);
        Ok(Exchange {
            first: self.first.unwrap_or(now) - due,
            total: now - due,
            late: sent - due,
            gaps: self.gaps,
            tokens: self.tokens.unwrap_or(pieces),
        })
    }
}

/// Tokens of a whole answer.
pub(super) fn tokens_of(body: &[u8]) -> Result<u64, ExchangeError> {
    let body: Value = serde_json::from_slice(body).map_err(|_| ExchangeError::Form)?;
    if body.get("choices").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        return Err(ExchangeError::Form);
    }
    Ok(completion_tokens(&body).unwrap_or(0))
}

fn completion_tokens(object: &Value) -> Option<u64> {
    object.pointer("/usage/completion_tokens").and_then(Value::as_u64)
}

/// Whether a choice of a stream carries something that a user gets to see: the role alone is none.
fn has_output(choice: &Value) -> bool {
    let is_text =
        |at: &Value, name: &str| at.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    let Some(delta) = choice.get("delta") else { return is_text(choice, "text") };
    ["content", "reasoning_content", "reasoning", "refusal"].iter().any(|name| is_text(delta, name))
        || delta.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(begun: Instant, ms: u64) -> Instant {
        begun + Duration::from_millis(ms)
    }

    #[test]
    fn the_first_output_is_not_the_first_event_and_gaps_lie_between_outputs() {
        let (due, mut watch) = (Instant::now(), StreamWatch::new());
        let role = b"data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
        let word = b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
        let end = b"data: {\"choices\":[],\"usage\":{\"completion_tokens\":3}}\n\ndata: [DONE]\n\n";
        assert_eq!(watch.push(role, at(due, 10)), Ok(false));
        assert_eq!(watch.push(word, at(due, 40)), Ok(false));
        assert_eq!(watch.push(&[&word[..], word].concat(), at(due, 70)), Ok(false));
        assert_eq!(watch.push(end, at(due, 80)), Ok(true));
        let exchange = watch.finish(due, at(due, 5), at(due, 80)).unwrap();
        let ms = Duration::from_millis;
        assert_eq!((exchange.first, exchange.total, exchange.late), (ms(40), ms(80), ms(5)));
        assert_eq!((exchange.gaps, exchange.tokens), (vec![ms(30), ms(0)], 3));
    }

    #[test]
    fn a_stream_that_just_ends_or_says_error_is_one() {
        let (now, mut watch) = (Instant::now(), StreamWatch::new());
        watch.push(b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n", now).unwrap();
        assert_eq!(watch.finish(now, now, now), Err(ExchangeError::Cut));
        let error = StreamWatch::new().push(b"data: {\"error\":{\"code\":\"stalled\"}}\n\n", now);
        assert_eq!(error.unwrap_err().code(), "in_stream stalled");
        assert_eq!(ExchangeError::of_status(429, b"{\"error\":{\"code\":\"busy\"}}").code(), "http_429 busy");
        assert_eq!(ExchangeError::of_status(502, b"<html>").code(), "http_502");
        assert_eq!(tokens_of(b"{\"choices\":[]}"), Err(ExchangeError::Form));
    }
}
