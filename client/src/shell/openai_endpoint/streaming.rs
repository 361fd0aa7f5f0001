//! An answer as server-sent events. The status is decided by the first output: a job that fails before it has an HTTP
//! error, one that fails later ends with an `error` event and without `[DONE]`.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use fedai_protocol::job_open::JobEndpoint;
use fedai_protocol::output_stream::OutputLine;
use serde_json::{Value, json};

use super::jobs::{add_headers, head, outcome, particulars};
use super::purchase::{Place, Progress, Purchase};
use crate::core::openai::answer::{AnswerHead, usage_object, with_field};
use crate::core::openai::api_error::ApiError;

/// Silence after which a comment says that the connection lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

struct Stream {
    head: AnswerHead,
    purchase: Purchase,
    ready: VecDeque<Bytes>,
    wants_usage: bool,
    is_over: bool,
}

/// Waits for the first output, then streams.
pub(super) async fn respond(
    endpoint: JobEndpoint,
    mut purchase: Purchase,
    wants_usage: bool,
) -> Result<Response, ApiError> {
    let mut place = Place::default();
    let first = loop {
        match purchase.progress.recv().await {
            Some(Progress::Opening(at)) => place = at,
            Some(Progress::Lines(lines)) => break Some(lines),
            None => break None,
        }
    };
    let mut stream = Stream {
        head: head(endpoint, &place),
        purchase,
        ready: VecDeque::new(),
        wants_usage,
        is_over: false,
    };
    match first {
        Some(lines) => stream.ready.push_back(stream.events(lines)),
        None => stream.finish().await?,
    }
    let price = place.ceiling.get();
    let body = futures_util::stream::unfold(stream, |mut stream| async move {
        let next = stream.next().await?;
        Some((Ok::<_, core::convert::Infallible>(next), stream))
    });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    add_headers(&mut response, &place, price);
    Ok(response)
}

impl Stream {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some(bytes);
            }
            if self.is_over {
                return None;
            }
            match tokio::time::timeout(KEEP_ALIVE, self.purchase.progress.recv()).await {
                Err(_) => return Some(Bytes::from_static(b": still working\n\n")),
                Ok(Some(Progress::Lines(lines))) => return Some(self.events(lines)),
                Ok(Some(Progress::Opening(_))) => {}
                Ok(None) => {
                    if let Err(error) = self.finish().await {
                        self.ready.push_back(event(&error.body()));
                        self.is_over = true;
                    }
                }
            }
        }
    }

    fn events(&self, lines: Vec<OutputLine>) -> Bytes {
        let mut text = String::new();
        for line in lines {
            push_event(&mut text, &self.head.chunk(line.choice()));
        }
        Bytes::from(text)
    }

    async fn finish(&mut self) -> Result<(), ApiError> {
        let delivered = outcome(&mut self.purchase).await?;
        if self.wants_usage {
            let last = self.head.usage_chunk(usage_object(&delivered.answer.usage, delivered.cost));
            self.ready.push_back(event(&with_field(last, "fedai", particulars(&delivered))));
        } else {
            // A comment: clients that did not ask for usage may not expect a chunk without choices.
            let note = json!({"fedai": particulars(&delivered)});
            self.ready.push_back(Bytes::from(format!(": {note}\n\n")));
        }
        self.ready.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
        self.is_over = true;
        Ok(())
    }
}

fn push_event(text: &mut String, object: &Value) {
    text.push_str("data: ");
    text.push_str(&object.to_string());
    text.push_str("\n\n");
}

fn event(object: &Value) -> Bytes {
    let mut text = String::new();
    push_event(&mut text, object);
    Bytes::from(text)
}
