//! The world: an agenda, relays, and the actors that live in it. One event is taken at a time; what it causes is put on
//! the agenda; then the invariants are checked. Nothing else happens, so a seed is a run.

mod faulting;

use std::collections::{BTreeMap, BTreeSet};

use fedai_client::core::journey_step::JourneyInput;
use fedai_node_agent::core::Input as NodeInput;
use fedai_protocol::{EventId, JobId, UnixMicros, VerifiedEvent};
use fedai_router_agent::core::Input as RouterInput;

use crate::agenda::Agenda;
use crate::chance::{Chance, Stream};
use crate::client_actor::{ClientActor, DEADLINE_SECONDS, RouterContact};
use crate::faults::Fault;
use crate::invariants::{self, Violation, Watcher};
use crate::node_actor::NodeActor;
use crate::relay_model::{Parcel, RelayModel};
use crate::router_actor::RouterActor;
use crate::run_log::RunLog;
use crate::runner::Due;
use crate::scenario::{START, Scenario, Tamper};
use crate::turn::{Effect, Fact, Turn};
use crate::workload::ArrivalQueue;

/// Somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// The router.
    Router,
    /// A node.
    Node(usize),
    /// The client of a job.
    Client(usize),
}

impl Party {
    /// A router by its number.
    #[must_use]
    pub const fn router(_number: usize) -> Self {
        Self::Router
    }

    /// A number for halving the world: parties of all roles are on both sides.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Router => 0,
            Self::Node(index) => (index as u64).saturating_add(1),
            Self::Client(job) => (job as u64).saturating_add(4),
        }
    }
}

#[derive(Clone, Debug)]
enum Happening {
    Arrival(usize),
    Delivery(Party, VerifiedEvent),
    Injected(Party, String),
    Publish(Parcel),
    Tick(Party, UnixMicros),
    Runner(usize, u32, Due),
    Stored(usize, u32, JobId, Box<(VerifiedEvent, VerifiedEvent)>),
    FaultBegins(Fault),
    FaultEnds(Fault),
    Flood(Fault),
    Restart(Party),
    Calm,
}

/// A world under way.
pub struct World {
    scenario: Scenario,
    agenda: Agenda<Happening>,
    relay: RelayModel,
    relay_chance: Chance,
    keys: Chance,
    router: RouterActor,
    nodes: Vec<NodeActor>,
    clients: BTreeMap<usize, ClientActor>,
    ticks: BTreeMap<Party, UnixMicros>,
    spins: BTreeMap<Party, (UnixMicros, u32)>,
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
    to_come: usize,
    /// The latest one that is on the agenda.
    last_arrival: UnixMicros,
    calm: bool,
    over_at: Option<UnixMicros>,
}

