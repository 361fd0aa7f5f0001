//! Which parts of prompts are the same text: hashes of blocks, kept once for a whole workload.
//!
//! Two prompts share a prefix as far as their blocks are equal from the start, as traces with hashes record it.

use std::sync::Arc;

use crate::runner::{LISTED_UNIT_TOKENS, Prefix};

/// Tokens of a block; the last one of a prompt may be shorter.
pub const BLOCK_TOKENS: u64 = LISTED_UNIT_TOKENS;

/// All blocks of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockTable(Arc<[u64]>);

/// The blocks of one prompt: a range of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockSpan {
    first: u32,
    count: u32,
}

impl BlockTable {
    /// A table of these.
    #[must_use]
    pub fn new(blocks: Vec<u64>) -> Self {
        Self(blocks.into())
    }

    /// The blocks of a prompt, from its start.
    #[must_use]
    pub fn of(&self, span: BlockSpan) -> &[u64] {
        let first = usize::try_from(span.first).unwrap_or(usize::MAX);
        let last = first.saturating_add(usize::try_from(span.count).unwrap_or(0));
        self.0.get(first..last).unwrap_or(&[])
    }

    /// Blocks in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when no prompt shares anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The blocks of every job of a world, by its number: what their prompts begin with, as a runner's memory tells.
#[derive(Clone, Debug, Default)]
pub struct JobBlocks {
    table: BlockTable,
    spans: Arc<[BlockSpan]>,
}

impl JobBlocks {
    /// Of jobs in the order of their numbers.
    #[must_use]
    pub fn new(table: BlockTable, spans: impl Iterator<Item = BlockSpan>) -> Self {
        let spans = if table.is_empty() { Arc::default() } else { spans.collect() };
        Self { table, spans }
    }

    /// The beginning of a job's prompt.
    #[must_use]
    pub fn prefix(&self, job: usize) -> Prefix {
        match self.spans.get(job).map(|span| self.table.of(*span)) {
            None | Some([]) => Prefix::Unshared,
            Some(blocks) => Prefix::Listed(Arc::from(blocks)),
        }
    }
}

impl BlockSpan {
    /// Nothing that anybody else has.
    pub const NONE: Self = Self { first: 0, count: 0 };

    /// So many blocks from a position.
    #[must_use]
    pub fn new(first: usize, count: usize) -> Self {
        let narrow = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Self { first: narrow(first), count: narrow(count) }
    }

    /// The first blocks of it.
    #[must_use]
    pub fn prefix(self, count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(self.count);
        Self { first: self.first, count }
    }

    /// Number of blocks.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_without_blocks_share_nothing() {
        let spans = [BlockSpan::new(0, 2), BlockSpan::NONE];
        let jobs = JobBlocks::new(BlockTable::new(vec![7, 8]), spans.into_iter());
        assert_eq!(jobs.prefix(0), Prefix::Listed(Arc::new([7, 8])));
        assert_eq!([jobs.prefix(1), jobs.prefix(2)], [Prefix::Unshared, Prefix::Unshared]);
    }

    #[test]
    fn a_span_is_its_blocks_and_nothing_beyond_the_table() {
        let table = BlockTable::new(vec![1, 2, 3, 4]);
        let span = BlockSpan::new(1, 3);
        assert_eq!(table.of(span), [2, 3, 4]);
        assert_eq!(table.of(span.prefix(1)), [2]);
        assert_eq!(table.of(span.prefix(9)), [2, 3, 4]);
        assert!(table.of(BlockSpan::new(3, 2)).is_empty());
        assert!(table.of(BlockSpan::NONE).is_empty());
    }
}
