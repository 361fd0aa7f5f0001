//! The formula of the TypeScript fed_AI: the greatest `-price - load/max - latency/1000 + 0.01*trust`, all of it as the
//! node announces, with the units that it comes in: price in sat per thousand tokens, latency in milliseconds.
//!
//! Three failures in a row rest a node for 30 s, and up to four times as long when it goes on.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use fedai_protocol::{PublicKey, UnixMicros};
use fedai_router_agent::core::candidate::CandidateView;
use fedai_router_agent::core::node_view::Observation;
use fedai_router_agent::core::scheduler::{Case, Decision, NoCandidate, Scheduler, Scratch};

use super::Claims;
use super::order::{decide, sort_by_key};
use crate::hooks::OracleHandle;

/// The strategy.
#[derive(Clone, Debug)]
pub struct FedaiTs {
    claims: Claims,
    /// Which number a node has; nothing else of what it knows is used.
    oracle: OracleHandle,
    failures: BTreeMap<PublicKey, (u32, UnixMicros)>,
}

impl FedaiTs {
    /// With what nodes claim of their latency.
    #[must_use]
    pub const fn new(claims: Claims, oracle: OracleHandle) -> Self {
        Self { claims, oracle, failures: BTreeMap::new() }
    }

    fn score(&self, row: &CandidateView) -> f64 {
        // A msat per token is a sat per thousand tokens.
        let price = f64::midpoint(row.input_price, row.output_price);
        let load = f64::from(row.load_jobs) / f64::from(row.facts.slots.max(1));
        let oracle = self.oracle.lock().unwrap_or_else(PoisonError::into_inner);
        let number = oracle.of(&row.node).map_or(usize::MAX, |truth| truth.index);
        let latency = self.claims.latency_ms(number) / 1_000.0;
        -price - load - latency + 0.01 * (row.trust * 100.0)
    }
}

impl Scheduler for FedaiTs {
    fn plan(&mut self, case: &Case<'_>, scratch: &mut Scratch) -> Result<Decision, NoCandidate> {
        decide(case, "fedai-ts", scratch, |seats, _| {
            sort_by_key(seats, |row| match self.failures.get(&row.node) {
                Some((_, until)) if *until > case.now => f64::MAX,
                _ => -self.score(row),
            });
        })
    }

    fn observed(&mut self, _now: UnixMicros, node: &PublicKey, _model: &str, _seen: &Observation) {
        self.failures.remove(node);
    }

    fn failed(&mut self, now: UnixMicros, node: &PublicKey, _model: &str, _busy: bool) {
        let (count, until) = self.failures.entry(*node).or_default();
        *count = count.saturating_add(1);
        if *count >= FAILURES {
            *until = now.plus_seconds(REST_SECONDS * u64::from((*count - FAILURES + 1).min(4)));
        }
    }
}

/// In a row, before a node rests.
const FAILURES: u32 = 3;
/// The first rest.
const REST_SECONDS: u64 = 30;
