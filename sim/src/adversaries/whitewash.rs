//! Whitewashing: cheats under a name until it is known for it, then takes another name.
//!
//! - What it does: counts twice the tokens where the ticket allows it, and throws its identity away after 150 jobs.
//! - What it hopes to gain: the income of a cheat with the record of a newcomer.
//! - What meets it: a newcomer has no record, the lowest score, and shares one small part of the draw with all other
//!   newcomers, so what a name earned is lost with it; and the over-count is part of the price from the first jobs
//!   on.

use fedai_protocol::UnixMicros;

use super::{Adversary, seat_behaves};
use fedai_node_agent::core::metering::ReportedUsage;

use crate::conduct::NodeConduct;

/// The entry of the table.
pub const ADVERSARY: Adversary = Adversary {
    name: "whitewash",
    does: "counts double, and takes another name every 150 jobs",
    hopes: "the income of a cheat with the record of a newcomer",
    met_by: "router: a newcomer has the lowest score and shares a small part of the draw",
    two_routers: false,
    is_audited: false,
    cast: |_, hooks| seat_behaves(hooks, Whitewash::default()),
};

/// Cheats and changes its name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Whitewash {
    jobs: u64,
}

impl NodeConduct for Whitewash {
    fn usage(&mut self, _now: UnixMicros, usage: &mut ReportedUsage) {
        self.jobs = self.jobs.saturating_add(1);
        usage.input_tokens = usage.input_tokens.saturating_mul(2);
        usage.output_tokens = usage.output_tokens.saturating_mul(2);
    }

    fn sheds_identity(&mut self, _now: UnixMicros) -> bool {
        let sheds = self.jobs >= JOBS_OF_A_NAME;
        if sheds {
            self.jobs = 0;
        }
        sheds
    }
}

/// Jobs under one name.
const JOBS_OF_A_NAME: u64 = 150;
