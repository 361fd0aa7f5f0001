//! Adversaries: one file each, and the instrument that weighs each of them against its honest twin.
//!
//! A cheat bypasses only its own core, through [`crate::conduct`]. What it meets are the production cores of the
//! others, nothing else. [`ADVERSARIES`] is the table; [`experiment`] runs each one in the world of its honest
//! twin, with the same seeds, hardware, prices and customers, once honest and once cheating.

pub mod audited;
pub mod black_hole;
pub mod cheaper_model;
pub mod double_assign;
pub mod experiment;
pub mod finding;
pub mod load_liar;
pub mod lying_relay;
pub mod page;
pub mod price_bait;
pub mod receipt_replay;
pub mod slander;
pub mod speed_liar;
pub mod stage;
pub mod stall;
pub mod sybil_swarm;
pub mod token_overcount;
pub mod whitewash;

use crate::conduct::NodeConduct;
use crate::hooks::Hooks;
use crate::scenario::Scenario;

/// A kind of cheat.
#[derive(Clone, Copy)]
pub struct Adversary {
    /// Name on the command line and in reports.
    pub name: &'static str,
    /// What it does.
    pub does: &'static str,
    /// What it hopes to gain.
    pub hopes: &'static str,
    /// Which defence of which core meets it.
    pub met_by: &'static str,
    /// True when its world has a second, honest router that every client asks as well; then so has its twin's.
    pub two_routers: bool,
    /// True when audits are what is left against it: it is weighed with them, too.
    pub is_audited: bool,
    /// Puts it into a world and names who gains.
    pub cast: fn(&mut Scenario, &mut Hooks) -> Beneficiaries,
}

/// Whose money is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beneficiaries {
    /// Nodes.
    pub nodes: Vec<usize>,
    /// Routers.
    pub routers: Vec<usize>,
}

impl Beneficiaries {
    /// The node in the adversary's seat alone.
    #[must_use]
    pub fn seat() -> Self {
        Self { nodes: vec![SEAT], routers: Vec::new() }
    }
}

impl core::fmt::Debug for Adversary {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name)
    }
}

/// The node that cheats, or whose friend does.
pub const SEAT: usize = 0;

fn seat_behaves(hooks: &mut Hooks, conduct: impl NodeConduct + 'static) -> Beneficiaries {
    hooks.nodes.insert(SEAT, Box::new(conduct));
    Beneficiaries::seat()
}

/// All of them.
pub const ADVERSARIES: [Adversary; 13] = [
    load_liar::ADVERSARY,
    speed_liar::ADVERSARY,
    price_bait::ADVERSARY,
    token_overcount::ADVERSARY,
    cheaper_model::ADVERSARY,
    stall::ADVERSARY,
    black_hole::ADVERSARY,
    sybil_swarm::ADVERSARY,
    whitewash::ADVERSARY,
    slander::ADVERSARY,
    receipt_replay::ADVERSARY,
    double_assign::ADVERSARY,
    lying_relay::ADVERSARY,
];

/// The adversary with this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Adversary> {
    ADVERSARIES.iter().find(|adversary| adversary.name == name)
}
