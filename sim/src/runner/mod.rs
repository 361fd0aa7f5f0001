//! A model server: continuous batching step by step, prompts taken in by chunks, memory in blocks with preemption and a
//! prefix cache, or slots as llama.cpp has them.
//!
//! It is pure: it has no clock and is told the time. It says when it next wants to be asked, and between two changes of
//! its batch the time of any number of steps is a closed form, so that a token costs nothing unless somebody hears of
//! it.

mod block_pool;
mod decode_set;
mod model;
mod plan;
mod prefix;
mod profile;
mod sequence;
mod slot_memory;
mod stretch;

use fedai_protocol::UnixMicros;

pub use self::model::RunnerModel;
pub use self::prefix::{LISTED_UNIT_TOKENS, Prefix, SESSION_UNIT_TOKENS};
pub use self::profile::{BLOCK_TOKENS, Emit, FEMTOS_PER_MICRO, KvCapacity, RunnerProfile, StepCost};

/// A request, as the runner sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// Whose beginning it has.
    pub prefix: Prefix,
}

/// When the runner wants to be asked. One with an old ticket says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which plan this belongs to.
    pub ticket: u64,
    /// When.
    pub at: UnixMicros,
}

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunnerEvent<K> {
    /// Tokens of an answer, numbered from 0.
    Tokens {
        /// Request.
        key: K,
        /// Number of the first.
        from: u64,
        /// How many.
        count: u64,
    },
    /// The end of an answer.
    Done {
        /// Request.
        key: K,
        /// Tokens of its prompt that did not have to be computed.
        cached_tokens: u64,
        /// Tokens of the answer: fewer than asked for when the memory ends before.
        output_tokens: u64,
    },
}

/// What a step brought, and when the next one is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress<K> {
    /// What came out, in order.
    pub events: Vec<RunnerEvent<K>>,
    /// None when there is nothing to do.
    pub next: Option<Due>,
}

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunnerRefusal {
    /// Too many wait.
    #[error("the runner's queue is full")]
    QueueFull,
    /// The prompt leaves no room for an answer.
    #[error("the prompt does not fit the runner's memory")]
    TooLarge,
}

/// What a runner has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunnerCounts {
    /// Steps.
    pub steps: u64,
    /// Prompt tokens computed, again after a preemption, too.
    pub prefill_tokens: u64,
    /// Prompt tokens found in memory.
    pub cached_tokens: u64,
    /// Output tokens made.
    pub output_tokens: u64,
    /// Sequences put back into the queue for want of memory.
    pub preemptions: u64,
}

#[cfg(test)]
mod queueing_tests;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
