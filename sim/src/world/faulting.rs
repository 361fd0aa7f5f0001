//! Where faults meet the world: who is killed, cut off, set wrong or made to lie, and what is looked at because of it.

use fedai_protocol::UnixMicros;
use fedai_protocol::VerifiedEvent;
use fedai_protocol::event_kinds::STORED;

use super::happenings::Happening;
use super::parties::Parties;
use super::{NODE_PATIENCE_SECONDS, Party, World};
use crate::chance::Chance;
use crate::faults::kind::Befalls;
use crate::faults::{Active, Fault, FaultKind, Fired, Whom};
use crate::invariants::{Violation, Watcher, second_arrival};
use crate::node_actor::NodeActor;
use crate::router_actor::RouterActor;
use crate::scenario::{NodeSpec, Scenario};
use crate::turn::Effect;
use crate::wire::Payload;

/// The fresh nodes of all sybil faults, after the nodes of the scenario.
pub(super) fn sybils(scenario: &Scenario) -> impl Iterator<Item = &NodeSpec> {
    let count = scenario.faults.faults.iter().map(sybils_of).sum();
    scenario.nodes.first().into_iter().cycle().take(count)
}

fn sybils_of(fault: &Fault) -> usize {
    let is_sybils = fault.kind == FaultKind::Sybils;
    if is_sybils { usize::try_from(fault.size).unwrap_or(0) } else { 0 }
}

/// The books, and who is honest.
pub(super) fn watcher(scenario: &Scenario, nodes: &[NodeActor]) -> Watcher {
    let dishonest = scenario.faults.dishonest();
    let lies =
        |index: usize| index >= scenario.nodes.len() || dishonest.contains(&Whom::Party(Party::Node(index)));
    let liars = nodes.iter().filter(|node| lies(node.index())).map(NodeActor::identity).collect();
    Watcher::new(scenario, liars)
}

impl World {
    /// The time as a party's clock shows it.
    pub(super) fn clock_of(&self, party: Party) -> UnixMicros {
        let skew = self.skews.get(&party).copied().unwrap_or(0);
        UnixMicros(self.agenda.now().0.saturating_add_signed(skew))
    }

    /// When a party's clock shows this.
    pub(super) fn world_time(&self, party: Party, at: UnixMicros) -> UnixMicros {
        let skew = self.skews.get(&party).copied().unwrap_or(0);
        UnixMicros(at.0.saturating_add_signed(skew.saturating_neg()))
    }

    pub(super) fn begin_fault(&mut self, fault: &Fault) -> Result<(), Violation> {
        let chance = Chance::of_fault(self.scenario.seed, fault.id);
        match (fault.kind, fault.whom) {
            (FaultKind::NodeCrash | FaultKind::RouterCrash, Whom::Party(party)) => {
                self.fired(fault.kind);
                return self.crash_until(party, fault.until);
            }
            (FaultKind::RunnerHang, Whom::Party(Party::Node(index))) => {
                self.fired(fault.kind);
                self.log.hangs = self.log.hangs.saturating_add(1);
                return self.with_node(index, |node, turn| node.runner().hang(turn.now));
            }
            (FaultKind::ClockSkew, Whom::Party(party)) => {
                let skew = i64::try_from(fault.size).unwrap_or(0).saturating_sub(DAY_SECONDS);
                self.fired(fault.kind);
                self.set_clock(party, skew.saturating_mul(1_000_000));
            }
            (FaultKind::Sybils, _) => {
                return self.each_sybil(fault, |node, turn| {
                    node.faults.begin(*fault, chance.clone());
                    node.start(turn);
                });
            }
            (FaultKind::ClientFloods, _) => {
                self.befall(fault, chance);
                self.agenda.at(fault.at, Happening::Flood(*fault));
            }
            (_, Whom::Party(_)) if !is_cut(fault.kind) => self.befall(fault, chance),
            _ => self.relay.begin(*fault, chance),
        }
        Ok(())
    }

