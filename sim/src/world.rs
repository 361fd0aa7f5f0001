//! The world: an agenda, relays, and the actors that live in it. One event is taken at a time; what it causes is put on
//! the agenda; then the invariants are checked. Nothing else happens, so a seed is a run.

use std::collections::BTreeMap;

use fedai_client::core::journey_step::JourneyInput;
use fedai_node_agent::core::Input as NodeInput;
use fedai_protocol::{JobId, UnixMicros, VerifiedEvent};
use fedai_router_agent::core::Input as RouterInput;

use crate::agenda::Agenda;
use crate::chance::{Chance, Stream};
use crate::client_actor::{ClientActor, DEADLINE_SECONDS, RouterContact};
use crate::faults::NodeFault;
use crate::invariants::{self, Violation, Watcher};
use crate::node_actor::NodeActor;
use crate::relay_model::{RelayFaults, RelayModel};
use crate::router_actor::RouterActor;
use crate::run_log::RunLog;
use crate::runner_model::Due;
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

#[derive(Clone, Debug)]
enum Happening {
    Arrival(usize),
    Delivery(Party, VerifiedEvent),
    Publish(VerifiedEvent),
    Tick(Party, UnixMicros),
    Runner(usize, u32, Due<JobId>),
    Stored(usize, u32, JobId, Box<(VerifiedEvent, VerifiedEvent)>),
    Crash(usize),
    Restart(usize),
    RouterCrash,
    RouterRestart(UnixMicros),
    Hang(usize),
    Recover(usize),
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
        let specs = scenario.nodes.iter().enumerate();
        let nodes: Vec<NodeActor> =
            specs.map(|(index, spec)| NodeActor::new(index, spec, START, &mut keys)).collect();
        Self {
            agenda: Agenda::new(START),
            relay: RelayModel::new(scenario.relay_way_ms, scenario.relay_jitter_ms),
            relay_chance: Chance::new(scenario.seed, Stream::Relay),
            keys,
            router,
            nodes,
            clients: BTreeMap::new(),
            ticks: BTreeMap::new(),
            spins: BTreeMap::new(),
            watcher: Watcher::default(),
            log: RunLog::new(&scenario),
            queue: ArrivalQueue::new(&scenario.arrivals),
            to_come: scenario.arrivals.len(),
            last_arrival: START,
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
            if now > last.plus_seconds(DEADLINE_SECONDS + NODE_PATIENCE_SECONDS) {
                return self
                    .check(Err(("every_job_ends", format!("{} jobs are still open", self.clients.len()))))
                    .map(|()| self.log);
            }
        }
        self.finish()
    }

    fn begin(&mut self) -> Result<(), Violation> {
        let faults = self.scenario.faults.clone();
        while let Some((at, job)) = self.queue.take_next() {
            self.expect(at, job);
        }
        for NodeFault { node, at, until } in &faults.crashes {
            self.agenda.at(*at, Happening::Crash(*node));
            self.agenda.at(*until, Happening::Restart(*node));
        }
        for NodeFault { node, at, until } in &faults.hangs {
            self.agenda.at(*at, Happening::Hang(*node));
            self.agenda.at(*until, Happening::Recover(*node));
        }
        if let Some((at, until)) = faults.router {
            self.agenda.at(at, Happening::RouterCrash);
            self.agenda.at(until, Happening::RouterRestart(at));
        }
        self.relay.set_faults(faults.relay);
        self.agenda.at(faults.calm_at, Happening::Calm);
        self.act(Party::Router, |world, turn| world.router.start(turn))?;
        for index in 0..self.nodes.len() {
            self.with_node(index, |node, turn| node.start(turn))?;
        }
        Ok(())
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        let now = self.agenda.now();
        match happening {
            Happening::Arrival(job) => self.arrive(now, job),
            Happening::Delivery(party, event) => self.act(party, |world, turn| match party {
                Party::Router => world.router.receive(&event, turn),
                Party::Node(index) => world.node(index, |node| node.receive(&event, turn)),
                Party::Client(job) => world.client(job, |client| client.receive(&event, turn)),
            }),
            Happening::Publish(event) => self.publish(now, event),
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
            Happening::Crash(index) => {
                self.log.crashes = self.log.crashes.saturating_add(1);
                self.ticks.remove(&Party::Node(index));
                self.with_node(index, |node, turn| node.crash(turn.now))
            }
            Happening::Restart(index) => self.with_node(index, |node, turn| {
                if node.state(turn.now).is_none() {
                    node.start(turn);
                }
            }),
            Happening::RouterCrash => {
                self.log.router_crashes = self.log.router_crashes.saturating_add(1);
                self.ticks.remove(&Party::Router);
                self.act(Party::Router, |world, turn| world.router.crash(turn.now))
            }
            Happening::RouterRestart(died_at) => {
                self.act(Party::Router, |world, turn| world.router.restart(died_at, turn))
            }
            Happening::Hang(index) => {
                self.log.hangs = self.log.hangs.saturating_add(1);
                self.with_node(index, |node, _| node.runner().hang())
            }
            Happening::Recover(index) => self.with_node(index, |node, turn| {
                let due = node.runner().recover(turn.now);
                turn.effects.extend(due.into_iter().map(Effect::Runner));
            }),
            Happening::Calm => {
                self.calm = true;
                self.relay.set_faults(RelayFaults::default());
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
        self.watcher.arrived(job, arrival.prompt, arrival.must_succeed);
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
        let mut turn = Turn::new(now, &mut keys);
        action(self, &mut turn);
        let Turn { effects, facts, .. } = turn;
        self.keys = keys;
        self.log.events = self.log.events.saturating_add(1);
        for fact in facts {
            self.note(now, party, fact)?;
        }
        for effect in effects {
            self.apply(now, party, effect)?;
        }
        if let Party::Client(job) = party
            && self.clients.get(&job).is_some_and(ClientActor::is_ended)
            && self.scenario.tamper != Some(Tamper::ForgetEnding)
        {
            self.clients.remove(&job);
            self.ticks.remove(&party);
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
            (Effect::Publish(event), _) => self.publish(now, event)?,
            (Effect::Listen(key), _) => self.relay.listen(key, party),
            (Effect::Unlisten(key), _) => self.relay.unlisten(&key),
            (Effect::Runner(due), Some((index, incarnation))) => {
                self.agenda.at(due.at, Happening::Runner(index, incarnation, due));
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

    fn publish(&mut self, now: UnixMicros, event: VerifiedEvent) -> Result<(), Violation> {
        let carriage = match self.relay.carry(now, &event, &mut self.relay_chance) {
            Ok(carriage) => carriage,
            Err(leak) => return self.check(Err(("sealed_on_relays", leak.to_string()))),
        };
        for (at, party) in carriage.deliveries {
            self.agenda.at(at, Happening::Delivery(party, event.clone()));
        }
        if let Some(at) = carriage.again {
            self.agenda.at(at, Happening::Publish(event));
        }
        Ok(())
    }

    fn note(&mut self, now: UnixMicros, party: Party, fact: Fact) -> Result<(), Violation> {
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
            Fact::RunnerStarted(id) => self.watcher.runner_started(id),
            Fact::Opened(id) => {
                self.log.attempts = self.log.attempts.saturating_add(1);
                self.watcher.opened(job, id)
            }
            Fact::Delivered(text) => {
                let again = self.scenario.tamper == Some(Tamper::RepeatOutput);
                let text = if again { format!("{text}{text}") } else { text };
                self.watcher.delivered(job, &text)
            }
            Fact::Restarted => self.watcher.restarted(job),
            Fact::Settled(settlement) => self.watcher.settled(job, &settlement),
            Fact::Ended(_) if self.scenario.tamper == Some(Tamper::ForgetEnding) => Ok(()),
            Fact::Ended(ending) => {
                self.log.end(now, job, &ending);
                for (at, next) in self.queue.ended(now, job) {
                    self.expect(at, next);
                }
                self.watcher.ended(job, &ending)
            }
            Fact::Accused(code) => Err(("honest_is_not_accused", format!("the router has evidence: {code}"))),
            Fact::RouterRestarted { is_same: true } => Ok(()),
            Fact::RouterRestarted { is_same: false } => {
                Err(("restart_is_the_same", "the router's state differs after a restart".to_owned()))
            }
            Fact::Summed(summary) => {
                self.watcher.summed(&summary);
                Ok(())
            }
            Fact::Broken(what) => Err(("causality", what)),
        };
        self.check(check)
    }

    fn check_party(&mut self, now: UnixMicros, party: Party) -> Result<(), Violation> {
        let Party::Node(index) = party else { return Ok(()) };
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
        let Some(at) = at.map(|at| at.max(now.plus(1))) else { return };
        if self.ticks.get(&party).is_none_or(|planned| at < *planned) {
            self.ticks.insert(party, at);
            self.agenda.at(at, Happening::Tick(party, at));
        }
    }

    fn is_over(&mut self, now: UnixMicros) -> bool {
        if let Some(at) = self.over_at {
            return now >= at;
        }
        let is_idle = |node: &NodeActor| node.state(now).is_some_and(|state| state.open == 0);
        if self.to_come == 0 && self.calm && self.clients.is_empty() && self.nodes.iter().all(is_idle) {
            self.over_at = Some(now.plus_seconds(LAST_WORDS_SECONDS));
        }
        false
    }

    fn finish(mut self) -> Result<RunLog, Violation> {
        let now = self.agenda.now();
        self.act(Party::Router, |world, turn| world.router.take(RouterInput::Shutdown, turn))?;
        self.check(self.watcher.at_the_end())?;
        self.log.relay = self.relay.carried();
        self.log.finished_at = now;
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let busy = node.runner().busy_micros(now);
            self.log.node_ended(index, busy, node.identity(), self.watcher.sums_of(&node.identity()));
        }
        Ok(self.log)
    }
}

/// A disk that syncs.
const DISK_MS: u64 = 2;
/// Receipts and words on them are still on their way when the last job has ended.
const LAST_WORDS_SECONDS: u64 = 10;
/// A node gives up a client that is gone after a minute, or its runner's stall deadline; then it must be idle.
const NODE_PATIENCE_SECONDS: u64 = 180;
/// Ticks of one party within a millisecond.
const SPINS_MAX: u32 = 200;
