//! What whoever runs a world can put into it beside the scenario: strategies, cheats, and eyes that see everything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use fedai_protocol::{PublicKey, UnixMicros};
use fedai_router_agent::core::scheduler::Scheduler;

use crate::conduct::{ClientConduct, NodeConduct, RelayConduct, RouterConduct};
use crate::market::PriceStrategy;
use crate::runner::RunnerProfile;

/// Makes the strategy of a router, at each of its starts. The number is the router's, the oracle knows the truth.
pub type SchedulerOf = Arc<dyn Fn(usize, &OracleHandle) -> Box<dyn Scheduler> + Send + Sync>;

/// The additions of a run. Nothing of them is in a report unless the caller puts it there.
#[derive(Default)]
pub struct Hooks {
    /// Strategy of the routers; the production one when missing.
    pub scheduler: Option<SchedulerOf>,
    /// True when the oracle has to be kept: it costs a little with every event of a node.
    pub wants_oracle: bool,
    /// Dishonest nodes.
    pub nodes: BTreeMap<usize, Box<dyn NodeConduct>>,
    /// Dishonest routers.
    pub routers: BTreeMap<usize, Box<dyn RouterConduct>>,
    /// All clients, when they are dishonest.
    pub clients: Option<Box<dyn ClientConduct>>,
    /// The relays, when they are.
    pub relays: Option<Box<dyn RelayConduct>>,
    /// How nodes set their prices; those that are missing keep theirs.
    pub prices: BTreeMap<usize, Box<dyn PriceStrategy>>,
}

/// Handed to strategies that may know everything.
pub type OracleHandle = Arc<Mutex<Oracle>>;

/// The true state of every node, now.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    nodes: BTreeMap<PublicKey, Truth>,
}

/// The true state of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth {
    /// Its number.
    pub index: usize,
    /// Jobs on its runner.
    pub running: u32,
    /// Jobs that wait, at the node or in its runner.
    pub queued: u32,
    /// The last event of the node: the rest is as of then.
    pub at: UnixMicros,
    /// How long the runner would take for what it has, in microseconds.
    pub remaining_micros: u64,
    /// Its runner.
    pub profile: RunnerProfile,
    /// False while its process is dead.
    pub is_up: bool,
}

impl Oracle {
    /// The state of a node.
    #[must_use]
    pub fn of(&self, node: &PublicKey) -> Option<&Truth> {
        self.nodes.get(node)
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = (&PublicKey, &Truth)> {
        self.nodes.iter()
    }

    pub(crate) fn set(&mut self, node: PublicKey, truth: Truth) {
        self.nodes.insert(node, truth);
    }
}