    pub(super) fn end_fault(&mut self, fault: &Fault) -> Result<(), Violation> {
        match (fault.kind, fault.whom) {
            (FaultKind::RunnerHang, Whom::Party(Party::Node(index))) => {
                self.with_node(index, |node, turn| {
                    let due = node.runner().recover(turn.now);
                    turn.effects.extend(due.into_iter().map(Effect::Runner));
                })
            }
            (FaultKind::ClockSkew, Whom::Party(party)) => {
                self.set_clock(party, 0);
                Ok(())
            }
            (FaultKind::Sybils, _) => self.each_sybil(fault, |node, turn| node.crash(turn.now)),
            (_, Whom::Party(party)) if !is_cut(fault.kind) => {
                self.relieve(fault, party);
                Ok(())
            }
            _ => {
                for (party, event) in self.relay.end(fault) {
                    let at = self.agenda.now().plus_millis(CATCH_UP_MS);
                    let payload = Payload::Event(event);
                    self.owe(&payload);
                    self.agenda.at(at, Happening::Delivery(party, payload));
                }
                Ok(())
            }
        }
    }

    /// A client came: what befalls it may have begun before.
    pub(super) fn faults_of_newcomer(&self, now: UnixMicros, job: usize) -> Vec<(Fault, Chance)> {
        let whom = Whom::Party(Party::Client(job));
        let in_force = |fault: &&Fault| fault.whom == whom && fault.at <= now && now < fault.until;
        let faults = self.scenario.faults.faults.iter().filter(in_force).filter(|fault| !is_cut(fault.kind));
        faults.map(|fault| (*fault, Chance::of_fault(self.scenario.seed, fault.id))).collect()
    }

    fn befall(&mut self, fault: &Fault, chance: Chance) {
        let faults = match fault.whom {
            Whom::Party(party) => self.faults_of(party),
            Whom::Network | Whom::Relay(_) => None,
        };
        if let Some(faults) = faults {
            faults.begin(*fault, chance);
        }
    }

    fn relieve(&mut self, fault: &Fault, party: Party) {
        if let Some(faults) = self.faults_of(party) {
            faults.end(fault);
        }
    }

    fn faults_of(&mut self, party: Party) -> Option<&mut Active> {
        let Parties { routers, nodes, clients, .. } = &mut self.parties;
        match party {
            Party::Router(index) => routers.get_mut(index).map(|router| &mut router.faults),
            Party::Node(index) => nodes.get_mut(index).map(|node| &mut node.faults),
            Party::Client(job) => clients.get_mut(&job).map(|client| &mut client.faults),
        }
    }

    /// Sets a clock: what was planned by the old time is planned anew.
    fn set_clock(&mut self, party: Party, skew: i64) {
        // A job is timed by the clock that it began with.
        if matches!(party, Party::Client(job) if self.parties.clients.contains_key(&job)) {
            return;
        }
        self.skews.insert(party, skew);
        // Shells look at the clock at least once a minute, whatever their cores wait for.
        let at = self.agenda.now().plus_seconds(60);
        self.ticks.insert(party, at);
        self.agenda.at(at, Happening::Tick(party, at));
    }

