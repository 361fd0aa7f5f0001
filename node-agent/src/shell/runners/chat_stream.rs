//! Turns one HTTP answer, streamed or not, into [`RunnerEvent`]s.
//!
//! A task of its own reads the connection, so that a cancel closes it even while nobody polls the
//! stream. The rule: an answer is complete only if it said so (a `[DONE]`, or a finish reason for
//! every choice); anything else that ends is an error, whatever was delivered before.

use super::fields::{u32_at, u64_at};
use super::http::{CUT, Http, classify, stalled};
use super::sse::SseParser;
use super::{Endpoint, EventStream, InferRequest, RunnerError, RunnerEvent, RunnerUsage};
use futures_util::stream;
use reqwest::Response;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// Runs the request and streams what comes back.
pub(crate) fn infer(
    http: Http,
    request: InferRequest,
    cancel: CancellationToken,
    usage_covers_all_choices: bool,
) -> EventStream {
    let (events, mut receiver) = mpsc::channel(EVENTS_QUEUED_MAX);
    tokio::spawn(async move {
        let mut relay = Relay {
            http,
            answer: Answer {
                endpoint: request.endpoint,
                choices: request.choices(),
                usage_covers_all_choices,
                ..Answer::default()
            },
            events: &events,
        };
        // Whichever branch ends first drops the others, and with `run` the connection.
        let outcome = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(RunnerError::Cancelled),
            () = events.closed() => return,
            outcome = relay.run(&request) => outcome,
        };
        if let Err(error) = outcome {
            let _receiver_gone = events.send(Err(error)).await;
        }
    });
    Box::pin(stream::poll_fn(move |context| receiver.poll_recv(context)))
}

struct Relay<'a> {
    http: Http,
    answer: Answer,
    events: &'a mpsc::Sender<Result<RunnerEvent, RunnerError>>,
}

impl Relay<'_> {
    async fn run(&mut self, request: &InferRequest) -> Result<(), RunnerError> {
        let limit = self.http.options.first_token_timeout;
        let deadline = Instant::now() + limit;
        let body = request.outgoing_body();
        let start = self.http.start(request.endpoint.path(), &body);
        let response = timeout_at(deadline, start).await.map_err(|_| stalled("an answer", limit))??;
        if is_event_stream(&response) {
            self.read_stream(response, deadline).await?;
        } else {
            let reading = self.http.read_body(response, self.http.options.max_body_bytes);
            let body = timeout_at(deadline, reading).await.map_err(|_| stalled("an answer", limit))??;
            self.read_whole(&body).await?;
        }
        if let Some(usage) = self.answer.usage {
            self.send(RunnerEvent::Usage(usage)).await;
        }
        self.send(RunnerEvent::Done).await;
        Ok(())
    }

    async fn read_stream(
        &mut self,
        mut response: Response,
        mut deadline: Instant,
    ) -> Result<(), RunnerError> {
        let mut parser = SseParser::new(self.http.options.max_event_bytes);
        let mut finished = Vec::new();
        loop {
            let read = timeout_at(deadline, response.chunk()).await;
            let ended = match read {
                Ok(Ok(Some(bytes))) => {
                    parser
                        .push(&bytes, &mut finished)
                        .map_err(|_| RunnerError::Protocol { what: "an event is too large" })?;
                    false
                }
                Ok(Ok(None)) => {
                    parser.finish(&mut finished);
                    true
                }
                // A cut or a silence after the last token costs nobody anything.
                Ok(Err(_)) | Err(_) if self.answer.is_complete() => return Ok(()),
                Ok(Err(_)) => return Err(CUT),
                Err(_) => return Err(self.silence()),
            };
            let progressed = !finished.is_empty();
            for data in finished.drain(..) {
                if self.take_event(&data).await? {
                    return Ok(());
                }
            }
            if ended {
                return if self.answer.is_complete() { Ok(()) } else { Err(CUT) };
            }
            if progressed {
                deadline = Instant::now() + self.http.options.chunk_timeout;
            }
        }
    }

    /// Passes on one event; true if it was the end mark.
    async fn take_event(&mut self, data: &[u8]) -> Result<bool, RunnerError> {
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            return Ok(true);
        }
        if data.is_empty() {
            return Ok(false);
        }
        let event: Value = serde_json::from_slice(data)
            .map_err(|_| RunnerError::Protocol { what: "an event is not JSON" })?;
        for delta in self.answer.take(event)? {
            self.send(RunnerEvent::Delta(delta)).await;
        }
        Ok(false)
    }

    async fn read_whole(&mut self, body: &[u8]) -> Result<(), RunnerError> {
        let body: Value = serde_json::from_slice(body)
            .map_err(|_| RunnerError::Protocol { what: "an answer is not JSON" })?;
        let pieces = self.answer.take(body)?;
        if pieces.is_empty() {
            return Err(RunnerError::Protocol { what: "an answer holds no choice" });
        }
        for piece in pieces {
            self.send(RunnerEvent::Delta(piece)).await;
        }
        Ok(())
    }

    fn silence(&self) -> RunnerError {
        let options = &self.http.options;
        if self.answer.started {
            stalled("the next token", options.chunk_timeout)
        } else {
            stalled("the first token", options.first_token_timeout)
        }
    }

    async fn send(&self, event: RunnerEvent) {
        // A receiver that went away ends the whole task through `closed`.
        let _receiver_gone = self.events.send(Ok(event)).await;
    }
}

