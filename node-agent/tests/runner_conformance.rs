//! One suite for every adapter that speaks HTTP: how it streams, how it fails, how it lets go.
//!
//! Each server below does what a real runner was seen doing. The rule: an adapter of any kind gives
//! the same events and the same error codes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod runner_fake;

use fedai_node_agent::shell::runners::{
    ApiKey, Endpoint, InferRequest, OpenError, RunnerError, RunnerEvent, RunnerOptions, RunnerUsage, open,
};
use futures_util::StreamExt;
use futures_util::future::join_all;
use runner_fake::{Fake, Step, end, events, json_answer, sse_head, status};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const KINDS: [&str; 4] = ["openai", "llama_cpp", "ollama", "vllm"];
const CANARY: &str = "canary-prompt-9001";

fn options() -> RunnerOptions {
    RunnerOptions {
        first_token_timeout: Duration::from_secs(10),
        chunk_timeout: Duration::from_secs(10),
        max_event_bytes: 4096,
        max_body_bytes: 16 << 10,
        ..RunnerOptions::default()
    }
}

fn request() -> InferRequest {
    let body = json!({"messages": [{"role": "user", "content": CANARY}], "top_k": 7});
    InferRequest::chat("served", body, 64)
}

type Outcome = (Vec<Value>, Option<RunnerUsage>, Option<RunnerError>);

/// Runs a request to its end and checks the contract of the stream on the way.
async fn run(kind: &str, fake: &Fake, request: InferRequest) -> Outcome {
    run_with(options(), kind, fake, request).await
}

async fn run_with(options: RunnerOptions, kind: &str, fake: &Fake, request: InferRequest) -> Outcome {
    let runner = open(kind, &fake.url(), options).unwrap();
    let mut stream = runner.infer(request, CancellationToken::new());
    let (mut deltas, mut usage, mut error, mut done) = (Vec::new(), None, None, false);
    while let Some(event) = stream.next().await {
        assert!(!done && error.is_none(), "{kind}: something follows the end");
        match event {
            Ok(RunnerEvent::Delta(delta)) => {
                assert!(usage.is_none(), "{kind}: a delta after the usage");
                deltas.push(delta);
            }
            Ok(RunnerEvent::Usage(reported)) => assert!(usage.replace(reported).is_none()),
            Ok(RunnerEvent::Done) => done = true,
            Err(e) => {
                assert!(!format!("{e} {e:?}").contains(CANARY), "{kind}: {e}");
                error = Some(e);
            }
        }
    }
    assert!(done != error.is_some(), "{kind}: ends with exactly one of both");
    (deltas, usage, error)
}

async fn expect_error(steps: Vec<Step>, want: RunnerError) {
    expect_error_with(options(), steps, want).await;
}

async fn expect_error_with(options: RunnerOptions, steps: Vec<Step>, want: RunnerError) {
    let fake = Fake::generating(steps).await;
    let outcomes = KINDS.map(|kind| run_with(options.clone(), kind, &fake, request()));
    for (kind, (_, _, error)) in KINDS.into_iter().zip(join_all(outcomes).await) {
        assert_eq!(error.as_ref(), Some(&want), "{kind}");
    }
}

const HI: &str = r#"{"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}"#;
const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USED: &str = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,
    "prompt_tokens_details":{"cached_tokens":4}}}"#;

fn good_stream() -> Vec<Step> {
    let used = USED.replace('\n', " ");
    vec![sse_head(), events(&[HI, STOP, &used, "[DONE]"]), end()]
}

