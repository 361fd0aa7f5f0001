//! What an auditor of a world does, and what came of it: a client with a budget of its own that sends the same prompts
//! to every node, judges the answers as `fedai audit` does, and publishes what it found.

use std::collections::BTreeMap;

use crate::chance::Chance;
use crate::workload::prompt::Prompt;

/// How often it looks, and how closely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditPlan {
    /// From one audit to the next, in seconds.
    pub every_seconds: u64,
    /// Prompts of an audit: each goes to every node.
    pub canaries: u32,
}

impl AuditPlan {
    /// An audit in so many days, each of as many jobs for a node as find most substitutes.
    #[must_use]
    pub const fn every_days(days: u64) -> Self {
        Self { every_seconds: days.saturating_mul(86_400), canaries: CANARIES }
    }

    /// The prompts of an audit: as long and as short as everybody's, and never the same again.
    pub(crate) fn write(&self, audit: u64, chance: &mut Chance) -> Vec<Prompt> {
        let number =
            |n: u32| usize::try_from(audit).unwrap_or(0).saturating_mul(CONTENTS_OF_AN_AUDIT) + n as usize;
        let mut one = |n: u32| {
            // Lengths are spread evenly and then shaken, as those of the production audit.
            let even = PROMPT_TOKENS.0
                + (PROMPT_TOKENS.1 - PROMPT_TOKENS.0) * u64::from(n) / u64::from(self.canaries.max(1));
            let tokens = even.saturating_add(chance.between(0, 9));
            let words = chance.between(WORDS.0, WORDS.1);
            Prompt { job: FIRST_CONTENT.saturating_add(number(n)), words, bytes: tokens.saturating_mul(4) }
        };
        (0..self.canaries).map(&mut one).collect()
    }
}

/// What came of the audits of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditLog {
    /// Audits that were judged.
    pub audits: u64,
    /// Canaries that were answered.
    pub answered: u64,
    /// What they cost, fees included, in msat.
    pub spent_msat: u64,
    /// When each node was called an outlier first, in seconds of the run.
    pub found_seconds: BTreeMap<usize, u64>,
}

/// Three of four substitutes show in so many.
const CANARIES: u32 = 6;
/// Numbers of contents for one audit.
const CONTENTS_OF_AN_AUDIT: usize = 1_000;
/// Far above the numbers of jobs.
const FIRST_CONTENT: usize = 1 << 40;
/// As most prompts and answers of the adversaries' stage.
const PROMPT_TOKENS: (u64, u64) = (20, 120);
const WORDS: (u64, u64) = (10, 30);