/// What has been understood of one answer so far.
struct Answer {
    endpoint: Endpoint,
    choices: u32,
    usage_covers_all_choices: bool,
    started: bool,
    finished: BTreeSet<u64>,
    usage: Option<RunnerUsage>,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            endpoint: Endpoint::Chat,
            choices: 1,
            usage_covers_all_choices: true,
            started: false,
            finished: BTreeSet::new(),
            usage: None,
        }
    }
}

impl Answer {
    /// Takes one JSON object of the answer and returns the choices it carries.
    fn take(&mut self, mut object: Value) -> Result<Vec<Value>, RunnerError> {
        if object.get("error").is_some_and(|error| !error.is_null()) {
            let status =
                u64_at(&object, "/error/code").and_then(|code| u16::try_from(code).ok()).unwrap_or(0);
            return Err(classify(status, &object, None));
        }
        if let Some(usage) = object.get("usage").filter(|usage| usage.is_object()) {
            self.usage = Some(self.read_usage(usage));
        }
        let list = if self.endpoint == Endpoint::Embedding { "data" } else { "choices" };
        let mut choices = match object.get_mut(list).map(Value::take) {
            Some(Value::Array(choices)) => choices,
            _ => Vec::new(),
        };
        choices.retain(Value::is_object);
        for choice in &mut choices {
            self.started = true;
            self.tidy_choice(choice);
        }
        Ok(choices)
    }

    fn tidy_choice(&mut self, choice: &mut Value) {
        message_to_delta(choice);
        if let Some(reason) = choice.get_mut("finish_reason") {
            let known = reason.as_str().and_then(standard_finish_reason).map(str::to_owned);
            if let Some(name) = known {
                *reason = json!(name);
            } else if reason.as_str() == Some("") {
                *reason = Value::Null;
            }
            if !reason.is_null() {
                self.finished.insert(u64_at(choice, "/index").unwrap_or(0));
            }
        }
    }

    fn read_usage(&self, usage: &Value) -> RunnerUsage {
        RunnerUsage {
            prompt_tokens: u32_at(usage, "/prompt_tokens").unwrap_or(0),
            completion_tokens: u32_at(usage, "/completion_tokens").unwrap_or(0),
            cached_tokens: u32_at(usage, "/prompt_tokens_details/cached_tokens"),
            reasoning_tokens: u32_at(usage, "/completion_tokens_details/reasoning_tokens"),
            covers_all_choices: self.usage_covers_all_choices || self.choices == 1,
        }
    }

    fn is_complete(&self) -> bool {
        self.finished.len() >= usize::try_from(self.choices).unwrap_or(usize::MAX)
    }
}

/// A reply that was not streamed carries `message`; consumers are promised `delta`.
fn message_to_delta(choice: &mut Value) {
    let Some(fields) = choice.as_object_mut() else {
        return;
    };
    let Some(mut message) = fields.remove("message") else {
        return;
    };
    if let Some(calls) = message.get_mut("tool_calls").and_then(Value::as_array_mut) {
        for (position, call) in calls.iter_mut().enumerate() {
            if let Some(call) = call.as_object_mut() {
                call.entry("index").or_insert_with(|| json!(position));
            }
        }
    }
    fields.insert("delta".into(), message);
}

/// Words some runners use, in the words OpenAI clients accept. Others pass unchanged.
fn standard_finish_reason(reason: &str) -> Option<&'static str> {
    match reason {
        "eos" | "eos_token" | "end_turn" | "stop_sequence" | "STOP" => Some("stop"),
        "max_tokens" | "max_length" | "limit" | "MAX_TOKENS" => Some("length"),
        "tool_use" => Some("tool_calls"),
        _ => None,
    }
}

fn is_event_stream(response: &Response) -> bool {
    response
        .headers()
        .get(reqwest::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.starts_with("text/event-stream"))
}

/// Events read ahead of a slow consumer; then the connection's own back-pressure takes over.
const EVENTS_QUEUED_MAX: usize = 64;
