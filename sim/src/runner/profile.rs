//! The numbers of a model server: what a step of its batch costs, how many sequences it runs, how much it remembers.
//!
//! Costs are whole femtoseconds, so that sums are exact and the same on any machine.

use serde::{Deserialize, Serialize};

/// Femtoseconds in a microsecond.
pub const FEMTOS_PER_MICRO: u128 = 1_000_000_000;

/// What one step costs, in femtoseconds.
///
/// A step decodes one token of every sequence that is past its prompt, and takes in some prompt tokens of others. It
/// costs
/// `base + sequence * batch + context_token * contexts + prefill_token * tokens + prefill_pair * pairs`, where a pair
/// is a prompt token and a token before it, and the base is `step` when something decodes, `prefill_step` when prompt
/// tokens are taken in, and the larger of the two when both happen: weights are read once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepCost {
    /// For a step that decodes.
    pub step: u64,
    /// For each sequence that decodes.
    pub sequence: u64,
    /// For each token in the context of a sequence that decodes.
    pub context_token: u64,
    /// For a step that takes in prompt tokens.
    pub prefill_step: u64,
    /// For each prompt token.
    pub prefill_token: u64,
    /// For each pair of a prompt token and a token before it.
    pub prefill_pair: u64,
}

/// What the runner remembers of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvCapacity {
    /// Blocks of [`BLOCK_TOKENS`] in one pool, shared by prefix (vLLM and its like).
    Blocks(u64),
    /// Each slot has a context of so many tokens, and keeps what it last said (llama.cpp).
    PerSlot(u64),
}

/// When tokens are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Emit {
    /// After every step.
    EveryToken,
    /// First and last tokens at once, others together and at most so late.
    Coalesced {
        /// Longest wait, in milliseconds.
        max_ms: u64,
    },
}

/// The numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerProfile {
    /// Sequences at once.
    pub slots: u32,
    /// Requests that may wait for a slot.
    pub queue_max: u32,
    /// Most tokens in a step: one for each decoding sequence, the rest for prompts.
    pub step_tokens: u32,
    /// Costs.
    pub cost: StepCost,
    /// Memory.
    pub kv: KvCapacity,
    /// When tokens are handed out.
    pub emit: Emit,
}

impl RunnerProfile {
    /// A runner known by four numbers only: prompt and output tokens a second of a request that is alone, and how much
    /// longer a step takes for every further sequence, in thousandths. Memory is for 32,768 tokens a slot.
    #[must_use]
    pub const fn of_rates(slots: u32, prefill: u64, decode: u64, batch_cost_permille: u64) -> Self {
        let token = per_token(decode);
        let sequence = token / 1_000 * batch_cost_permille;
        let cost = StepCost {
            step: token.saturating_sub(sequence),
            sequence,
            context_token: 0,
            prefill_step: 0,
            prefill_token: per_token(prefill),
            prefill_pair: 0,
        };
        let kv = KvCapacity::Blocks(slots as u64 * 32_768 / BLOCK_TOKENS);
        Self { slots, queue_max: QUEUE_MAX, step_tokens: 2_048, cost, kv, emit: Emit::EveryToken }
    }

    /// The same, with prompts and decoding at so many hundredths of its speed.
    #[must_use]
    pub const fn at_speed(mut self, prefill_percent: u64, decode_percent: u64) -> Self {
        let cost = &mut self.cost;
        (cost.step, cost.sequence) =
            (slowed(cost.step, decode_percent), slowed(cost.sequence, decode_percent));
        cost.context_token = slowed(cost.context_token, decode_percent);
        cost.prefill_step = slowed(cost.prefill_step, prefill_percent);
        cost.prefill_token = slowed(cost.prefill_token, prefill_percent);
        cost.prefill_pair = slowed(cost.prefill_pair, prefill_percent);
        self
    }

    /// The same with another rule for handing out.
    #[must_use]
    pub const fn emitting(mut self, emit: Emit) -> Self {
        self.emit = emit;
        self
    }

    /// Prompt tokens a second of a request that is alone and has 512 of them.
    #[must_use]
    pub const fn prefill_rate(&self) -> u64 {
        let pairs = TYPICAL_PROMPT * (TYPICAL_PROMPT - 1) / 2;
        let tokens = self.cost.prefill_token.saturating_mul(TYPICAL_PROMPT);
        let femtos = self.cost.prefill_step + tokens + self.cost.prefill_pair.saturating_mul(pairs);
        per_token(femtos / TYPICAL_PROMPT)
    }

    /// Output tokens a second of a request that is alone, after such a prompt.
    #[must_use]
    pub const fn decode_rate(&self) -> u64 {
        let context = self.cost.context_token.saturating_mul(TYPICAL_PROMPT);
        per_token(self.cost.step + self.cost.sequence + context)
    }

    /// Most tokens, prompt and output together, of one request.
    #[must_use]
    pub const fn context_max(&self) -> u64 {
        match self.kv {
            KvCapacity::Blocks(blocks) => blocks.saturating_mul(BLOCK_TOKENS),
            KvCapacity::PerSlot(tokens) => tokens,
        }
    }
}

const fn slowed(cost: u64, percent: u64) -> u64 {
    cost.saturating_mul(100) / if percent == 0 { 1 } else { percent }
}

/// Femtoseconds of a token at a rate; and the other way round.
const fn per_token(rate: u64) -> u64 {
    let rate = if rate == 0 { 1 } else { rate };
    1_000_000_000_000_000 / rate
}

/// Tokens of a prompt by which rates are stated.
const TYPICAL_PROMPT: u64 = 512;
/// Tokens in a block.
pub const BLOCK_TOKENS: u64 = 16;
/// Nodes bound their queues themselves, well below this.
const QUEUE_MAX: u32 = 4_096;