#[tokio::test]
async fn a_stream_keeps_every_field_and_ends_with_usage() {
    let odd = r#"{"x":1,"choices":[{"index":0,"delta":{"role":"assistant","content":null,
        "reasoning_content":"hm","tool_calls":[{"index":0}]},"logprobs":{"content":[]}}]}"#;
    let (odd, used) = (odd.replace('\n', " "), USED.replace('\n', " "));
    let fake = Fake::generating(vec![sse_head(), events(&[&odd, STOP, &used, "[DONE]"]), end()]).await;
    for kind in KINDS {
        let (deltas, usage, error) = run(kind, &fake, request()).await;
        assert_eq!(error, None);
        assert_eq!(deltas[0]["delta"]["reasoning_content"], "hm");
        assert_eq!(deltas[0]["delta"]["tool_calls"][0]["index"], 0);
        assert!(deltas[0]["logprobs"].is_object());
        assert_eq!(deltas[1]["finish_reason"], "stop");
        let usage = usage.unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (9, 2));
        assert_eq!(usage.cached_tokens, Some(4));
        let seen = fake.seen.lock().unwrap();
        let body = &seen.last().unwrap().body;
        assert_eq!((&body["model"], &body["top_k"]), (&json!("served"), &json!(7)));
        assert_eq!((&body["stream"], &body["max_tokens"]), (&json!(true), &json!(64)));
    }
}

#[tokio::test]
async fn a_keep_alive_that_is_not_kept_costs_no_request() {
    let fake = Fake::generating(good_stream()).await;
    for kind in KINDS {
        let runner = open(kind, &fake.url(), options()).unwrap();
        for attempt in 0..20 {
            let stream = runner.infer(request(), CancellationToken::new());
            let events: Vec<_> = stream.collect().await;
            assert_eq!(events.last(), Some(&Ok(RunnerEvent::Done)), "{kind} {attempt}");
        }
    }
}

#[tokio::test]
async fn a_missing_end_mark_is_forgiven_only_after_a_finish_reason() {
    let fake = Fake::generating(vec![sse_head(), events(&[HI, STOP]), end()]).await;
    assert_eq!(run("openai", &fake, request()).await.2, None);
    // Cut without the closing chunk, but after everything that matters.
    let fake = Fake::generating(vec![sse_head(), events(&[HI, STOP])]).await;
    assert_eq!(run("openai", &fake, request()).await.2, None);
    let cut = RunnerError::Protocol { what: "the answer was cut short" };
    expect_error(vec![sse_head(), events(&[HI]), end()], cut.clone()).await;
    expect_error(vec![sse_head(), events(&[HI])], cut).await;
}

#[tokio::test]
async fn with_several_choices_one_finish_reason_is_not_the_end() {
    let fake = Fake::generating(vec![sse_head(), events(&[HI, STOP]), end()]).await;
    let mut two = request();
    two.body["n"] = json!(2);
    assert_eq!(run("vllm", &fake, two.clone()).await.2.unwrap().code(), "protocol");
    let fake = Fake::generating(good_stream()).await;
    let covers = |outcome: Outcome| outcome.1.unwrap().covers_all_choices;
    assert!(covers(run("vllm", &fake, two.clone()).await));
    assert!(!covers(run("llama_cpp", &fake, two).await), "llama.cpp counts one choice of several");
    assert!(covers(run("llama_cpp", &fake, request()).await));
}

#[tokio::test]
async fn an_answer_that_is_not_streamed_becomes_the_same_events() {
    let whole = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi",
        "tool_calls":[{"id":"a"},{"id":"b"}]},"finish_reason":"eos"}],
        "usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
    let fake = Fake::generating(json_answer(whole)).await;
    for kind in KINDS {
        let (deltas, usage, error) = run(kind, &fake, request()).await;
        assert_eq!((error, deltas.len()), (None, 1), "{kind}");
        assert_eq!(deltas[0]["delta"]["content"], "Hi");
        assert_eq!(deltas[0]["delta"]["tool_calls"][1]["index"], 1);
        assert_eq!(deltas[0]["finish_reason"], "stop");
        assert_eq!(usage.unwrap().prompt_tokens, 3);
    }
}

#[tokio::test]
async fn embeddings_come_one_by_one() {
    let whole = r#"{"data":[{"index":0,"embedding":[0.5]},{"index":1,"embedding":[1]}],
        "usage":{"prompt_tokens":5}}"#;
    let fake = Fake::generating(json_answer(whole)).await;
    let mut asked = request();
    asked.endpoint = Endpoint::Embedding;
    asked.body = json!({"input": ["a", "b"]});
    let (data, usage, error) = run("openai", &fake, asked).await;
    assert_eq!((error, data.len()), (None, 2));
    assert_eq!(data[0]["embedding"], json!([0.5]));
    assert_eq!(usage.unwrap().prompt_tokens, 5);
    assert_eq!(fake.seen.lock().unwrap()[0].body.get("stream"), None);
}