impl World {
    /// Builds the world of a scenario.
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        let mut keys = Chance::new(scenario.seed, Stream::Keys);
        let router = RouterActor::new(START, &mut keys);
        let specs = scenario.nodes.iter().chain(faulting::sybils(&scenario)).enumerate();
        let nodes: Vec<NodeActor> =
            specs.map(|(index, spec)| NodeActor::new(index, spec, START, &mut keys)).collect();
        let watcher = faulting::watcher(&scenario, &nodes);
        Self {
            agenda: Agenda::new(START),
            relay: RelayModel::new(scenario.relays, scenario.relay_way_ms, scenario.relay_jitter_ms),
            relay_chance: Chance::new(scenario.seed, Stream::Relay),
            keys,
            router,
            nodes,
            clients: BTreeMap::new(),
            ticks: BTreeMap::new(),
            spins: BTreeMap::new(),
            skews: BTreeMap::new(),
            heard: BTreeSet::new(),
            owed: 0,
            first_sybil: scenario.nodes.len(),
            watcher,
            log: RunLog::new(&scenario),
            queue: ArrivalQueue::new(&scenario.arrivals),
            last_arrival: START,
            to_come: scenario.arrivals.iter().enumerate().filter(|(job, _)| scenario.has_job(*job)).count(),
            calm: false,
            over_at: None,
            scenario,
        }
    }

    /// Runs to the end, or to the first invariant that does not hold. `progress` hears of ended jobs.
    pub fn run(mut self, progress: &mut dyn FnMut(&RunLog)) -> Result<RunLog, Violation> {
        self.begin()?;
        let mut ended = 0;
        while let Some(happening) = self.agenda.take_next() {
            self.happen(happening)?;
            if self.log.ended() > ended {
                ended = self.log.ended();
                progress(&self.log);
            }
            let now = self.agenda.now();
            if self.is_over(now) {
                break;
            }
            let last = self.last_arrival.max(self.scenario.faults.calm_at);
            if now > last.plus_seconds(DEADLINE_SECONDS + NODE_PATIENCE_SECONDS + STRAGGLER_SECONDS) {
                return self.stuck().map(|()| self.log);
            }
        }
        self.finish()
    }

    fn begin(&mut self) -> Result<(), Violation> {
        while let Some((at, job)) = self.queue.take_next() {
            if self.scenario.has_job(job) {
                self.expect(at, job);
            }
        }
        for fault in &self.scenario.faults.faults {
            self.agenda.at(fault.at, Happening::FaultBegins(*fault));
            self.agenda.at(fault.until, Happening::FaultEnds(*fault));
        }
        self.agenda.at(self.scenario.faults.calm_at, Happening::Calm);
        self.act(Party::Router, |world, turn| world.router.start(turn))?;
        for index in 0..self.first_sybil {
            self.with_node(index, |node, turn| node.start(turn))?;
        }
        Ok(())
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        let now = self.agenda.now();
        match happening {
            Happening::Arrival(job) => self.arrive(now, job),
            Happening::Delivery(party, event) => self.deliver(party, &event),
            Happening::Injected(party, json) => self.knock(party, &json),
            Happening::Publish(parcel) => {
                self.settle_owed(&parcel.event);
                self.publish(now, parcel)
            }
            Happening::Tick(party, at) => self.tick(now, party, at),
            Happening::Runner(index, incarnation, due) => self.with_node(index, |node, turn| {
                if node.incarnation() == incarnation {
                    node.runner_step(due, turn);
                }
            }),
            Happening::Stored(index, incarnation, job, events) => self.with_node(index, |node, turn| {
                if node.incarnation() == incarnation {
                    node.stored(job, &events.0, &events.1, turn);
                }
            }),
            Happening::FaultBegins(fault) => self.begin_fault(&fault),
            Happening::FaultEnds(fault) => self.end_fault(&fault),
            Happening::Flood(fault) => self.flood(&fault),
            Happening::Restart(party) => self.restart(party),
            Happening::Calm => {
                self.calm = true;
                Ok(())
            }
        }
    }

    fn expect(&mut self, at: UnixMicros, job: usize) {
        self.last_arrival = self.last_arrival.max(at);
        self.agenda.at(at, Happening::Arrival(job));
    }

    fn arrive(&mut self, now: UnixMicros, job: usize) -> Result<(), Violation> {
        self.to_come = self.to_come.saturating_sub(1);
        self.log.arrived(now, job);
        let Some(arrival) = self.scenario.arrivals.get(job).copied() else { return Ok(()) };
        let contact = RouterContact { identity: self.router.identity(), session: self.router.session() };
        let client = ClientActor::new(now, &arrival, contact, &mut self.keys);
        self.clients.insert(job, client);
        self.befall_newcomer(now, job);
        self.watcher.arrived(now, job, &arrival);
        self.act(Party::Client(job), |world, turn| world.client(job, |client| client.start(turn)))
    }

    fn tick(&mut self, now: UnixMicros, party: Party, at: UnixMicros) -> Result<(), Violation> {
        if self.ticks.get(&party) != Some(&at) {
            return Ok(());
        }
        self.ticks.remove(&party);
        let (since, spins) = self.spins.entry(party).or_insert((now, 0));
        if now.millis_since(*since) > 0 {
            (*since, *spins) = (now, 0);
        }
        *spins = spins.saturating_add(1);
        if *spins > SPINS_MAX {
            let text = format!("{party:?} asks for ticks without end");
            return self.check(Err(("every_job_ends", text)));
        }
        self.act(party, |world, turn| match party {
            Party::Router => world.router.take(RouterInput::Tick, turn),
            Party::Node(index) => world.node(index, |node| node.take(NodeInput::Tick, turn)),
            Party::Client(job) => world.client(job, |client| client.take(JourneyInput::Tick, turn)),
        })
    }

    fn node(&mut self, index: usize, visit: impl FnOnce(&mut NodeActor)) {
        if let Some(node) = self.nodes.get_mut(index) {
            visit(node);
        }
    }

    fn client(&mut self, job: usize, visit: impl FnOnce(&mut ClientActor)) {
        if let Some(client) = self.clients.get_mut(&job) {
            visit(client);
        }
    }

    fn with_node(
        &mut self,
        index: usize,
        visit: impl FnOnce(&mut NodeActor, &mut Turn<'_>),
    ) -> Result<(), Violation> {
        self.act(Party::Node(index), |world, turn| world.node(index, |node| visit(node, turn)))
    }

    /// One turn of one party: act, apply the effects, check.
    fn act(&mut self, party: Party, action: impl FnOnce(&mut Self, &mut Turn<'_>)) -> Result<(), Violation> {
        let now = self.agenda.now();
        let mut keys = self.keys.clone();
        let mut turn = Turn::new(self.clock_of(party), &mut keys);
        action(self, &mut turn);
        let Turn { effects, facts, .. } = turn;
        self.keys = keys;
        self.log.events = self.log.events.saturating_add(1);
        for fact in facts {
            self.note(now, party, fact)?;
        }
        for effect in effects {
            if self.crashes_before_effect(party) {
                return self.crash(party);
            }
            self.apply(now, party, effect)?;
        }
        if let Party::Client(job) = party
            && self.clients.get(&job).is_some_and(ClientActor::is_ended)
            && self.scenario.tamper != Some(Tamper::ForgetEnding)
        {
            self.remove_client(job);
        }
        if let Party::Node(index) = party
            && self.nodes.get_mut(index).is_some_and(NodeActor::take_exit)
        {
            // Whoever runs a service starts it again when it has left by itself.
            self.agenda.at(now.plus_seconds(SERVICE_RESTART_SECONDS), Happening::Restart(party));
        }
        self.plan_tick(now, party);
        self.check_party(now, party)?;
        self.check(self.watcher.conservation(self.clients.len()))
    }

    fn apply(&mut self, now: UnixMicros, party: Party, effect: Effect) -> Result<(), Violation> {
        let of_node = match party {
            Party::Node(index) => self.nodes.get(index).map(|node| (index, node.incarnation())),
            _ => None,
        };
        match (effect, of_node) {
            (Effect::Publish(event), _) => self.publish(now, Parcel { from: party, event, tries: 0 })?,
            (Effect::Listen(key), _) => self.relay.listen(key, party),
            (Effect::Unlisten(key), _) => self.relay.unlisten(&key),
            (Effect::Runner(due), Some((index, incarnation))) => {
                let at = self.world_time(party, due.at);
                self.agenda.at(at, Happening::Runner(index, incarnation, due));
            }
            (Effect::Store(job, receipt, dispatch), Some((index, incarnation))) => {
                let events = Box::new((receipt, dispatch));
                let stored = Happening::Stored(index, incarnation, job, events);
                self.agenda.at(now.plus_millis(DISK_MS), stored);
            }
            (Effect::Runner(_) | Effect::Store(..), None) => {}
        }
        Ok(())
    }

    fn publish(&mut self, now: UnixMicros, parcel: Parcel) -> Result<(), Violation> {
        let carriage = match self.relay.carry(now, &parcel, &mut self.relay_chance) {
            Ok(carriage) => carriage,
            Err(leak) => return self.check(Err(("sealed_on_relays", leak.to_string()))),
        };
        for (at, party) in carriage.deliveries {
            self.owe(at, Happening::Delivery(party, parcel.event.clone()), &parcel.event);
        }
        for injected in carriage.injected {
            self.agenda.at(injected.at, Happening::Injected(injected.to, injected.json));
        }
        if let Some(at) = carriage.again {
            let event = parcel.event.clone();
            self.owe(
                at,
                Happening::Publish(Parcel { tries: parcel.tries.saturating_add(1), ..parcel }),
                &event,
            );
        }
        Ok(())
    }

    fn remove_client(&mut self, job: usize) {
        self.ticks.remove(&Party::Client(job));
        if let Some(mut client) = self.clients.remove(&job) {
            self.log.fired_by_clients.push(client.faults.take_fired());
        }
    }

    fn note(&mut self, now: UnixMicros, party: Party, fact: Fact) -> Result<(), Violation> {
        self.log.news = self.log.news.saturating_add(u64::from(fact.is_news()));
        let job = if let Party::Client(job) = party { job } else { usize::MAX };
        let node = match party {
            Party::Node(index) => self.nodes.get(index).map(NodeActor::identity),
            _ => None,
        };
        let check = match fact {
            Fact::Durable(event) => {
                self.log.durable(party, &event);
                node.map_or(Ok(()), |node| self.watcher.durable(node, &event))
            }
            Fact::RunnerStarted(id) => {
                let index = if let Party::Node(index) = party { index } else { usize::MAX };
                let life = self.nodes.get(index).map_or(0, NodeActor::incarnation);
                self.watcher.runner_started((index, life), id)
            }
            Fact::Opened { job: id, node, dispatch } => {
                self.log.attempts = self.log.attempts.saturating_add(1);
                self.watcher.opened(job, id, node, dispatch)
            }
            Fact::Delivered(text) => {
                let again = self.scenario.tamper == Some(Tamper::RepeatOutput);
                let text = if again { format!("{text}{text}") } else { text };
                self.watcher.delivered(job, &text)
            }
            Fact::Restarted => self.watcher.restarted(job),
            Fact::Settled(settlement) => {
                self.log.judged(&settlement);
                self.watcher.settled(job, &settlement)
            }
            Fact::Ended(_) if self.scenario.tamper == Some(Tamper::ForgetEnding) => Ok(()),
            Fact::Ended(ending) => {
                self.log.end(now, job, &ending);
                for (at, next) in self.queue.ended(now, job) {
                    self.expect(at, next);
                }
                self.watcher.ended(now, job, &ending)
            }
            Fact::Accused(node, code) => {
                self.log.evidence.push((node, code));
                self.watcher.accused(&node, code)
            }
            Fact::PriceAltered(dispatch) => {
                self.watcher.price_altered(dispatch);
                Ok(())
            }
            Fact::Vanished => {
                self.watcher.vanished(job);
                self.remove_client(job);
                Ok(())
            }
            Fact::RouterRestarted { is_same: true } => Ok(()),
            Fact::RouterRestarted { is_same: false } => {
                Err(("restart_is_the_same", "the router's state differs after a restart".to_owned()))
            }
            Fact::Summed(summary) => {
                self.watcher.summed(&summary);
                self.log.summaries.insert((summary.node, summary.epoch.0), *summary);
                Ok(())
            }
            Fact::Broken(what) => Err(("causality", what)),
        };
        self.check(check)
    }

    fn check_party(&mut self, now: UnixMicros, party: Party) -> Result<(), Violation> {
        let Party::Node(index) = party else { return Ok(()) };
        let now = self.clock_of(party).max(now);
        let Some(node) = self.nodes.get_mut(index) else { return Ok(()) };
        let Some(state) = node.state(now) else { return Ok(()) };
        let on_runner = node.runner().running().saturating_add(node.runner().waiting());
        let check = invariants::queues(&state, &node.policy().limits, on_runner);
        self.check(check)
    }

    fn check(&self, check: Result<(), (&'static str, String)>) -> Result<(), Violation> {
        invariants::at(self.agenda.now(), START, check)
    }

    fn plan_tick(&mut self, now: UnixMicros, party: Party) {
        let at = match party {
            Party::Router => self.router.poll_timeout(),
            Party::Node(index) => self.nodes.get(index).and_then(NodeActor::poll_timeout),
            Party::Client(job) => self.clients.get(&job).and_then(ClientActor::poll_timeout),
        };
        // A timer that is due already fires a moment later, as a real one does.
        let Some(at) = at.map(|at| self.world_time(party, at).max(now.plus(1))) else { return };
        if self.ticks.get(&party).is_none_or(|planned| at < *planned) {
            self.ticks.insert(party, at);
            self.agenda.at(at, Happening::Tick(party, at));
        }
    }

    fn is_over(&mut self, now: UnixMicros) -> bool {
        if let Some(at) = self.over_at {
            return now >= at;
        }
        let is_quiet = self.to_come == 0 && self.owed == 0 && self.calm && self.clients.is_empty();
        if is_quiet && self.busy_nodes() == 0 {
            self.over_at = Some(now.plus_seconds(LAST_WORDS_SECONDS));
        }
        false
    }

    fn finish(mut self) -> Result<RunLog, Violation> {
        let now = self.agenda.now();
        self.act(Party::Router, |world, turn| world.router.take(RouterInput::Shutdown, turn))?;
        self.check(self.watcher.at_the_end())?;
        self.count_fired();
        self.log.relay = self.relay.carried();
        self.log.heard = self.router.heard();
        self.log.finished_at = now;
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let busy = node.runner().busy_micros(now);
            self.log.node_ended(index, busy, node.identity(), self.watcher.sums_of(&node.identity()));
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
