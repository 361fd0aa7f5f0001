//! The head of this node's chain of receipts.
//!
//! Each receipt names the one before it, so an omission or a fork shows. The rule: a number is given out once.
//! The head
//! moves when a receipt is drafted, and drafts are signed and made durable in that order, so a crash leaves a prefix.

use fedai_protocol::message::{Draft, ParseError};
use fedai_protocol::{EventId, Message, PublicKey, Receipt, UnixSeconds};

/// Number and predecessor of the next receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// Number of the next receipt.
    pub seq: u64,
    /// Event id of the last one; zeros before the first.
    pub prev: EventId,
}

impl Default for ChainHead {
    fn default() -> Self {
        Self { seq: 0, prev: EventId::all_zeros() }
    }
}

impl ChainHead {
    /// Puts the receipt at the end of the chain and gives the draft to be signed.
    pub(crate) fn append(
        &mut self,
        mut receipt: Receipt,
        author: &PublicKey,
        now: UnixSeconds,
    ) -> Result<Draft, ParseError> {
        receipt.seq = self.seq;
        receipt.prev = self.prev;
        let draft = receipt.draft(author, now)?;
        *self = Self { seq: self.seq.saturating_add(1), prev: draft.id(author) };
        Ok(draft)
    }
}
