//! Nodes that come and go: failures and recovery at given mean times, nodes that flap, routers that are restarted. All
//! of it is planned before the run, as faults are.

use fedai_protocol::UnixMicros;

use crate::chance::{Chance, Stream};
use crate::faults::{Fault, FaultKind, Whom};
use crate::scenario::{START, Scenario, WARM_UP_SECONDS};
use crate::world::Party;

/// How often, and for how long. Means are of exponential times, in seconds; 0 is never.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Churn {
    /// Between two failures of a node.
    pub mtbf_seconds: f64,
    /// Until it is back.
    pub mttr_seconds: f64,
    /// Share of nodes that flap: they fail every minute or so, for a few seconds.
    pub flapping_share: f64,
    /// Between two restarts of a router.
    pub router_restart_seconds: f64,
}

impl Churn {
    /// True when nobody comes or goes.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The failures between two times, all over by the second; numbered from `first_id`.
    #[must_use]
    pub fn plan(
        &self,
        (nodes, routers): (usize, usize),
        (begin, end): (UnixMicros, UnixMicros),
        first_id: usize,
        chance: &mut Chance,
    ) -> Vec<Fault> {
        let mut faults = Vec::new();
        for node in 0..nodes {
            let flaps = chance.unit() < self.flapping_share;
            let times = if flaps { FLAP_SECONDS } else { (self.mtbf_seconds, self.mttr_seconds) };
            let whom = Whom::Party(Party::Node(node));
            fail(FaultKind::NodeCrash, whom, times, (begin, end), chance, &mut faults);
        }
        for router in 0..routers {
            let (whom, times) =
                (Whom::Party(Party::router(router)), (self.router_restart_seconds, RESTART_SECONDS));
            fail(FaultKind::RouterCrash, whom, times, (begin, end), chance, &mut faults);
        }
        faults.sort_by_key(|fault| (fault.at, fault.whom));
        for (fault, id) in faults.iter_mut().zip(first_id..) {
            fault.id = u32::try_from(id).unwrap_or(u32::MAX);
        }
        faults
    }
}

impl Scenario {
    /// The same with nodes and routers that come and go, until the last job has come.
    #[must_use]
    pub fn with_churn(mut self, churn: &Churn) -> Self {
        let begin = START.plus_seconds(WARM_UP_SECONDS);
        let last = self.arrivals.iter().map(|arrival| arrival.at).max().unwrap_or(begin);
        let end = last.plus_seconds(10).max(self.faults.calm_at);
        let parties = (self.nodes.len(), self.routers.len());
        let mut chance = Chance::new(self.seed, Stream::Churn);
        let planned = churn.plan(parties, (begin, end), self.faults.faults.len(), &mut chance);
        if !planned.is_empty() {
            self.faults.faults.extend(planned);
            self.faults.calm_at = end;
        }
        self
    }
}

fn fail(
    kind: FaultKind,
    whom: Whom,
    (between, lasts): (f64, f64),
    (begin, end): (UnixMicros, UnixMicros),
    chance: &mut Chance,
    faults: &mut Vec<Fault>,
) {
    if between <= 0.0 {
        return;
    }
    let mut at = begin;
    loop {
        at = at.plus(chance.exponential(between * 1e6).max(1));
        let until = at.plus(chance.exponential(lasts * 1e6).max(LEAST_MICROS));
        if until >= end {
            return;
        }
        faults.push(Fault { id: 0, kind, whom, at, until, size: 1 });
        at = until;
    }
}

/// Mean times of a node that flaps.
const FLAP_SECONDS: (f64, f64) = (60.0, 4.0);
/// Mean time that a router takes to come back.
const RESTART_SECONDS: f64 = 2.0;
/// A process is not back at once.
const LEAST_MICROS: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_come_at_their_rates_and_are_over_by_the_end() {
        let churn = Churn {
            mtbf_seconds: 600.0,
            mttr_seconds: 60.0,
            flapping_share: 0.0,
            router_restart_seconds: 3_600.0,
        };
        let (begin, end) = (UnixMicros(1_000), UnixMicros(86_400_000_000));
        let plan = |churn: &Churn| churn.plan((10, 1), (begin, end), 0, &mut Chance::new(3, Stream::Faults));
        let faults = plan(&churn);
        assert!(faults.iter().all(|fault| begin < fault.at && fault.at < fault.until && fault.until < end));
        assert!(faults.windows(2).all(|pair| pair[0].at <= pair[1].at && pair[0].id < pair[1].id));
        let nodes = faults.iter().filter(|fault| fault.kind == FaultKind::NodeCrash).count();
        assert!((1_150..1_450).contains(&nodes), "{nodes} failures of ten nodes in a day");
        assert!((15..35).contains(&(faults.len() - nodes)), "{} restarts", faults.len() - nodes);
        assert!(plan(&Churn { flapping_share: 1.0, ..churn }).len() > 10_000);
        assert!(plan(&Churn::default()).is_empty());
    }
}
