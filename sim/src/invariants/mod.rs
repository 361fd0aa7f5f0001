//! What must hold in every world, after every event, whatever goes wrong. It is promised to honest parties only.
//!
//! The watcher sees facts, never the insides of a core beyond its public state, and keeps its own plain books: a map
//! and a sum where a core has a clever structure. The first fact that does not fit ends the run.

mod rules;
mod sums;
mod watcher;

use fedai_protocol::UnixMicros;

pub use self::rules::{money, queues, second_arrival};
pub use self::sums::Sums;
pub use self::watcher::Watcher;

/// Names and meanings of the invariants.
pub const INVARIANTS: [(&str, &str); 23] = [
    ("money", "what clients paid is what nodes and routers earned, and nobody paid more than was accepted"),
    ("conservation", "requests that came = done + refused + left without a word + still open"),
    ("one_receipt_per_job", "no job id has two receipts of honest nodes, over all crashes and repeats"),
    (
        "one_charge_per_job",
        "a client accepts one receipt for a whole answer, however often its job was assigned",
    ),
    ("one_run_per_job", "a node runs a job once in a life, and nothing that its ticket has no use for"),
    ("receipt_chain", "receipts of a node are numbered without a gap and name their predecessor"),
    ("fork_is_evidence", "a fork of a node's chain that a router has heard of is brought up by it"),
    (
        "charge_within_quote",
        "nobody accepts a receipt above the node's part of the quote or the quote's ceiling",
    ),
    ("overcharge_is_refused", "nobody accepts a receipt that counts more than its job and its ticket allow"),
    ("altered_price_is_caught", "nobody opens a job under a ticket whose price is not the node's"),
    ("sums_agree", "what clients accepted is on nodes' disks, and the router's sums are those of the disks"),
    ("durable_before_told", "a client never sees a receipt that is not on the node's disk"),
    ("honest_is_not_accused", "no honest receipt is disputed by its client or brought up by the router"),
    (
        "restart_is_the_same",
        "a router that read its journal has the tickets, sums and trust that it had when it died",
    ),
    ("second_arrival_changes_nothing", "an event that was acted on changes nothing when it comes again"),
    ("whole_answers", "an answer of honest nodes is complete, in order, and nothing in it came twice"),
    ("causality", "nothing comes before its cause or after its end; the clock never runs back"),
    (
        "queues_within_limits",
        "slots, queue and open jobs of a node are within its limits, and it knows its runner's load",
    ),
    (
        "sealed_on_relays",
        "what relays carry is sealed or public by its kind, without a word of prompt or output",
    ),
    ("nothing_injected_is_accepted", "what a relay made up passes no door: signature, time, subscription"),
    ("unpaid_work_is_bounded", "a node that lost its client is idle again within its patience"),
    (
        "newcomers_share_is_bounded",
        "fresh identities together get a bounded part of the jobs, however many they are",
    ),
    ("every_job_ends", "each job ends once and in time, and succeeds when all faults were over long before"),
];

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invariant `{invariant}` does not hold at {at_ms} ms: {detail}")]
pub struct Violation {
    /// Which.
    pub invariant: &'static str,
    /// When, from the start of the run.
    pub at_ms: u64,
    /// What was found.
    pub detail: String,
}

/// The name of an invariant that does not hold, and what was found.
pub type Check = Result<(), (&'static str, String)>;

fn ensure(holds: bool, invariant: &'static str, detail: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err((invariant, detail())) }
}

/// Puts the time to a failed check.
pub fn at(now: UnixMicros, start: UnixMicros, check: Check) -> Result<(), Violation> {
    check.map_err(|(invariant, detail)| Violation { invariant, at_ms: now.millis_since(start), detail })
}
