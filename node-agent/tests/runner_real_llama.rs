//! The whole runner side with a real model: installed, supervised, asked, cancelled, stopped.
//!
//! It needs Python and, the first time, the package index. The rule it keeps: what the other tests
//! claim about runners with servers of our own making is true of a real one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use fedai_node_agent::shell::runner_install::{self, Silent};
use fedai_node_agent::shell::runners::{
    InferRequest, Runner, RunnerError, RunnerEvent, RunnerOptions, discovery,
};
use fedai_node_agent::shell::supervisor::{State, Supervisor, free_loopback_port};
use futures_util::StreamExt;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;

const ALIAS: &str = "smollm2-135m";
const CANARY: &str = "zanzibar-canary-4711";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_model_is_installed_served_cancelled_and_stopped() {
    let cache = runner_install::default_cache_dir().expect("a cache directory");
    let installed = runner_install::ensure(&cache, Arc::new(Silent)).await.unwrap();
    let warm = Instant::now();
    assert_eq!(runner_install::ensure(&cache, Arc::new(Silent)).await.unwrap(), installed);
    assert!(warm.elapsed() < Duration::from_secs(20), "{:?}", warm.elapsed());

    let port = free_loopback_port().unwrap();
    let mut spec = installed.spec(port, 2, ALIAS);
    // No canary between the looks at the load below.
    spec.canary_interval = Duration::from_secs(3600);
    let (work_dir, log_path) = (spec.work_dir.clone(), spec.log_path.clone());
    let (events, _keep) = mpsc::channel(64);
    let handle = Supervisor::start(spec, events).unwrap();
    let healthy = timeout(Duration::from_secs(120), handle.healthy()).await;
    assert_eq!(healthy, Ok(true), "{:?}", handle.status());
    let pid = handle.status().pid.unwrap();
    let runner = handle.runner();

    describes_itself(runner.as_ref(), port).await;
    answers_with_usage(runner.as_ref()).await;
    refuses_what_does_not_fit(runner.as_ref()).await;
    stops_when_cancelled(runner.as_ref()).await;

    let log = std::fs::read(&log_path).unwrap();
    assert!(!String::from_utf8_lossy(&log).contains(CANARY), "a prompt is in the log");
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&log_path), mode(&work_dir)), (0o600, 0o700));

    let status = handle.subscribe();
    handle.stop().await;
    assert_eq!(status.borrow().state, State::Stopped);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(runner.health().await, Err(RunnerError::Unreachable));
    std::fs::remove_dir_all(work_dir).unwrap();
}

async fn describes_itself(runner: &dyn Runner, port: u16) {
    let models = runner.list_models().await.unwrap();
    assert_eq!(models.len(), 1, "{models:?}");
    let model = &models[0];
    assert_eq!(model.id, ALIAS);
    assert_eq!(model.context_tokens, Some(2048));
    assert_eq!(model.slots, Some(2));
    assert_eq!(model.quantization.as_deref(), Some("Q4_1"));
    assert_eq!(model.parameters, Some(134_515_008));
    becomes_idle(runner).await;
    let load = runner.load().await.unwrap();
    assert_eq!((load.waiting, load.slots), (Some(0), Some(2)));
    assert!(load.progress > Some(0), "the canary must have been counted: {load:?}");
    let tokens = runner.count_tokens(ALIAS, "Paris is the capital").await.unwrap();
    assert_eq!(tokens, Some(4));
    let found = discovery::discover(&[port], RunnerOptions::default()).await;
    assert_eq!(found.found[0].kind, "llama_cpp", "{found:?}");
}

fn question(text: &str, max_tokens: u32) -> InferRequest {
    let body = json!({
        "messages": [{"role": "user", "content": text}],
        "temperature": 0, "max_tokens": max_tokens, "ignore_eos": max_tokens > 100,
    });
    InferRequest::chat(ALIAS, body, 1024)
}

async fn answers_with_usage(runner: &dyn Runner) {
    let request = question(&format!("What is the capital of France? {CANARY}"), 24);
    let estimate = runner.estimate(&request).await;
    assert!(estimate.prompt_is_exact, "{estimate:?}");
    let mut stream = runner.infer(request, CancellationToken::new());
    let (mut text, mut finish, mut usage, mut done) = (String::new(), None, None, false);
    while let Some(event) = stream.next().await {
        match event.unwrap() {
            RunnerEvent::Delta(choice) => {
                text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
                finish = choice["finish_reason"].as_str().map(str::to_owned).or(finish);
            }
            RunnerEvent::Usage(reported) => usage = Some(reported),
            RunnerEvent::Done => done = true,
        }
    }
    let usage = usage.expect("usage");
    assert!(done && !text.trim().is_empty(), "{text:?}");
    assert!(matches!(finish.as_deref(), Some("stop" | "length")), "{finish:?}");
    assert!((1..=24).contains(&usage.completion_tokens), "{usage:?}");
    assert_eq!(usage.prompt_tokens, estimate.prompt_tokens);
    assert!(usage.covers_all_choices);
}

async fn refuses_what_does_not_fit(runner: &dyn Runner) {
    let mut stream = runner.infer(question(&"word ".repeat(3000), 8), CancellationToken::new());
    match stream.next().await {
        Some(Err(RunnerError::ContextExceeded { n_prompt, n_ctx: 2048 })) => {
            assert!(n_prompt > 3000);
        }
        other => panic!("{other:?}"),
    }
    assert!(stream.next().await.is_none());
}

async fn stops_when_cancelled(runner: &dyn Runner) {
    let cancel = CancellationToken::new();
    let mut stream = runner.infer(question("Count to a million.", 1000), cancel.clone());
    for _ in 0..3 {
        assert!(matches!(stream.next().await, Some(Ok(RunnerEvent::Delta(_)))));
    }
    assert_eq!(runner.load().await.unwrap().running, Some(1));
    cancel.cancel();
    let mut last = None;
    while let Some(event) = stream.next().await {
        last = Some(event);
    }
    assert_eq!(last, Some(Err(RunnerError::Cancelled)));
    becomes_idle(runner).await;
}

async fn becomes_idle(runner: &dyn Runner) {
    let mut ticks = interval(Duration::from_millis(20));
    let idle = async {
        loop {
            ticks.tick().await;
            if runner.load().await.unwrap().running == Some(0) {
                return;
            }
        }
    };
    timeout(Duration::from_secs(30), idle).await.expect("the slot must become idle");
}
