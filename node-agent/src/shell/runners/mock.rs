//! A runner inside this process, for tests and drills: words from a hash of the prompt, on a clock.
//!
//! The rule: same body, same words, so that whoever receives an answer can check it with
//! [`expected_text`]. It computes nothing and says so in its model id; never sell it.

use super::{
    Adapter, Answers, BoxFuture, Endpoint, Estimate, EventStream, InferRequest, OpenError, Runner,
    RunnerError, RunnerEvent, RunnerLoad, RunnerModel, RunnerOptions, RunnerUsage,
};
use futures_util::stream;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub(super) const ADAPTER: Adapter =
    Adapter { kind: "mock", title: "the built-in mock", open, recognises: |_: &Answers| false };

/// How the mock misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MockFailure {
    /// Not at all.
    #[default]
    None,
    /// Refuses before the first token.
    ErrorBeforeFirstToken,
    /// Fails after that many tokens.
    ErrorAtToken(u32),
    /// Falls silent after that many tokens, until cancelled or found stalled.
    HangAtToken(u32),
    /// Delivers everything but never says what it used.
    MissingUsage,
}

/// Settings of the mock.
#[derive(Debug, Clone)]
pub struct MockConfig {
    /// The id of its one model.
    pub model: String,
    /// Words it says, unless the request allows fewer.
    pub tokens: u32,
    /// Time between words.
    pub token_time: Duration,
    /// Time before the first word.
    pub prefill_time: Duration,
    /// Requests worked on at once; the rest wait silently.
    pub slots: u32,
    /// Context it claims.
    pub context_tokens: u32,
    /// What goes wrong.
    pub failure: MockFailure,
}

impl Default for MockConfig {
    fn default() -> Self {
        Self {
            model: "mock-words".into(),
            tokens: 16,
            token_time: Duration::from_millis(1),
            prefill_time: Duration::ZERO,
            slots: 2,
            context_tokens: 4096,
            failure: MockFailure::None,
        }
    }
}

/// The mock runner. Clones share their slots.
#[derive(Clone)]
pub struct MockRunner {
    config: Arc<MockConfig>,
    chunk_timeout: Duration,
    slots: Arc<Semaphore>,
    waiting: Arc<AtomicU32>,
    made: Arc<AtomicU64>,
}

impl MockRunner {
    /// A mock with those settings; a hang is reported as stalled after the default chunk timeout.
    pub fn new(config: MockConfig) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(config.slots.max(1) as usize)),
            config: Arc::new(config),
            chunk_timeout: RunnerOptions::default().chunk_timeout,
            waiting: Arc::default(),
            made: Arc::default(),
        }
    }

    async fn speak(&self, request: &InferRequest, events: &Events) -> Result<(), RunnerError> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(&self.waiting);
        let slot = self.slots.acquire().await.map_err(|_| RunnerError::Unreachable)?;
        drop(waiting);
        let mut next = Instant::now() + self.config.prefill_time;
        sleep_until(next).await;
        let prompt_tokens = request.estimate_by_bytes().prompt_tokens;
        if prompt_tokens > self.config.context_tokens {
            let n_ctx = self.config.context_tokens;
            return Err(RunnerError::ContextExceeded { n_prompt: prompt_tokens, n_ctx });
        }
        if self.config.failure == MockFailure::ErrorBeforeFirstToken {
            return Err(RunnerError::Failed { status: 500 });
        }
        let asked = request.estimate_with(0, false).max_output_tokens / request.choices();
        let words = self.config.tokens.min(asked);
        let reason = if words < self.config.tokens { "length" } else { "stop" };
        for (position, word) in (0..).zip(words_of(&request.body).take(words as usize)) {
            self.fail_at(position).await?;
            next += self.config.token_time;
            sleep_until(next).await;
            self.made.fetch_add(1, Ordering::Relaxed);
            events.send(Ok(RunnerEvent::Delta(choice(request.endpoint, &word, None)))).await.ok();
        }
        let last = choice(request.endpoint, "", Some(reason));
        events.send(Ok(RunnerEvent::Delta(last))).await.ok();
        if self.config.failure != MockFailure::MissingUsage {
            let usage = RunnerUsage {
                prompt_tokens,
                completion_tokens: words,
                covers_all_choices: request.choices() == 1,
                ..RunnerUsage::default()
            };
            events.send(Ok(RunnerEvent::Usage(usage))).await.ok();
        }
        drop(slot);
        events.send(Ok(RunnerEvent::Done)).await.ok();
        Ok(())
    }

    async fn fail_at(&self, position: u32) -> Result<(), RunnerError> {
        match self.config.failure {
            MockFailure::ErrorAtToken(at) if at == position => Err(RunnerError::Failed { status: 500 }),
            MockFailure::HangAtToken(at) if at == position => {
                sleep_until(Instant::now() + self.chunk_timeout).await;
                Err(super::http::stalled("the next token", self.chunk_timeout))
            }
            _ => Ok(()),
        }
    }
}

