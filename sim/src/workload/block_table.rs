//! Which parts of prompts are the same text: hashes of blocks, kept once for a whole workload.
//!
//! Two prompts share a prefix as far as their blocks are equal from the start, as traces with hashes record it.

use std::sync::Arc;

/// Tokens of a block; the last one of a prompt may be shorter.
pub const BLOCK_TOKENS: u64 = 512;

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
