//! One request under way in a runner, and the memory that it holds.

use super::Work;
use super::block_pool::{BlockHold, BlockPool};
use super::prefix::Prefix;
use super::profile::{BLOCK_TOKENS, KvCapacity, RunnerProfile};
use super::slot_memory::SlotMemory;

/// A request that waits, for the first time or after a preemption.
#[derive(Clone, Debug)]
pub(super) struct Waiting<K> {
    pub(super) key: K,
    pub(super) work: Work,
    /// When it came, in femtoseconds: a step that began before does not see it.
    pub(super) since: u128,
    /// Tokens made before a preemption.
    pub(super) made: u64,
    /// Tokens handed out.
    pub(super) told: u64,
    /// Tokens of the prompt that were in memory when it first ran.
    pub(super) cached: Option<u64>,
}

impl<K> Waiting<K> {
    /// Tokens to compute before the next one can be made.
    pub(super) const fn prefill(&self) -> u64 {
        self.work.prompt_tokens + self.made
    }
}

/// A request that runs.
#[derive(Clone, Debug)]
pub(super) struct Sequence<K> {
    pub(super) request: Waiting<K>,
    pub(super) hold: KvHold,
    pub(super) stage: Stage,
    /// When it was given up; it takes part in the step that is under way.
    pub(super) cancelled: Option<u128>,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    /// So many tokens are in memory, of those that have to be.
    Prefill(u64),
    /// Joined those that decode after so many steps, with this context, and ends after so many.
    Decode { joined: u64, context: u64, ends: u64 },
}

impl<K> Sequence<K> {
    /// Tokens in memory, when so many steps are done.
    pub(super) const fn context(&self, steps: u64) -> u64 {
        match self.stage {
            Stage::Prefill(done) => done,
            Stage::Decode { joined, context, .. } => context + (steps - joined),
        }
    }

    /// Tokens made.
    pub(super) const fn made(&self, steps: u64) -> u64 {
        match self.stage {
            Stage::Prefill(_) => self.request.made,
            Stage::Decode { joined, .. } => self.request.made + (steps - joined),
        }
    }
}

/// The memory of a runner.
#[derive(Clone, Debug)]
pub(super) enum KvMemory {
    Blocks(BlockPool),
    Slots(SlotMemory),
}

/// What a sequence holds of it.
#[derive(Clone, Debug)]
pub(super) enum KvHold {
    Blocks(BlockHold),
    Slot(usize),
}

impl KvMemory {
    pub(super) fn new(profile: &RunnerProfile) -> Self {
        match profile.kv {
            KvCapacity::Blocks(blocks) => Self::Blocks(BlockPool::new(blocks)),
            KvCapacity::PerSlot(_) => Self::Slots(SlotMemory::new(profile.slots)),
        }
    }

    /// Blocks that may be had.
    pub(super) const fn available(&self) -> u64 {
        match self {
            Self::Blocks(pool) => pool.available(),
            Self::Slots(_) => u64::MAX,
        }
    }

    /// Blocks in use, and those in use or idle.
    pub(super) const fn filled(&self) -> (u64, u64) {
        match self {
            Self::Blocks(pool) => (pool.used(), pool.filled()),
            Self::Slots(_) => (0, 0),
        }
    }

    pub(super) fn admit(&mut self, prefix: &Prefix, tokens: u64, reserve: u64) -> Option<(KvHold, u64)> {
        match self {
            Self::Blocks(pool) => {
                pool.admit(prefix, tokens, reserve).map(|(hold, cached)| (KvHold::Blocks(hold), cached))
            }
            Self::Slots(slots) => {
                slots.admit(prefix, tokens).map(|(number, cached)| (KvHold::Slot(number), cached))
            }
        }
    }

    pub(super) fn grow(&mut self, blocks: u64) {
        if let Self::Blocks(pool) = self {
            pool.grow(blocks);
        }
    }

    pub(super) fn publish(&mut self, hold: &mut KvHold, prefix: &Prefix, tokens: u64) {
        if let (Self::Blocks(pool), KvHold::Blocks(hold)) = (self, hold) {
            pool.publish(hold, prefix, tokens);
        }
    }

    pub(super) fn release(&mut self, hold: KvHold, prefix: &Prefix, tokens: u64) {
        match (self, hold) {
            (Self::Blocks(pool), KvHold::Blocks(hold)) => pool.release(hold, prefix, tokens),
            (Self::Slots(slots), KvHold::Slot(number)) => slots.release(number, prefix.clone(), tokens),
            _ => {}
        }
    }

    pub(super) fn clear(&mut self) {
        match self {
            Self::Blocks(pool) => pool.clear(),
            Self::Slots(slots) => slots.clear(),
        }
    }
}

/// Blocks of a text.
pub(super) const fn blocks_of(tokens: u64) -> u64 {
    tokens.div_ceil(BLOCK_TOKENS)
}
