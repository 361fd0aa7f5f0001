//! The world: an agenda, relays, and the actors that live in it. One event is taken at a time; what it causes is put on
//! the agenda; then the invariants are checked. Nothing else happens, so a seed is a run.

mod arrivals;
mod auditing;
mod faulting;
mod happenings;
mod parties;
mod repricing;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fedai_protocol::{EventId, UnixMicros};
use fedai_router_agent::core::Input as RouterInput;

use self::auditing::Auditor;
use self::happenings::Happening;
pub use self::parties::Party;
use self::parties::{Owners, Parties};
use crate::agenda::Agenda;
use crate::audit_plan::AuditPlan;
use crate::chance::{Chance, Stream};
use crate::hooks::{Hooks, OracleHandle};
use crate::id_map::IdMap;
use crate::invariants::{self, Violation, Watcher};
use crate::money::Accounts;
use crate::relay_model::RelayModel;
use crate::router_actor::RouterActor;
use crate::run_log::RunLog;
use crate::scenario::{START, Scenario};
use crate::turn::{Effect, Fact};
use crate::wire::Mint;
use crate::workload::ArrivalQueue;

/// A world under way.
pub struct World {
    scenario: Arc<Scenario>,
    agenda: Agenda<Happening>,
    relay: RelayModel,
    relay_chance: Chance,
    market_chance: Chance,
    mint: Mint,
    /// For what a turn comes to, used again by the next one.
    room: (Vec<Effect>, Vec<Fact>),
    parties: Parties,
    owners: Owners,
    prices: BTreeMap<usize, repricing::Seller>,
    oracle: Option<OracleHandle>,
    ticks: IdMap<Party, UnixMicros>,
    spins: IdMap<Party, (UnixMicros, u32)>,
    /// How far clocks are ahead, in microseconds.
    skews: BTreeMap<Party, i64>,
    /// What each party has heard and acted on, in this life.
    heard: BTreeSet<(Party, u32, EventId)>,
    /// Deliveries of stored events to come.
    owed: u64,
    /// The first of the sybils among the nodes.
    first_sybil: usize,
    watcher: Watcher,
    log: RunLog,
    queue: ArrivalQueue,
    auditor: Option<Auditor>,
    to_come: usize,
    /// The latest one that is or was on the agenda.
    last_arrival: UnixMicros,
    calm: bool,
    over_at: Option<UnixMicros>,
}

