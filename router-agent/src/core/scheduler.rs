//! Who decides. [`Scheduler`] is the one place where strategies differ: all of them judge the same candidates, and a
//! [`Sitting`] filters before them and writes the decision and its record after them.
//!
//! The production strategy is [`CapacityP2c`]. [`plan`] is its pure function: the same time, seed, request, policy and
//! candidates give the same decision, byte for byte, in whatever order the candidates came.

use core::fmt::Debug;

use fedai_protocol::{PublicKey, UnixMicros};

use super::candidate::Fleet;
use super::node_view::Observation;
use super::policy::Policy;
use super::two_choices::draw;

pub use super::decision::{Asked, Choice, Decision, NoCandidate};
pub use super::sitting::{Place, Scratch, Sitting};

/// Name and version of the production strategy, as decision records carry it.
pub const STRATEGY: &str = "capacity-p2c/3";

/// What a strategy decides about, when, and among whom.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// Now.
    pub now: UnixMicros,
    /// The whole randomness of the decision.
    pub seed: u64,
    /// The request.
    pub asked: &'a Asked<'a>,
    /// Parameters.
    pub policy: &'a Policy,
    /// The candidates.
    pub fleets: &'a [&'a Fleet],
}

/// A strategy. It may remember what it is told of; the router keeps the registry, the filters and the records.
pub trait Scheduler: Debug + Send {
    /// Decides.
    fn plan(&mut self, case: &Case<'_>, scratch: &mut Scratch) -> Result<Decision, NoCandidate>;

    /// A job came back, as its client saw it.
    fn observed(&mut self, now: UnixMicros, node: &PublicKey, model: &str, seen: &Observation) {
        let _ = (now, node, model, seen);
    }

    /// A job was sent to a node.
    fn sent(&mut self, now: UnixMicros, node: &PublicKey, model: &str) {
        let _ = (now, node, model);
    }

    /// A job that was sent is over, however it ended.
    fn ended(&mut self, now: UnixMicros, node: &PublicKey, model: &str) {
        let _ = (now, node, model);
    }

    /// A node did not serve; `busy` when it said beforehand that it is full.
    fn failed(&mut self, now: UnixMicros, node: &PublicKey, model: &str, busy: bool) {
        let _ = (now, node, model, busy);
    }
}

/// The production strategy: what it knows is in the candidates, so it remembers nothing itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapacityP2c;

impl Scheduler for CapacityP2c {
    fn plan(&mut self, case: &Case<'_>, scratch: &mut Scratch) -> Result<Decision, NoCandidate> {
        plan(case.now, case.seed, case.asked, case.policy, case.fleets, scratch)
    }
}

/// Decides by a few capacity-weighted choices. `seed` is the whole randomness of the decision.
pub fn plan(
    now: UnixMicros,
    seed: u64,
    asked: &Asked<'_>,
    policy: &Policy,
    fleets: &[&Fleet],
    scratch: &mut Scratch,
) -> Result<Decision, NoCandidate> {
    let mut sitting = Sitting::open(now, asked, policy, fleets, scratch)?;
    let drawn = draw(seed, &mut sitting);
    Ok(sitting.close(seed, STRATEGY, &drawn))
}
