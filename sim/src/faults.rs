//! What goes wrong, and until when: rates and times drawn from the seed before the run. After `calm_at`
//! nothing is broken any more, and the network has to recover by itself.

use fedai_protocol::UnixMicros;

use crate::chance::Chance;
use crate::relay_model::RelayFaults;

/// Kinds of faults, for people.
pub const FAULTS: [(&str, &str); 6] = [
    (
        "relay drop",
        "0-30 % of events are lost; senders of stored kinds publish again, ephemeral ones are gone",
    ),
    ("relay duplicate", "0-50 % of events arrive 2-4 times, up to 20 s later"),
    ("relay delay", "0-30 % of events are held back by up to 5 s, which also reorders them"),
    ("node crash", "process and runner are gone at any instant; it restarts from its journal of receipts"),
    (
        "router crash",
        "the router is gone for up to 5 s and comes back from its journal, its state being the same",
    ),
    ("runner hang", "no token comes for 2-20 s, jobs stay on their slots"),
];

/// Something happens to one node for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeFault {
    /// Node.
    pub node: usize,
    /// When.
    pub at: UnixMicros,
    /// Until when.
    pub until: UnixMicros,
}

/// All faults of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    /// Relays, until the calm.
    pub relay: RelayFaults,
    /// Dead processes.
    pub crashes: Vec<NodeFault>,
    /// A dead router, from and until.
    pub router: Option<(UnixMicros, UnixMicros)>,
    /// Hanging runners.
    pub hangs: Vec<NodeFault>,
    /// When all faults are over.
    pub calm_at: UnixMicros,
}

impl FaultPlan {
    /// Nothing goes wrong.
    #[must_use]
    pub fn none() -> Self {
        Self {
            relay: RelayFaults::default(),
            crashes: Vec::new(),
            router: None,
            hangs: Vec::new(),
            calm_at: UnixMicros(0),
        }
    }

    /// Draws rates and times.
    #[must_use]
    pub fn draw(nodes: usize, begin: UnixMicros, calm_at: UnixMicros, chance: &mut Chance) -> Self {
        let relay = RelayFaults {
            drop_permille: chance.between(0, 300),
            duplicate_permille: chance.between(0, 500),
            delay_permille: chance.between(0, 300),
            delay_ms_max: chance.between(0, 5_000),
        };
        let mut plan = Self { relay, crashes: Vec::new(), router: None, hangs: Vec::new(), calm_at };
        for node in 0..nodes {
            for _ in 0..chance.between(0, 2) {
                plan.crashes.extend(draw_fault(node, begin, calm_at, (500, 8_000), chance));
            }
            if chance.happens(300) {
                plan.hangs.extend(draw_fault(node, begin, calm_at, (2_000, 20_000), chance));
            }
        }
        plan
    }

    /// Adds a crash of the router, in one run of three.
    #[must_use]
    pub fn with_router_crash(mut self, begin: UnixMicros, chance: &mut Chance) -> Self {
        if chance.happens(333) {
            let fault = draw_fault(0, begin, self.calm_at, (200, 5_000), chance);
            self.router = fault.map(|fault| (fault.at, fault.until));
        }
        self
    }

    /// True when nothing goes wrong.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::none()
    }
}

fn draw_fault(
    node: usize,
    begin: UnixMicros,
    calm_at: UnixMicros,
    lasts_ms: (u64, u64),
    chance: &mut Chance,
) -> Option<NodeFault> {
    let at = begin.plus(chance.between(0, calm_at.since(begin)));
    let until = at.plus_millis(chance.between(lasts_ms.0, lasts_ms.1)).min(calm_at);
    (at < until).then_some(NodeFault { node, at, until })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Stream;

    #[test]
    fn every_fault_is_over_by_the_calm() {
        for seed in 0..200 {
            let (begin, calm) = (UnixMicros(1_000), UnixMicros(20_000_000));
            let plan = FaultPlan::draw(3, begin, calm, &mut Chance::new(seed, Stream::Faults));
            let mut all = plan.crashes.iter().chain(&plan.hangs);
            assert!(all.all(|fault| fault.at >= begin && fault.at < fault.until && fault.until <= calm));
            assert!(plan.relay.drop_permille <= 300 && plan.relay.duplicate_permille <= 500);
        }
    }
}
