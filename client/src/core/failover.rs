//! What comes after a node that did not deliver: the next fallback under the same ticket, then a new quote without the
//! nodes that failed, a bounded number of times. A refusal that no other node would give differently ends the job.

use std::collections::BTreeSet;

use fedai_protocol::{PublicKey, Refusal, RefusalCode, UnixSeconds};

use super::job_spec::JourneyTiming;
use super::quote_check::Ticket;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Open at this node of the ticket.
    Node(usize),
    /// Ask for a new quote after so many milliseconds.
    Quote {
        /// Wait.
        wait_ms: u64,
    },
    /// Nothing is left to try.
    End,
}

/// Memory of one job's failures.
#[derive(Clone, Debug, Default)]
pub struct Failover {
    failed: BTreeSet<PublicKey>,
    busy: BTreeSet<PublicKey>,
    /// Nodes of the ticket that turned the job away, and by how much the wait there is longer than was accepted.
    turned_away: Vec<(PublicKey, u64)>,
    went_back: bool,
    retry_after_ms: Option<u64>,
    attempts: u32,
    rounds: u32,
    is_final: bool,
}

/// True when the same party may well say yes a little later.
#[must_use]
pub const fn is_retryable(refusal: &Refusal) -> bool {
    matches!(refusal.code, RefusalCode::Busy | RefusalCode::RateLimited) || refusal.retry_after_ms.is_some()
}

impl Failover {
    /// Nodes that are not asked again in this job.
    pub fn avoided(&self) -> impl Iterator<Item = PublicKey> + '_ {
        self.failed.iter().copied()
    }

    /// An attempt begins.
    pub fn count_attempt(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
    }

    /// A round of quotes begins.
    pub fn count_round(&mut self) {
        self.rounds = self.rounds.saturating_add(1);
        self.busy.clear();
        self.turned_away.clear();
        self.went_back = false;
    }

    /// A node said at once that the wait there is longer than was accepted. When all of them say so, whoever is the
    /// least over it is asked again, and then any wait is accepted.
    pub fn node_turned_away(&mut self, node: PublicKey, refusal: &Refusal) {
        self.turned_away.push((node, refusal.retry_after_ms.unwrap_or(u64::MAX)));
        self.node_failed(node, refusal);
    }

    /// Nodes that turned the job away under the present ticket.
    #[must_use]
    pub fn who_turned_away(&self) -> Vec<PublicKey> {
        self.turned_away.iter().map(|(node, _)| *node).collect()
    }

    /// True when it is this node's first word that counts: it has not turned the job away.
    #[must_use]
    pub fn may_turn_away(&self, node: &PublicKey) -> bool {
        self.turned_away.iter().all(|(other, _)| other != node)
    }

    /// A node did not deliver.
    pub fn node_failed(&mut self, node: PublicKey, refusal: &Refusal) {
        if matches!(refusal.code, RefusalCode::Busy | RefusalCode::RateLimited) {
            self.busy.insert(node);
            let wait = refusal.retry_after_ms.unwrap_or(500);
            self.retry_after_ms = Some(self.retry_after_ms.map_or(wait, |known| known.min(wait)));
        } else {
            self.failed.insert(node);
        }
        self.is_final |= !refusal.code.is_worth_another_node();
    }

    /// A second attempt beside a first one failed: its node is not tried again, and nothing is final.
    pub fn rival_failed(&mut self, node: PublicKey, refusal: &Refusal) {
        if matches!(refusal.code, RefusalCode::Busy | RefusalCode::RateLimited) {
            self.busy.insert(node);
        } else {
            self.failed.insert(node);
        }
    }

    /// True when the node was not found to have failed or to be busy.
    #[must_use]
    pub fn is_usable(&self, node: &PublicKey) -> bool {
        !self.failed.contains(node) && !self.busy.contains(node)
    }

    /// True when one more node may be tried.
    #[must_use]
    pub const fn may_attempt(&self, timing: &JourneyTiming) -> bool {
        self.attempts < timing.attempts_max
    }

    /// A router said no; true codes of load are worth a later try.
    pub fn router_refused(&mut self, refusal: &Refusal) {
        if is_retryable(refusal) {
            self.retry_after_ms = Some(refusal.retry_after_ms.unwrap_or(500));
        } else {
            self.is_final = true;
        }
    }

    /// Rounds of quotes so far.
    #[must_use]
    pub const fn rounds(&self) -> u32 {
        self.rounds
    }

    /// What to do now.
    #[must_use]
    pub fn next_step(&self, ticket: Option<&Ticket>, now: UnixSeconds, timing: &JourneyTiming) -> NextStep {
        if self.is_final || self.attempts >= timing.attempts_max {
            return NextStep::End;
        }
        if let Some(ticket) = ticket.filter(|ticket| ticket.dispatch.expires_at > now) {
            let next = ticket
                .nodes
                .iter()
                .position(|node| self.is_usable(&node.node) && node.descriptor.message.is_live(now));
            if let Some(index) = next.or_else(|| self.way_back(ticket)) {
                return NextStep::Node(index);
            }
        }
        if self.rounds >= timing.rounds_max {
            return NextStep::End;
        }
        let wait_ms = self.retry_after_ms.unwrap_or(0);
        if wait_ms > timing.retry_wait_max_ms { NextStep::End } else { NextStep::Quote { wait_ms } }
    }

    /// The node of the ticket that is the least over the wait that was accepted, when the job was not there again yet.
    fn way_back(&self, ticket: &Ticket) -> Option<usize> {
        let least = self.turned_away.iter().filter(|_| !self.went_back).min_by_key(|(_, over)| *over)?;
        ticket.nodes.iter().position(|node| node.node == least.0)
    }

    /// An attempt at a node of the ticket begins.
    pub fn opens_at(&mut self, node: &PublicKey) {
        self.went_back |= !self.may_turn_away(node);
    }

    /// The wait was honoured.
    pub fn waited(&mut self) {
        self.retry_after_ms = None;
    }
}