impl World {
    /// Builds the world of a scenario, in which all are honest and every router has the production strategy.
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        Self::with(scenario, Hooks::default())
    }

    /// The same with what the caller adds.
    #[must_use]
    pub fn with(scenario: Scenario, hooks: Hooks) -> Self {
        let scenario = Arc::new(scenario);
        let mut mint = Mint::new(scenario.wire, Chance::new(scenario.seed, Stream::Keys));
        let parties = Parties::new(&scenario, &mut mint);
        let relay = RelayModel::new(scenario.relays, scenario.relay_way_ms, scenario.relay_jitter_ms);
        let jobs = (0..scenario.arrivals.len()).filter(|job| scenario.has_job(*job)).count();
        let mut world = Self {
            agenda: Agenda::new(START),
            relay: relay.for_routers(parties.routers.len(), scenario.info_age_ms),
            relay_chance: Chance::new(scenario.seed, Stream::Relay),
            market_chance: Chance::new(scenario.seed, Stream::Market),
            mint,
            room: (Vec::new(), Vec::new()),
            owners: Owners::default(),
            prices: BTreeMap::new(),
            oracle: hooks.wants_oracle.then(OracleHandle::default),
            ticks: IdMap::default(),
            spins: IdMap::default(),
            skews: BTreeMap::new(),
            heard: BTreeSet::new(),
            owed: 0,
            first_sybil: scenario.nodes.len(),
            watcher: faulting::watcher(&scenario, &parties.nodes),
            log: RunLog::new(&scenario),
            to_come: jobs.saturating_add(scenario.own_jobs.len()),
            queue: ArrivalQueue::new(&scenario.arrivals),
            auditor: None,
            last_arrival: START,
            calm: false,
            over_at: None,
            parties,
            scenario,
        };
        world.owners.learn(&world.parties.nodes);
        let Parties { nodes, routers, .. } = &world.parties;
        world.log.accounts = Accounts::new(nodes.len(), routers.len());
        world.install(hooks);
        if let Some(plan) = world.scenario.audits {
            world.hire(plan);
        }
        world
    }

    /// Somebody audits the nodes, and every router follows it.
    fn hire(&mut self, plan: AuditPlan) {
        let identity = self.mint.identity();
        for router in &mut self.parties.routers {
            router.follow(START, identity.public_key());
        }
        let first_job = self.scenario.arrivals.len().saturating_add(self.scenario.own_jobs.len());
        self.auditor = Some(Auditor::new(plan, identity, self.scenario.seed, first_job));
    }

    fn install(&mut self, hooks: Hooks) {
        if let Some(scheduler) = hooks.scheduler {
            let oracle = self.oracle.get_or_insert_default();
            for (index, router) in self.parties.routers.iter_mut().enumerate() {
                let (scheduler, oracle) = (Arc::clone(&scheduler), Arc::clone(oracle));
                router.decide_by(START, Arc::new(move || scheduler(index, &oracle)));
            }
            if !hooks.wants_oracle {
                self.oracle = None;
            }
        }
        self.watcher.suspect_others(!hooks.routers.is_empty(), hooks.relays.is_some());
        for (index, conduct) in hooks.nodes {
            if let Some(node) = self.parties.nodes.get_mut(index) {
                self.watcher.suspect(node.identity());
                node.behave(conduct);
            }
        }
        for (index, conduct) in hooks.routers {
            if let Some(router) = self.parties.routers.get_mut(index) {
                router.behave(conduct);
            }
        }
        if let Some(conduct) = hooks.relays {
            self.relay.behave(conduct);
        }
        self.parties.client_conduct = hooks.clients;
        let sellers = hooks.prices.into_iter();
        self.prices = sellers.map(|(node, rule)| (node, repricing::Seller::new(rule))).collect();
    }

    /// Runs to the end, or to the first invariant that does not hold. `progress` hears of ended jobs.
    pub fn run(mut self, progress: &mut dyn FnMut(&RunLog)) -> Result<RunLog, Violation> {
        self.begin()?;
        let patience = self.scenario.terms.deadline_seconds.saturating_add(NODE_PATIENCE_SECONDS);
        let mut ended = 0;
        while let Some(happening) = self.agenda.take_next() {
            self.happen(happening)?;
            let now = self.agenda.now();
            if self.log.ended() > ended {
                ended = self.log.ended();
                progress(&self.log);
            }
            if self.is_over(now) {
                break;
            }
            let last = self.last_arrival.max(self.scenario.faults.calm_at);
            if now > last.plus_seconds(patience.saturating_add(STRAGGLER_SECONDS)) {
                return self.stuck().map(|()| self.log);
            }
        }
        self.finish()
    }

    fn begin(&mut self) -> Result<(), Violation> {
        self.plan_arrival();
        self.plan_own_job(0);
        self.plan_audit(START);
        for fault in &self.scenario.faults.faults {
            self.agenda.at(fault.at, Happening::FaultBegins(*fault));
            self.agenda.at(fault.until, Happening::FaultEnds(*fault));
        }
        self.agenda.at(self.scenario.faults.calm_at, Happening::Calm);
        self.plan_repricing();
        for index in 0..self.parties.routers.len() {
            self.with_router(index, |router, turn| router.start(turn))?;
        }
        for index in 0..self.first_sybil {
            self.with_node(index, |node, turn| node.start(turn))?;
        }
        Ok(())
    }

    fn is_over(&mut self, now: UnixMicros) -> bool {
        if let Some(at) = self.over_at {
            return now >= at;
        }
        let is_quiet = self.to_come == 0 && self.owed == 0 && self.calm && self.parties.clients.is_empty();
        if is_quiet && self.busy_nodes() == 0 {
            self.over_at = Some(now.plus_seconds(LAST_WORDS_SECONDS));
        }
        false
    }

    fn finish(mut self) -> Result<RunLog, Violation> {
        let now = self.agenda.now();
        for index in 0..self.parties.routers.len() {
            self.with_router(index, |router, turn| router.take(RouterInput::Shutdown, turn))?;
        }
        self.check(self.watcher.at_the_end())?;
        self.check(self.check_auditor())?;
        self.check(invariants::money(self.log.accounts.adds_up(), &self.log.accounts))?;
        self.count_fired();
        self.log.relay = self.relay.carried();
        self.log.heard = self.parties.routers.iter().flat_map(RouterActor::heard).collect();
        self.log.finished_at = now;
        for (index, node) in self.parties.nodes.iter_mut().enumerate() {
            let busy = node.runner().busy_micros(now);
            let keys: Vec<_> = node.identities().collect();
            self.log.node_ended(index, busy, &keys, self.watcher.sums_of(&keys));
        }
        Ok(self.log)
    }
}

/// A service that left is started again after this.
const SERVICE_RESTART_SECONDS: u64 = 5;
/// What relays and outboxes held back for long arrives after all.
const STRAGGLER_SECONDS: u64 = 900;
/// A disk that syncs.
const DISK_MS: u64 = 2;
/// Receipts and words on them are still on their way when the last job has ended.
const LAST_WORDS_SECONDS: u64 = 10;
/// A node gives up a client that is gone after a minute, or its runner's stall deadline; then it must be idle.
const NODE_PATIENCE_SECONDS: u64 = 180;
/// Ticks of one party within a millisecond.
const SPINS_MAX: u32 = 200;