impl Runner for MockRunner {
    fn kind(&self) -> &'static str {
        ADAPTER.kind
    }

    fn list_models(&self) -> BoxFuture<'_, Result<Vec<RunnerModel>, RunnerError>> {
        let model = RunnerModel {
            id: self.config.model.clone(),
            context_tokens: Some(self.config.context_tokens),
            slots: Some(self.config.slots),
            loaded: Some(true),
            supports_chat: Some(true),
            ..RunnerModel::default()
        };
        Box::pin(async { Ok(vec![model]) })
    }

    fn infer(&self, request: InferRequest, cancel: CancellationToken) -> EventStream {
        let (events, mut receiver) = mpsc::channel(1);
        let mock = self.clone();
        tokio::spawn(async move {
            let outcome = tokio::select! {
                biased;
                () = cancel.cancelled() => Err(RunnerError::Cancelled),
                () = events.closed() => return,
                outcome = mock.speak(&request, &events) => outcome,
            };
            if let Err(error) = outcome {
                events.send(Err(error)).await.ok();
            }
        });
        Box::pin(stream::poll_fn(move |context| receiver.poll_recv(context)))
    }

    fn estimate<'a>(&'a self, request: &'a InferRequest) -> BoxFuture<'a, Estimate> {
        Box::pin(async { request.estimate_by_bytes() })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), RunnerError>> {
        Box::pin(async { Ok(()) })
    }

    fn load(&self) -> BoxFuture<'_, Result<RunnerLoad, RunnerError>> {
        let free = u32::try_from(self.slots.available_permits()).unwrap_or(u32::MAX);
        let load = RunnerLoad {
            running: Some(self.config.slots.max(1).saturating_sub(free)),
            waiting: Some(self.waiting.load(Ordering::Relaxed)),
            slots: Some(self.config.slots.max(1)),
            kv_usage: None,
            progress: Some(self.made.load(Ordering::Relaxed)),
        };
        Box::pin(async move { Ok(load) })
    }

    fn count_tokens<'a>(
        &'a self,
        _model: &'a str,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Option<u32>, RunnerError>> {
        let words = u32::try_from(text.split_whitespace().count()).ok();
        Box::pin(async move { Ok(words) })
    }
}

/// The text the mock says to a body, at that many tokens.
pub fn expected_text(body: &Value, tokens: u32) -> String {
    words_of(body).take(tokens as usize).collect()
}

fn open(url: &str, options: RunnerOptions) -> Result<Arc<dyn Runner>, OpenError> {
    let mut config = MockConfig::default();
    let settings = url.split_once('?').map_or("", |(_, settings)| settings);
    for setting in settings.split('&').filter(|s| !s.is_empty()) {
        let unknown = || OpenError::MockSetting { setting: setting.to_owned() };
        let (name, value) = setting.split_once('=').ok_or_else(unknown)?;
        let number: u32 = value.parse().map_err(|_| unknown())?;
        match name {
            "tokens" => config.tokens = number,
            "token_ms" => config.token_time = Duration::from_millis(number.into()),
            "prefill_ms" => config.prefill_time = Duration::from_millis(number.into()),
            "slots" => config.slots = number,
            "context" => config.context_tokens = number,
            "hang_at" => config.failure = MockFailure::HangAtToken(number),
            "error_at" => config.failure = MockFailure::ErrorAtToken(number),
            _ => return Err(unknown()),
        }
    }
    let mut mock = MockRunner::new(config);
    mock.chunk_timeout = options.chunk_timeout;
    Ok(Arc::new(mock))
}

fn choice(endpoint: Endpoint, word: &str, finish_reason: Option<&str>) -> Value {
    if endpoint == Endpoint::Chat {
        json!({"index": 0, "delta": {"content": word}, "finish_reason": finish_reason})
    } else {
        json!({"index": 0, "text": word, "finish_reason": finish_reason})
    }
}

/// An endless sequence of words that depends on the prompt alone.
fn words_of(body: &Value) -> impl Iterator<Item = String> {
    let prompt = body.get("messages").or_else(|| body.get("prompt")).unwrap_or(&Value::Null);
    let seed = Sha256::digest(prompt.to_string());
    (0u64..).map(move |position| {
        let hash = Sha256::new().chain_update(seed).chain_update(position.to_le_bytes()).finalize();
        let pick = |at: usize| usize::from(hash.get(at).copied().unwrap_or(0));
        let syllable = |at| SYLLABLES.get(pick(at) % SYLLABLES.len()).copied().unwrap_or("la");
        format!("{}{} ", syllable(0), syllable(1))
    })
}

type Events = mpsc::Sender<Result<RunnerEvent, RunnerError>>;

/// Keeps the number of queued requests right even when one is cancelled in the queue.
struct Waiting<'a>(&'a AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

const SYLLABLES: [&str; 16] =
    ["ba", "be", "da", "do", "fi", "go", "ka", "ki", "la", "lo", "mi", "na", "po", "ra", "su", "té"];
