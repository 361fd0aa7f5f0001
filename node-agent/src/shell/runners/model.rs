//! What runners tell us: models, load, events of a generation, and what it used.
//!
//! The rule: a field a runner did not state is `None`, never a guess. The node decides what to do
//! about gaps, an adapter only reports.

use serde_json::Value;

/// One model a runner offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunnerModel {
    /// The id to send in requests.
    pub id: String,
    /// Prompt plus output tokens one request may hold.
    pub context_tokens: Option<u32>,
    /// Output tokens one request may ask for, where limited apart from the context.
    pub max_output: Option<u32>,
    /// Requests it works on at the same time.
    pub slots: Option<u32>,
    /// Quantization as the runner names it, such as `Q4_1`.
    pub quantization: Option<String>,
    /// A digest of the weights, lower-case hex.
    pub digest: Option<String>,
    /// Number of parameters.
    pub parameters: Option<u64>,
    /// Size of the weights in bytes.
    pub size_bytes: Option<u64>,
    /// Whether the weights are in memory now.
    pub loaded: Option<bool>,
    /// Chat completions.
    pub supports_chat: Option<bool>,
    /// Tool calls.
    pub supports_tools: Option<bool>,
    /// Images in prompts.
    pub supports_vision: Option<bool>,
    /// Separate reasoning output.
    pub supports_reasoning: Option<bool>,
    /// Embeddings.
    pub supports_embeddings: Option<bool>,
}

/// One step of a generation.
#[derive(Debug, Clone, PartialEq)]
pub enum RunnerEvent {
    /// One OpenAI `choice` object as it came (`delta` or `text`, `index`, `finish_reason`, `logprobs`,
    /// …); for embeddings one `data` object. Never count these as tokens: a delta may hold many.
    Delta(Value),
    /// What the runner says it used. At most once, right before `Done`.
    Usage(RunnerUsage),
    /// The generation is complete.
    Done,
}

/// Token counts as the runner claims them; they can be wrong, see `covers_all_choices`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunnerUsage {
    /// Tokens of the prompt after the chat template.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub completion_tokens: u32,
    /// Prompt tokens that came from a cache.
    pub cached_tokens: Option<u32>,
    /// Completion tokens spent on reasoning.
    pub reasoning_tokens: Option<u32>,
    /// False where the runner is known to count one choice of several (llama.cpp with `n` > 1).
    pub covers_all_choices: bool,
}

/// How busy a runner is, for heartbeats and admission.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RunnerLoad {
    /// Requests being worked on.
    pub running: Option<u32>,
    /// Requests queued inside the runner.
    pub waiting: Option<u32>,
    /// Requests it can work on at once.
    pub slots: Option<u32>,
    /// Share of the key-value cache in use, 0.0 to 1.0.
    pub kv_usage: Option<f64>,
    /// Any counter that rises while tokens are made; compare two readings to see life.
    pub progress: Option<u64>,
}

/// Tokens a request is expected to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// True if the runner itself counted them.
    pub prompt_is_exact: bool,
    /// Most tokens it may generate.
    pub max_output_tokens: u32,
}
