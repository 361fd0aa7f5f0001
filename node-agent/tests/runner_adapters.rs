//! What each adapter reads out of its runner's own endpoints, from answers as those runners give them.
//!
//! The rule: an endpoint that is switched off costs its fields and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod runner_fake;

use fedai_node_agent::shell::runners::mock::{MockConfig, MockFailure, MockRunner, expected_text};
use fedai_node_agent::shell::runners::{
    InferRequest, Runner, RunnerError, RunnerEvent, RunnerLoad, RunnerOptions, discovery, open,
};
use futures_util::StreamExt;
use runner_fake::{Fake, Step, json_answer, status};
use serde_json::json;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn request() -> InferRequest {
    InferRequest::chat("m", json!({"messages": [{"role": "user", "content": "Hi"}]}), 9)
}

const LLAMA_MODELS: &str = r#"{"data":[{"id":"smol","owned_by":"llamacpp",
    "meta":{"n_ctx":4096,"n_params":134515008,"size":98352000}}]}"#;
const OLLAMA_TAGS: &str = r#"{"models":[{"name":"qwen3:4b","digest":"abc123","size":2500,
    "details":{"quantization_level":"Q4_K_M","parameter_size":"4.0B"}}]}"#;
const VLLM_MODELS: &str =
    r#"{"data":[{"id":"meta/l","object":"model","owned_by":"vllm","max_model_len":8192}]}"#;

fn metrics(text: &str) -> Vec<Step> {
    vec![status(200, "text/plain", text)]
}

