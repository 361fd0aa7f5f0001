//! The faults of one run: which kinds, whom they befall, when and how badly, all drawn from the seed before it begins.
//!
//! Each run has a random part of the kinds (a swarm: what one kind covers up, another run shows). After `calm_at`
//! nothing is broken any more, and the network has to recover by itself.

use std::collections::BTreeSet;

use fedai_protocol::UnixMicros;

use super::FaultKind;
use super::kind::{Befalls, FaultRow};
use super::table::FAULTS;
use crate::chance::Chance;
use crate::world::Party;

/// Whom a fault befalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whom {
    /// Everybody.
    Network,
    /// A relay.
    Relay(usize),
    /// A router, node or client.
    Party(Party),
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its number in the plan.
    pub id: u32,
    /// Kind.
    pub kind: FaultKind,
    /// Whom it befalls.
    pub whom: Whom,
    /// When it begins.
    pub at: UnixMicros,
    /// When it is over.
    pub until: UnixMicros,
    /// How bad it is, in the unit of its kind.
    pub size: u64,
}

/// All faults of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    /// The faults.
    pub faults: Vec<Fault>,
    /// When all of them are over.
    pub calm_at: UnixMicros,
}

/// Who there is to be befallen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Befallen {
    /// Relays.
    pub relays: usize,
    /// Routers.
    pub routers: usize,
    /// Nodes.
    pub nodes: usize,
    /// Jobs that may be befallen: the first ones.
    pub clients: usize,
}

impl FaultPlan {
    /// Nothing goes wrong.
    #[must_use]
    pub const fn none() -> Self {
        Self { faults: Vec::new(), calm_at: UnixMicros(0) }
    }

    /// Draws a part of all kinds, each several times.
    #[must_use]
    pub fn draw(fleet: Befallen, begin: UnixMicros, calm_at: UnixMicros, chance: &mut Chance) -> Self {
        let breadth = chance.between(50, 400);
        let kinds: Vec<FaultKind> =
            FAULTS.iter().filter(|_| chance.happens(breadth)).map(|row| row.kind).collect();
        Self::of_kinds(&kinds, fleet, begin, calm_at, chance)
    }

    /// Draws faults of these kinds.
    #[must_use]
    pub fn of_kinds(
        kinds: &[FaultKind],
        fleet: Befallen,
        begin: UnixMicros,
        calm_at: UnixMicros,
        chance: &mut Chance,
    ) -> Self {
        let mut plan = Self { faults: Vec::new(), calm_at };
        for kind in kinds {
            for _ in 0..chance.between(1, FAULTS_OF_KIND_MAX) {
                let id = u32::try_from(plan.faults.len()).unwrap_or(u32::MAX);
                plan.faults.extend(draw_one(id, kind.row(), fleet, begin, calm_at, chance));
            }
        }
        plan
    }

    /// True when nothing goes wrong.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.faults.is_empty()
    }

    /// True when a fault of this kind is planned.
    #[must_use]
    pub fn has(&self, kind: FaultKind) -> bool {
        self.faults.iter().any(|fault| fault.kind == kind)
    }

    /// The parties that lie at some time in this run. Nothing is promised to them, and nobody answers for them.
    #[must_use]
    pub fn dishonest(&self) -> BTreeSet<Whom> {
        let lies = self.faults.iter().filter(|fault| fault.kind.row().befalls.is_dishonest());
        lies.map(|fault| fault.whom).collect()
    }
}

fn draw_one(
    id: u32,
    row: &FaultRow,
    fleet: Befallen,
    begin: UnixMicros,
    calm_at: UnixMicros,
    chance: &mut Chance,
) -> Option<Fault> {
    let at = begin.plus(chance.between(0, calm_at.since(begin)));
    let until = at.plus_millis(chance.between(row.lasts_ms.0, row.lasts_ms.1)).min(calm_at);
    let size = chance.between(row.size.0, row.size.1);
    let whom = draw_whom(row.befalls, fleet, chance)?;
    (at < until).then_some(Fault { id, kind: row.kind, whom, at, until, size })
}

fn draw_whom(befalls: Befalls, fleet: Befallen, chance: &mut Chance) -> Option<Whom> {
    let Befallen { relays, routers, nodes, clients } = fleet;
    let mut any = |from: usize, below: usize| {
        let number = chance.between(from as u64, (below as u64).saturating_sub(1).max(from as u64));
        usize::try_from(number).unwrap_or(0)
    };
    let but_first = |of: usize| usize::from(of > 1);
    Some(match befalls {
        Befalls::Network => Whom::Network,
        Befalls::Relay => Whom::Relay(any(0, relays)),
        Befalls::LyingRelay if relays < 2 => return None,
        Befalls::LyingRelay => Whom::Relay(any(1, relays)),
        Befalls::Router => Whom::Party(Party::router(any(0, routers))),
        Befalls::LyingRouter => Whom::Party(Party::router(any(but_first(routers), routers))),
        Befalls::Node => Whom::Party(Party::Node(any(0, nodes))),
        Befalls::LyingNode => Whom::Party(Party::Node(any(but_first(nodes), nodes))),
        Befalls::LyingClient => Whom::Party(Party::Client(any(0, clients))),
        Befalls::Party => {
            let number = any(0, routers.saturating_add(nodes).saturating_add(clients));
            Whom::Party(
                match (number.checked_sub(routers), number.checked_sub(routers.saturating_add(nodes))) {
                    (_, Some(client)) => Party::Client(client),
                    (Some(node), None) => Party::Node(node),
                    (None, None) => Party::router(number),
                },
            )
        }
    })
}

/// Faults of one kind in a run.
const FAULTS_OF_KIND_MAX: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Stream;

    #[test]
    fn every_fault_is_over_by_the_calm_and_one_of_each_role_stays_honest() {
        let fleet = Befallen { relays: 3, routers: 1, nodes: 3, clients: 4 };
        let mut kinds = BTreeSet::new();
        for seed in 0..300 {
            let (begin, calm) = (UnixMicros(1_000), UnixMicros(20_000_000));
            let plan = FaultPlan::draw(fleet, begin, calm, &mut Chance::new(seed, Stream::Faults));
            assert!(plan.faults.iter().all(|one| one.at >= begin && one.at < one.until && one.until <= calm));
            let dishonest = plan.dishonest();
            for honest in [Whom::Relay(0), Whom::Party(Party::Node(0))] {
                assert!(!dishonest.contains(&honest), "{plan:?}");
            }
            kinds.extend(plan.faults.iter().map(|fault| fault.kind));
        }
        assert_eq!(kinds.len(), FAULTS.len(), "{kinds:?}");
    }

    #[test]
    fn alone_a_node_may_lie_and_a_relay_may_not() {
        let fleet = Befallen { relays: 1, routers: 1, nodes: 1, clients: 1 };
        let chance = &mut Chance::new(1, Stream::Faults);
        assert_eq!(draw_whom(Befalls::LyingNode, fleet, chance), Some(Whom::Party(Party::Node(0))));
        assert_eq!(draw_whom(Befalls::LyingRelay, fleet, chance), None);
    }
}
