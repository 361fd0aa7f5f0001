//! Token over-count: a third more tokens than there were, within everything that a client can check.
//!
//! - What it does: says 1.35 times the tokens of prompt and answer, never more than the ticket allows.
//! - What it hopes to gain: a third more income for the same work; and since speed is measured in its own tokens, a
//!   faster look.
//! - What meets it: bounds by bytes and by the ticket stop the crude cases only. The router compares the tokens that
//!   nodes count for the bytes that clients verified with the fleet's usual number: what a node counts on top is
//!   part of its price, and no token of it makes it faster. Audits compare counts, too.

use fedai_protocol::UnixMicros;

use super::{Adversary, seat_behaves};
use fedai_node_agent::core::metering::ReportedUsage;

use crate::conduct::NodeConduct;

/// The entry of the table.
pub const ADVERSARY: Adversary = Adversary {
    name: "token-overcount",
    does: "says 1.35 times the tokens, within every bound that a client can check",
    hopes: "a third more income, and a faster look",
    met_by: "router: what it counts beyond its fleet is a higher price, not a higher speed; audits compare counts",
    two_routers: false,
    is_audited: true,
    cast: |_, hooks| seat_behaves(hooks, TokenOvercount),
};

/// Counts too many.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenOvercount;

impl NodeConduct for TokenOvercount {
    fn usage(&mut self, _now: UnixMicros, usage: &mut ReportedUsage) {
        let more = |tokens: u64| tokens.saturating_mul(135).div_ceil(100);
        usage.input_tokens = more(usage.input_tokens);
        usage.output_tokens = more(usage.output_tokens);
    }
}
