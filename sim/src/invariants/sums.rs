//! Sums of receipts, counted on both sides of the ledger.

use fedai_protocol::{Receipt, UsageSummary};

/// What receipts come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Receipts.
    pub receipts: u64,
    /// Charged.
    pub msat: u64,
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
}

impl Sums {
    /// One receipt.
    #[must_use]
    pub const fn of_receipt(receipt: &Receipt) -> Self {
        Self {
            receipts: 1,
            msat: receipt.amount.get(),
            input_tokens: receipt.usage.input_tokens.get(),
            output_tokens: receipt.usage.output_tokens.get(),
        }
    }

    /// All models of a summary.
    #[must_use]
    pub fn of_summary(summary: &UsageSummary) -> Self {
        summary.models.iter().fold(Self::default(), |sums, model| {
            sums.plus(&Self {
                receipts: model.count,
                msat: model.amount.get(),
                input_tokens: model.input_tokens,
                output_tokens: model.output_tokens,
            })
        })
    }

    /// Both together.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            receipts: self.receipts.saturating_add(other.receipts),
            msat: self.msat.saturating_add(other.msat),
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
        }
    }

    /// True when none of it is more than the other's.
    #[must_use]
    pub const fn is_within(&self, other: &Self) -> bool {
        self.receipts <= other.receipts
            && self.msat <= other.msat
            && self.input_tokens <= other.input_tokens
            && self.output_tokens <= other.output_tokens
    }
}
