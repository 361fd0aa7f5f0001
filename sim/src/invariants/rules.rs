//! Invariants that need no books: one look at one state.

use fedai_node_agent::core::NodeQueues;
use fedai_node_agent::core::policy::JobLimits;

use super::{Check, ensure};
use crate::money::Accounts;
use crate::world::Party;

/// A node's queues, after it was touched. `on_runner` is what the runner has.
pub fn queues(state: &NodeQueues, limits: &JobLimits, on_runner: usize) -> Check {
    let text = || format!("{state:?}, {on_runner} on the runner");
    let slots = usize::try_from(state.slots).unwrap_or(usize::MAX);
    ensure(state.running <= slots, "queues_within_limits", text)?;
    ensure(state.queued <= limits.queue_max, "queues_within_limits", text)?;
    ensure(
        state.open <= limits.jobs_max && state.running + state.queued <= state.open,
        "queues_within_limits",
        text,
    )?;
    ensure(state.running == on_runner, "queues_within_limits", text)
}

/// What was paid has arrived.
pub fn money(is_balanced: bool, accounts: &Accounts) -> Check {
    ensure(is_balanced, "money", || format!("{accounts:?}"))
}

/// An event came again that the party had acted on: its state is the same, and it did nothing that is done once.
pub fn second_arrival(party: Party, kind: u16, is_same: bool, is_news: bool) -> Check {
    ensure(is_same && !is_news, "second_arrival_changes_nothing", || {
        let what = if is_same { "acted again on" } else { "is changed by the second arrival of" };
        format!("{party:?} {what} an event of kind {kind}")
    })
}
