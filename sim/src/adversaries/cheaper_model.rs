//! Cheaper-model substitution: a model of a quarter of the size answers under the name of the one on offer.
//!
//! - What it does: computes every job with a quarter of the work.
//! - What it hopes to gain: a quarter of the cost at the full price, and a fast look.
//! - What meets it: nothing in a single answer, and nothing in this world. Audits would: canary jobs whose answers are
//!   known and which look like any other job.

use fedai_protocol::UnixMicros;

use super::{Adversary, seat_behaves};
use crate::conduct::NodeConduct;

/// The entry of the table.
pub const ADVERSARY: Adversary = Adversary {
    name: "cheaper-model",
    does: "answers with a model of a quarter of the work",
    hopes: "a quarter of the cost at the full price, and a faster look",
    met_by: "audits only: canary jobs with known answers, evidence against its identity",
    two_routers: false,
    cast: |_, hooks| seat_behaves(hooks, CheaperModel),
};

/// Answers with something smaller.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheaperModel;

impl NodeConduct for CheaperModel {
    fn work_permille(&mut self, _now: UnixMicros) -> u64 {
        WORK_PERMILLE
    }
}

/// Work of the small model, in thousandths of the large one's.
pub const WORK_PERMILLE: u64 = 250;