#[tokio::test]
async fn usage_may_sit_anywhere_and_the_last_one_counts() {
    let first = r#"{"choices":[{"index":0,"delta":{"content":"a"}}],
        "usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
    let last = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"length"}],
        "usage":{"prompt_tokens":1,"completion_tokens":2.0}}"#;
    let (first, last) = (first.replace('\n', ""), last.replace('\n', ""));
    let fake = Fake::generating(vec![sse_head(), events(&[&first, &last, "[DONE]"]), end()]).await;
    for kind in KINDS {
        assert_eq!(run(kind, &fake, request()).await.1.unwrap().completion_tokens, 2, "{kind}");
    }
    let fake = Fake::generating(vec![sse_head(), events(&[HI, STOP, "[DONE]"]), end()]).await;
    assert_eq!(run("openai", &fake, request()).await.1, None);
}

#[tokio::test]
async fn refusals_become_codes_without_their_text() {
    let refuse = |code, body: &str| vec![status(code, "application/json", body)];
    let quoting = format!(r#"{{"error":{{"message":"bad prompt: {CANARY}"}}}}"#);
    expect_error(refuse(400, &quoting), RunnerError::BadRequest { status: 400 }).await;
    expect_error(refuse(500, &quoting), RunnerError::Failed { status: 500 }).await;
    let long = format!("{quoting}{}", " ".repeat(200_000));
    expect_error(refuse(422, &long), RunnerError::BadRequest { status: 422 }).await;
    let loading = r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#;
    expect_error(refuse(503, loading), RunnerError::Loading).await;
    expect_error(refuse(503, "busy"), RunnerError::Overloaded { retry_after_s: None }).await;
    expect_error(refuse(401, "{}"), RunnerError::Unauthorized).await;
    let context = r#"{"error":{"code":400,"type":"exceed_context_size_error","message":"m",
        "n_prompt_tokens":5000,"n_ctx":2048}}"#;
    let exceeded = RunnerError::ContextExceeded { n_prompt: 5000, n_ctx: 2048 };
    expect_error(refuse(400, context), exceeded).await;
    let busy = Step::Raw(b"HTTP/1.1 429 X\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n".to_vec());
    expect_error(vec![busy], RunnerError::Overloaded { retry_after_s: Some(7) }).await;
    let elsewhere = b"HTTP/1.1 307 X\r\nLocation: /v1/completions\r\nContent-Length: 0\r\n\r\n";
    let elsewhere = vec![Step::Raw(elsewhere.to_vec())];
    expect_error(elsewhere, RunnerError::Failed { status: 307 }).await;
}