#[tokio::test]
async fn llama_cpp_tells_slots_context_and_load() {
    let props = r#"{"total_slots":2,"model_ftype":"Q4_K - Medium","modalities":{"vision":false},
        "default_generation_settings":{"n_ctx":2048}}"#;
    let page = "llamacpp:requests_processing 1\nllamacpp:requests_deferred 2\n\
                llamacpp:n_decode_total 77\n";
    let fake = Fake::start(&[
        ("/v1/models", json_answer(LLAMA_MODELS)),
        ("/props", json_answer(props)),
        ("/slots", json_answer(r#"[{"is_processing":true},{"is_processing":false}]"#)),
        ("/metrics", metrics(page)),
        ("/tokenize", json_answer(r#"{"tokens":[1,2,3]}"#)),
        ("/health", json_answer(r#"{"status":"ok"}"#)),
        ("/v1/chat/completions/input_tokens", json_answer(r#"{"input_tokens":31}"#)),
    ])
    .await;
    let runner = open("llama_cpp", &fake.url(), RunnerOptions::default()).unwrap();
    let models = runner.list_models().await.unwrap();
    let model = &models[0];
    assert_eq!((model.context_tokens, model.slots), (Some(2048), Some(2)));
    assert_eq!(model.quantization.as_deref(), Some("Q4_K_M"));
    assert_eq!(model.supports_vision, Some(false));
    let load = runner.load().await.unwrap();
    assert_eq!((load.running, load.waiting, load.slots), (Some(1), Some(2), Some(2)));
    assert_eq!(load.progress, Some(77));
    assert_eq!(runner.count_tokens("smol", "x").await, Ok(Some(3)));
    let estimate = runner.estimate(&request()).await;
    assert_eq!((estimate.prompt_tokens, estimate.prompt_is_exact), (31, true));
    assert_eq!(runner.health().await, Ok(()));
}

#[tokio::test]
async fn llama_cpp_with_everything_switched_off_still_serves() {
    let off = || vec![status(501, "application/json", "{}")];
    let fake = Fake::start(&[
        ("/v1/models", json_answer(LLAMA_MODELS)),
        ("/props", off()),
        ("/slots", off()),
        ("/metrics", off()),
        ("/health", vec![status(503, "application/json", r#"{"error":{"message":"Loading model"}}"#)]),
    ])
    .await;
    let runner = open("llama_cpp", &fake.url(), RunnerOptions::default()).unwrap();
    assert_eq!(runner.list_models().await.unwrap()[0].context_tokens, Some(4096));
    assert_eq!(runner.load().await, Ok(RunnerLoad::default()));
    assert_eq!(runner.count_tokens("smol", "x").await, Ok(None));
    assert!(!runner.estimate(&request()).await.prompt_is_exact);
    assert_eq!(runner.health().await, Err(RunnerError::Loading));
}

#[tokio::test]
async fn ollama_reports_the_window_it_really_runs_with() {
    let show = r#"{"capabilities":["completion","tools"],"parameters":"stop  \"x\"\nnum_ctx  8192",
        "model_info":{"general.parameter_count":4000000000,"qwen3.context_length":40960}}"#;
    let routes = |ps: &str, show: &str| {
        [
            ("/api/tags", json_answer(OLLAMA_TAGS)),
            ("/api/ps", json_answer(ps)),
            ("/api/show", json_answer(show)),
            ("/api/version", json_answer(r#"{"version":"0.12.0"}"#)),
        ]
    };
    let loaded = r#"{"models":[{"name":"qwen3:4b","context_length":16384}]}"#;
    let plain = r#"{"model_info":{"qwen3.context_length":40960}}"#;
    for (ps, show, context) in
        [(loaded, show, 16384), (r#"{"models":[]}"#, show, 8192), (r#"{"models":[]}"#, plain, 4096)]
    {
        let fake = Fake::start(&routes(ps, show)).await;
        let runner = open("ollama", &fake.url(), RunnerOptions::default()).unwrap();
        let model = runner.list_models().await.unwrap().remove(0);
        assert_eq!(model.context_tokens, Some(context));
        assert_eq!(model.loaded, Some(ps == loaded));
        assert_eq!(model.digest.as_deref(), Some("abc123"));
        assert_eq!(model.quantization.as_deref(), Some("Q4_K_M"));
        assert_eq!(model.supports_tools, (show != plain).then_some(true));
        assert_eq!(runner.health().await, Ok(()));
    }
}

#[tokio::test]
async fn vllm_tells_load_and_counts_tokens() {
    let page = "vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 3.0\n\
                vllm:num_requests_waiting{engine=\"0\"} 1.0\nvllm:kv_cache_usage_perc{e=\"0\"} 0.25\n\
                vllm:generation_tokens_total{e=\"0\"} 1e3\n";
    let fake = Fake::start(&[
        ("/v1/models", json_answer(VLLM_MODELS)),
        ("/metrics", metrics(page)),
        ("/health", vec![status(200, "text/plain", "")]),
        ("/tokenize", json_answer(r#"{"count":12,"max_model_len":8192,"tokens":[]}"#)),
    ])
    .await;
    let runner = open("vllm", &fake.url(), RunnerOptions::default()).unwrap();
    assert_eq!(runner.list_models().await.unwrap()[0].context_tokens, Some(8192));
    let load = runner.load().await.unwrap();
    assert_eq!((load.running, load.waiting), (Some(3), Some(1)));
    assert_eq!((load.kv_usage, load.progress), (Some(0.25), Some(1000)));
    assert_eq!(runner.count_tokens("meta/l", "x").await, Ok(Some(12)));
    assert_eq!(runner.estimate(&request()).await.prompt_tokens, 12);
    assert_eq!(runner.health().await, Ok(()));
}

#[tokio::test]
async fn discovery_goes_by_answers_and_accounts_for_every_port() {
    let llama = Fake::start(&[("/v1/models", json_answer(LLAMA_MODELS))]).await;
    let ollama = Fake::start(&[
        ("/api/version", json_answer(r#"{"version":"0.12.0"}"#)),
        ("/api/tags", json_answer(OLLAMA_TAGS)),
        ("/v1/models", json_answer(r#"{"data":[{"id":"qwen3:4b","owned_by":"library"}]}"#)),
    ])
    .await;
    let vllm = Fake::start(&[("/v1/models", json_answer(VLLM_MODELS))]).await;
    let other = Fake::start(&[("/v1/models", json_answer(r#"{"data":[{"id":"local"}]}"#))]).await;
    // Answers every path with a page, as some servers do.
    let page = vec![status(200, "text/html", "<html></html>")];
    let paths = ["/v1/models", "/props", "/api/version", "/version"];
    let web = Fake::start(&paths.map(|path| (path, page.clone()))).await;
    let silent = Fake::start(&paths.map(|path| (path, vec![Step::Hang]))).await;
    let locked = Fake::start(&[("/v1/models", vec![status(401, "text/plain", "")])]).await;
    // Bound and not listening: nobody else can take the port.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let free = closed.local_addr().unwrap().port();

    let ports = [llama.port, ollama.port, vllm.port, other.port, web.port, silent.port, locked.port, free];
    let started = tokio::time::Instant::now();
    let discovery = discovery::discover(&ports, RunnerOptions::default()).await;
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    let kinds: Vec<_> = discovery.found.iter().map(|f| f.kind).collect();
    assert_eq!(kinds, ["llama_cpp", "ollama", "vllm", "openai"]);
    let models: Vec<_> = discovery.found.iter().map(|f| f.models[0].id.as_str()).collect();
    assert_eq!(models, ["smol", "qwen3:4b", "meta/l", "local"]);
    assert_eq!(discovery.notes.len(), ports.len());
    let says = |at: usize, words: &str| {
        assert!(discovery.notes[at].contains(words), "{:?}", discovery.notes[at]);
    };
    says(0, "llama.cpp server with \"smol\"");
    says(4, "is none of: llama.cpp server, Ollama, vLLM");
    says(5, "did not answer");
    says(6, "asks for an API key");
    says(7, "Nothing listens");
}

#[test]
fn the_port_setting_can_name_add_and_switch_off() {
    assert_eq!(discovery::parse_ports(None), Ok(vec![11434, 8080, 8000, 1234]));
    assert_eq!(discovery::parse_ports(Some("")), Ok(vec![]));
    assert_eq!(discovery::parse_ports(Some(" 9000, 9001,")), Ok(vec![9000, 9001]));
    for bad in ["0", "http", "99999", "1;2"] {
        assert!(discovery::parse_ports(Some(bad)).unwrap_err().to_string().contains("hint:"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_mock_answers_what_it_promises_and_in_time() {
    let url = "mock://local?tokens=5&token_ms=10&prefill_ms=100&slots=1";
    let runner = open("mock", url, RunnerOptions::default()).unwrap();
    let body = request().body;
    let started = tokio::time::Instant::now();
    let mut text = String::new();
    let mut stream = runner.infer(request(), CancellationToken::new());
    let mut second = runner.infer(request(), CancellationToken::new());
    while let Some(event) = stream.next().await {
        match event.unwrap() {
            RunnerEvent::Delta(d) => text.push_str(d["delta"]["content"].as_str().unwrap()),
            RunnerEvent::Usage(usage) => assert_eq!(usage.completion_tokens, 5),
            RunnerEvent::Done => {}
        }
    }
    assert_eq!(text, expected_text(&body, 5));
    assert_ne!(text, expected_text(&json!({"messages": []}), 5));
    assert_eq!(started.elapsed().as_millis(), 150);
    while second.next().await.is_some() {}
    assert_eq!(started.elapsed().as_millis(), 300, "one slot: the second waits for the first");
    assert!(open("mock", "mock://x?speed=9", RunnerOptions::default()).is_err());
}

#[tokio::test(start_paused = true)]
async fn the_mock_fails_as_asked_and_frees_its_slot() {
    let failing = |failure| MockRunner::new(MockConfig { failure, slots: 1, ..Default::default() });
    let mock = failing(MockFailure::HangAtToken(2));
    let cancel = CancellationToken::new();
    let mut stream = mock.infer(request(), cancel.clone());
    assert!(stream.next().await.unwrap().is_ok() && stream.next().await.unwrap().is_ok());
    assert_eq!(mock.load().await.unwrap().running, Some(1));
    cancel.cancel();
    assert_eq!(stream.next().await, Some(Err(RunnerError::Cancelled)));
    assert_eq!(mock.load().await.unwrap().running, Some(0));
    let last = |mock: MockRunner| async move {
        let events: Vec<_> = mock.infer(request(), CancellationToken::new()).collect().await;
        (events.len(), events.last().cloned().unwrap())
    };
    let (count, hung) = last(failing(MockFailure::HangAtToken(2))).await;
    assert_eq!((count, hung.unwrap_err().code()), (3, "stalled"));
    let (count, failed) = last(failing(MockFailure::ErrorBeforeFirstToken)).await;
    assert_eq!((count, failed.unwrap_err().code()), (1, "failed"));
    let (count, done) = last(failing(MockFailure::MissingUsage)).await;
    assert_eq!((count, done), (9 + 1 + 1, Ok(RunnerEvent::Done)));
}