    fn each_sybil(
        &mut self,
        fault: &Fault,
        act: impl Fn(&mut NodeActor, &mut crate::turn::Turn<'_>),
    ) -> Result<(), Violation> {
        let before = self.scenario.faults.faults.iter().take_while(|other| *other != fault).map(sybils_of);
        let first = self.first_sybil.saturating_add(before.sum());
        for index in first..first.saturating_add(sybils_of(fault)) {
            self.fired(fault.kind);
            self.ticks.remove(&Party::Node(index));
            self.with_node(index, |node, turn| act(node, turn))?;
        }
        Ok(())
    }

    fn crash_until(&mut self, party: Party, until: UnixMicros) -> Result<(), Violation> {
        self.agenda.at(until, Happening::Restart(party));
        self.kill(party)
    }

    /// Kills a process for a second.
    pub(super) fn crash(&mut self, party: Party) -> Result<(), Violation> {
        self.crash_until(party, self.agenda.now().plus_seconds(1))
    }

    fn kill(&mut self, party: Party) -> Result<(), Violation> {
        self.ticks.remove(&party);
        match party {
            Party::Router(index) => {
                self.log.router_crashes = self.log.router_crashes.saturating_add(1);
                self.with_router(index, |router, turn| router.crash(turn.now))
            }
            Party::Node(index) => {
                self.log.crashes = self.log.crashes.saturating_add(1);
                self.with_node(index, |node, turn| node.crash(turn.now))
            }
            Party::Client(_) => Ok(()),
        }
    }

    pub(super) fn restart(&mut self, party: Party) -> Result<(), Violation> {
        match party {
            Party::Router(index) => self.with_router(index, |router, turn| {
                if !router.is_alive() {
                    router.restart(turn);
                }
            }),
            Party::Node(index) => self.with_node(index, |node, turn| {
                if !node.is_alive() {
                    node.start(turn);
                }
            }),
            Party::Client(_) => Ok(()),
        }
    }

    /// True at the effect before which the scenario wants this party dead. Counts effects.
    pub(super) fn crashes_before_effect(&mut self, party: Party) -> bool {
        if !self.scenario.terms.keeps_journals {
            return false;
        }
        let number = self.log.effects.entry(party).or_default();
        *number = number.saturating_add(1);
        self.scenario.crash_points.contains(&(party, *number))
    }

    /// Notes a delivery to come: the world is not over before stored events have arrived.
    pub(super) fn owe(&mut self, payload: &Payload) {
        self.owed = self.owed.saturating_add(u64::from(is_stored(payload)));
    }

    pub(super) fn settle_owed(&mut self, payload: &Payload) {
        self.owed = self.owed.saturating_sub(u64::from(is_stored(payload)));
    }

    /// Hands something to a party; an event changes nothing the second time.
    pub(super) fn deliver(&mut self, party: Party, payload: Payload) -> Result<(), Violation> {
        self.settle_owed(&payload);
        let (Some(life), Payload::Event(event), true) =
            (self.life_of(party), &payload, self.scenario.watches_repeats())
        else {
            return self.hand_over(party, payload);
        };
        let (key, kind) = ((party, life, event.id()), event.kind());
        let is_repeat = self.heard.contains(&key);
        let (before, news) = (self.fingerprint(party), self.log.news);
        self.hand_over(party, payload)?;
        let (is_same, is_news) = (self.fingerprint(party) == before, self.log.news != news);
        if is_repeat {
            return self.check(second_arrival(party, kind, is_same, is_news));
        }
        if !is_same || is_news {
            self.heard.insert(key);
        }
        Ok(())
    }

    fn hand_over(&mut self, party: Party, payload: Payload) -> Result<(), Violation> {
        self.act(party, |parties, turn| match party {
            Party::Router(index) => {
                if let Some(router) = parties.routers.get_mut(index) {
                    router.receive(payload, turn);
                }
            }
            Party::Node(index) => {
                if let Some(node) = parties.nodes.get_mut(index) {
                    node.receive(payload, turn);
                }
            }
            Party::Client(job) => {
                if let Some(client) = parties.clients.get_mut(&job) {
                    client.receive(payload, &mut parties.client_conduct, turn);
                }
            }
        })
    }

    /// Which life of a party this is; none when it is dead.
    fn life_of(&self, party: Party) -> Option<u32> {
        match party {
            Party::Router(index) => {
                let router = self.parties.routers.get(index);
                router.filter(|router| router.is_alive()).map(RouterActor::lives)
            }
            Party::Node(index) => {
                self.parties.nodes.get(index).filter(|node| node.is_alive()).map(NodeActor::incarnation)
            }
            Party::Client(job) => self.parties.clients.contains_key(&job).then_some(0),
        }
    }

    /// What a second arrival may not change.
    fn fingerprint(&self, party: Party) -> Vec<u8> {
        let now = self.clock_of(party);
        match party {
            Party::Router(index) => {
                let hash = self.parties.routers.get(index).and_then(|router| router.state_hash(now));
                hash.map(Vec::from).unwrap_or_default()
            }
            Party::Node(index) => self.parties.nodes.get(index).and_then(|node| node.state(now)).map_or_else(
                Vec::new,
                |state| {
                    format!("{:?} {} {}", state.chain, state.open, state.running + state.queued).into_bytes()
                },
            ),
            Party::Client(_) => Vec::new(),
        }
    }

    /// What a relay made up: it has to fail at one of the doors.
    pub(super) fn knock(&mut self, party: Party, json: &str) -> Result<(), Violation> {
        self.log.injected = self.log.injected.saturating_add(1);
        let Ok(event) = VerifiedEvent::from_json(json) else { return Ok(()) };
        let is_refused = event.check_time(self.clock_of(party).seconds()).is_err();
        if is_refused || !self.relay.is_asked_for(&event, party) {
            return Ok(());
        }
        let detail = format!("{party:?} let in an event of kind {} that a relay made up", event.kind());
        self.check(Err(("nothing_injected_is_accepted", detail)))
    }

    pub(super) fn flood(&mut self, fault: &Fault) -> Result<(), Violation> {
        let now = self.agenda.now();
        let Whom::Party(party @ Party::Client(job)) = fault.whom else { return Ok(()) };
        if now < fault.until {
            let gap = 1_000_000_u64.checked_div(fault.size).unwrap_or(1_000_000);
            self.agenda.at(now.plus(gap), Happening::Flood(*fault));
        }
        if !self.parties.clients.contains_key(&job) {
            return Ok(());
        }
        self.act(party, |parties, turn| {
            if let Some(client) = parties.clients.get_mut(&job) {
                client.flood(turn);
            }
        })
    }

    /// Nodes that have not answered all jobs to the end.
    pub(super) fn busy_nodes(&self) -> usize {
        let is_busy = |node: &&NodeActor| node.queues().is_none_or(|queues| queues.open > 0);
        self.parties.nodes.iter().take(self.first_sybil).filter(is_busy).count()
    }

    /// The run is long over and somebody is not done.
    pub(super) fn stuck(&self) -> Result<(), Violation> {
        if self.parties.clients.is_empty() && self.to_come == 0 && self.owed == 0 {
            let detail = format!(
                "{} nodes are still at work {NODE_PATIENCE_SECONDS} s after the last client left",
                self.busy_nodes()
            );
            return self.check(Err(("unpaid_work_is_bounded", detail)));
        }
        self.check(Err(("every_job_ends", format!("{} jobs are still open", self.parties.clients.len()))))
    }

    fn fired(&mut self, kind: FaultKind) {
        let count = self.log.fired.entry(kind).or_default();
        *count = count.saturating_add(1);
    }

    /// Collects what faults did.
    pub(super) fn count_fired(&mut self) {
        let mut all: Vec<Fired> = self.relay.take_fired();
        all.extend(self.parties.routers.iter_mut().map(|router| router.faults.take_fired()));
        all.extend(self.parties.nodes.iter_mut().map(|node| node.faults.take_fired()));
        all.extend(core::mem::take(&mut self.log.fired_by_clients));
        for (kind, count) in all.into_iter().flatten() {
            let sum = self.log.fired.entry(kind).or_default();
            *sum = sum.saturating_add(count);
        }
    }
}

fn is_stored(payload: &Payload) -> bool {
    STORED.contains(&payload.kind())
}

/// Cuts are between a party and relays: relays know of them.
fn is_cut(kind: FaultKind) -> bool {
    let befalls = kind.row().befalls;
    kind.row().row == 6 || matches!(befalls, Befalls::Relay | Befalls::LyingRelay)
}

const DAY_SECONDS: i64 = 86_400;
/// A reader that is back asks for what it missed.
const CATCH_UP_MS: u64 = 200;
