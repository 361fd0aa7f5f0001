//! Who lives in a world.

use fedai_protocol::PublicKey;

use super::faulting;
use crate::client_actor::{ClientActor, MaybeDishonest};
use crate::id_map::IdMap;
use crate::node_actor::NodeActor;
use crate::router_actor::RouterActor;
use crate::scenario::{START, Scenario};
use crate::wire::Mint;
use crate::workload::JobBlocks;

/// Somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A router.
    Router(usize),
    /// A node.
    Node(usize),
    /// The client of a job.
    Client(usize),
}

impl Party {
    /// A router by its number.
    #[must_use]
    pub const fn router(number: usize) -> Self {
        Self::Router(number)
    }

    /// A number for halving the world: parties of all roles are on both sides.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Router(0) => 0,
            Self::Router(number) => u64::MAX - number as u64,
            Self::Node(index) => (index as u64).saturating_add(1),
            Self::Client(job) => (job as u64).saturating_add(4),
        }
    }
}

/// All of them.
pub(super) struct Parties {
    pub(super) routers: Vec<RouterActor>,
    pub(super) nodes: Vec<NodeActor>,
    pub(super) clients: IdMap<usize, Box<ClientActor>>,
    pub(super) client_conduct: MaybeDishonest,
}

impl Parties {
    pub(super) fn new(scenario: &Scenario, mint: &mut Mint) -> Self {
        let routers = scenario.routers.iter();
        let routers = routers.map(|spec| RouterActor::new(START, spec, &scenario.terms, mint)).collect();
        let nodes = scenario.nodes.iter().chain(faulting::sybils(scenario)).enumerate();
        let spans = scenario.arrivals.iter().map(|arrival| arrival.blocks);
        let blocks = JobBlocks::new(scenario.blocks.clone(), spans);
        let node = |(index, spec)| {
            NodeActor::new(index, spec, &scenario.terms, START, mint).with_blocks(blocks.clone())
        };
        let nodes = nodes.map(node).collect();
        Self { routers, nodes, clients: IdMap::default(), client_conduct: None }
    }
}

/// Which node had which key.
#[derive(Debug, Default)]
pub(super) struct Owners(IdMap<PublicKey, usize>);

impl Owners {
    pub(super) fn learn(&mut self, nodes: &[NodeActor]) {
        self.0.extend(nodes.iter().map(|node| (node.identity(), node.index())));
    }

    pub(super) fn note(&mut self, key: PublicKey, node: usize) {
        self.0.insert(key, node);
    }

    pub(super) fn of(&self, key: &PublicKey) -> Option<usize> {
        self.0.get(key).copied()
    }
}