#[tokio::test]
async fn failures_in_the_middle_of_a_stream_are_errors() {
    let failed = format!(r#"{{"error":{{"code":500,"message":"{CANARY}"}}}}"#);
    let steps = vec![sse_head(), events(&[HI, &failed, "[DONE]"]), end()];
    expect_error(steps, RunnerError::Failed { status: 500 }).await;
    let steps = vec![sse_head(), events(&[HI, "nonsense"]), end()];
    expect_error(steps, RunnerError::Protocol { what: "an event is not JSON" }).await;
    let large = "x".repeat(5000);
    let steps = vec![sse_head(), events(&[&large]), Step::Hang];
    expect_error(steps, RunnerError::Protocol { what: "an event is too large" }).await;
    let large = format!(r#"{{"choices":[{{"text":"{}"}}]}}"#, "x".repeat(20_000));
    let steps = json_answer(&large);
    expect_error(steps, RunnerError::Protocol { what: "an answer is too large" }).await;
    let page = vec![status(200, "text/html", "<html>")];
    expect_error(page, RunnerError::Protocol { what: "an answer is not JSON" }).await;
}

#[tokio::test]
async fn silence_is_noticed_in_every_phase_and_pings_are_no_progress() {
    let stalled = |phase, waited_ms| RunnerError::Stalled { phase, waited_ms };
    // Only the wait that is looked at is short, so that a busy machine cannot end another one first.
    let first = RunnerOptions { first_token_timeout: Duration::from_secs(2), ..options() };
    expect_error_with(first.clone(), vec![Step::Hang], stalled("an answer", 2_000)).await;
    expect_error_with(first, vec![sse_head(), Step::Hang], stalled("the first token", 2_000)).await;
    let next = RunnerOptions { chunk_timeout: Duration::from_millis(150), ..options() };
    let steps = vec![sse_head(), events(&[HI]), Step::Hang];
    expect_error_with(next.clone(), steps, stalled("the next token", 150)).await;
    let steps = vec![sse_head(), events(&[HI]), Step::Repeat(": ping\n\n")];
    expect_error_with(next.clone(), steps, stalled("the next token", 150)).await;
    // A server that forgets to end the stream after the last token has still answered.
    let fake = Fake::generating(vec![sse_head(), events(&[HI, STOP]), Step::Hang]).await;
    assert_eq!(run_with(next, "openai", &fake, request()).await.2, None);
}

#[tokio::test]
async fn cancelling_or_dropping_closes_the_connection_at_once() {
    for kind in KINDS {
        for steps in [vec![Step::Hang], vec![sse_head(), events(&[HI]), Step::Hang]] {
            let streaming = steps.len() > 1;
            let mut fake = Fake::generating(steps).await;
            let patient =
                RunnerOptions { first_token_timeout: Duration::from_secs(60), ..Default::default() };
            let runner = open(kind, &fake.url(), patient).unwrap();
            for by_drop in [false, true] {
                let cancel = CancellationToken::new();
                let mut stream = runner.infer(request(), cancel.clone());
                if streaming {
                    assert!(matches!(stream.next().await, Some(Ok(RunnerEvent::Delta(_)))));
                } else {
                    while fake.seen.lock().unwrap().len() < 1 + usize::from(by_drop) {
                        tokio::task::yield_now().await;
                    }
                }
                // Nobody polls the stream meanwhile.
                let kept = if by_drop {
                    drop(stream);
                    None
                } else {
                    cancel.cancel();
                    Some(stream)
                };
                // Well before any timeout of the runner.
                let left = timeout(Duration::from_secs(20), fake.left.recv()).await;
                left.unwrap_or_else(|_| panic!("{kind} {by_drop}: still connected")).unwrap();
                if let Some(mut stream) = kept {
                    assert_eq!(stream.next().await, Some(Err(RunnerError::Cancelled)));
                    assert_eq!(stream.next().await, None);
                }
            }
        }
    }
}

#[tokio::test]
async fn nothing_there_is_unreachable_and_the_key_is_sent() {
    let fake = Fake::generating(good_stream()).await;
    let with_key = RunnerOptions { api_key: Some(ApiKey::new("sk-1")), ..options() };
    for kind in KINDS {
        let runner = open(kind, &fake.url(), with_key.clone()).unwrap();
        let _events: Vec<_> = runner.infer(request(), CancellationToken::new()).collect().await;
        let head = fake.seen.lock().unwrap().last().unwrap().head.clone();
        assert!(head.contains("authorization: bearer sk-1\r\n"), "{head}");
    }
    // Bound and not listening: nobody else can take the port.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    for kind in KINDS {
        let runner = open(kind, &url, options()).unwrap();
        let events: Vec<_> = runner.infer(request(), CancellationToken::new()).collect().await;
        assert_eq!(events, [Err(RunnerError::Unreachable)], "{kind}");
        assert_eq!(runner.list_models().await, Err(RunnerError::Unreachable), "{kind}");
    }
}

#[test]
fn only_known_kinds_and_this_machine_are_opened() {
    for kind in KINDS {
        let remote = open(kind, "http://192.0.2.1:8080", options()).err().unwrap();
        assert!(matches!(remote, OpenError::Url(_)), "{kind}: {remote}");
        assert!(remote.to_string().contains("hint:"));
        let allowed = RunnerOptions { allow_remote: true, ..options() };
        assert_eq!(open(kind, "http://192.0.2.1:8080", allowed).unwrap().kind(), kind);
    }
    let unknown = open("gpt", "http://127.0.0.1:1", options()).err().unwrap();
    assert!(unknown.to_string().contains("llama_cpp"), "{unknown}");
}
