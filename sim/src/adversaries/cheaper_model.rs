//! Cheaper-model substitution: a model of a quarter of the size answers under the name of the one on offer.
//!
//! - What it does: computes every job with a quarter of the work.
//! - What it hopes to gain: a quarter of the cost at the full price, and a fast look.
//! - What meets it: nothing in a single answer, so without audits it pays. An audit asks all nodes the same and
//!   compares: the small model goes on like the large one in one answer of ten. Routers that follow the auditor then
//!   take its answers to cost and to last four times as much.

use fedai_protocol::UnixMicros;

use super::{Adversary, seat_behaves};
use crate::conduct::NodeConduct;
use crate::workload::prompt::Prompt;

/// The entry of the table.
pub const ADVERSARY: Adversary = Adversary {
    name: "cheaper-model",
    does: "answers with a model of a quarter of the work",
    hopes: "a quarter of the cost at the full price, and a faster look",
    met_by: "nothing without audits; with them: continuations that differ from the other nodes'",
    two_routers: false,
    is_audited: true,
    cast: |_, hooks| seat_behaves(hooks, CheaperModel),
};

/// Answers with something smaller.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheaperModel;

impl NodeConduct for CheaperModel {
    fn work_permille(&mut self, _now: UnixMicros) -> u64 {
        WORK_PERMILLE
    }

    fn answers(&mut self, _now: UnixMicros, asked: Prompt) -> Prompt {
        let mixed = (asked.job as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let is_alike = mixed.is_multiple_of(ALIKE_ONE_IN);
        Prompt { job: asked.job.wrapping_add(usize::from(!is_alike)), ..asked }
    }
}

/// One answer in so many is the same as that of the large model.
const ALIKE_ONE_IN: u64 = 10;

/// Work of the small model, in thousandths of the large one's.
pub const WORK_PERMILLE: u64 = 250;
