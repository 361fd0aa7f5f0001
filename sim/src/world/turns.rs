//! One turn of one party: it acts, its effects are applied, its facts are noted, and the invariants are checked.

use fedai_client::core::job_ending::{Answer, JobFailure, Settlement};
use fedai_protocol::{Msat, UnixMicros};

use super::happenings::Happening;
use super::parties::Parties;
use super::{DISK_MS, Party, SERVICE_RESTART_SECONDS, World};
use crate::hooks::Truth;
use crate::invariants::{self, Check, Violation};
use crate::node_actor::NodeActor;
use crate::relay_model::Parcel;
use crate::router_actor::RouterActor;
use crate::scenario::{START, Tamper};
use crate::turn::{AccountPayment, Effect, Fact, Turn};

impl World {
    pub(super) fn with_router(
        &mut self,
        index: usize,
        visit: impl FnOnce(&mut RouterActor, &mut Turn<'_>),
    ) -> Result<(), Violation> {
        self.act(Party::Router(index), |parties, turn| {
            if let Some(router) = parties.routers.get_mut(index) {
                visit(router, turn);
            }
        })
    }

    pub(super) fn with_node(
        &mut self,
        index: usize,
        visit: impl FnOnce(&mut NodeActor, &mut Turn<'_>),
    ) -> Result<(), Violation> {
        self.act(Party::Node(index), |parties, turn| {
            if let Some(node) = parties.nodes.get_mut(index) {
                visit(node, turn);
            }
        })
    }

    /// One turn: act, apply the effects, check.
    pub(super) fn act(
        &mut self,
        party: Party,
        action: impl FnOnce(&mut Parties, &mut Turn<'_>),
    ) -> Result<(), Violation> {
        let now = self.agenda.now();
        let clock = self.clock_of(party);
        let mut turn = Turn::with_room(clock, &mut self.mint, core::mem::take(&mut self.room));
        action(&mut self.parties, &mut turn);
        let Turn { mut effects, mut facts, .. } = turn;
        self.log.events = self.log.events.saturating_add(1);
        if let Party::Node(index) = party {
            self.watch_node(now, index);
        }
        for fact in facts.drain(..) {
            self.note(now, party, fact)?;
        }
        for effect in effects.drain(..) {
            if self.crashes_before_effect(party) {
                return self.crash(party);
            }
            self.apply(now, party, effect)?;
        }
        self.room = (effects, facts);
        if let Party::Client(job) = party
            && self.parties.clients.get(&job).is_some_and(|client| client.is_ended())
            && self.scenario.tamper != Some(Tamper::ForgetEnding)
        {
            self.remove_client(job);
        }
        if let Party::Node(index) = party
            && self.parties.nodes.get_mut(index).is_some_and(NodeActor::take_exit)
        {
            // Whoever runs a service starts it again when it has left by itself.
            self.agenda.at(now.plus_seconds(SERVICE_RESTART_SECONDS), Happening::Restart(party));
        }
        self.plan_tick(now, party);
        self.check_party(party)?;
        self.check(self.watcher.conservation(self.parties.clients.len()))
    }

    /// A node may have another key now, and the oracle hears of its state.
    fn watch_node(&mut self, now: UnixMicros, index: usize) {
        let Some(node) = self.parties.nodes.get_mut(index) else { return };
        let key = node.identity();
        if self.owners.of(&key).is_none() {
            self.owners.note(key, index);
            if !node.is_honest() {
                self.watcher.suspect(key);
            }
        }
        let Some(oracle) = &self.oracle else { return };
        let state = node.state(now);
        let profile = *node.runner().profile();
        let truth = Truth {
            index,
            running: u32::try_from(node.runner().running()).unwrap_or(u32::MAX),
            queued: u32::try_from(state.map_or(0, |state| state.queued) + node.runner().waiting())
                .unwrap_or(u32::MAX),
            at: now,
            remaining_micros: node.runner().remaining_micros(now),
            profile,
            is_up: state.is_some(),
        };
        if let Ok(mut oracle) = oracle.lock() {
            oracle.set(key, truth);
        }
    }

    fn apply(&mut self, now: UnixMicros, party: Party, effect: Effect) -> Result<(), Violation> {
        let of_node = match party {
            Party::Node(index) => self.parties.nodes.get(index).map(|node| (index, node.incarnation())),
            _ => None,
        };
        match (effect, of_node) {
            (Effect::Publish(payload), _) => {
                self.publish(now, Parcel { from: party, payload, tries: 0 })?;
            }
            (Effect::Listen(key), _) => self.relay.listen(key, party),
            (Effect::Unlisten(key), _) => self.relay.unlisten(&key),
            (Effect::Runner(due), Some((index, incarnation))) => {
                let at = self.world_time(party, due.at);
                self.agenda.at(at, Happening::Runner(index, incarnation, due));
            }
            (Effect::Loaded(at), Some((index, incarnation))) => {
                let at = self.world_time(party, at);
                self.agenda.at(at, Happening::Loaded(index, incarnation));
            }
            (Effect::Store(job, receipt, dispatch), Some((index, incarnation))) => {
                let events = Box::new((receipt, dispatch));
                let stored = Happening::Stored(index, incarnation, job, events);
                self.agenda.at(now.plus_millis(DISK_MS), stored);
            }
            (Effect::Runner(_) | Effect::Loaded(_) | Effect::Store(..), None) => {}
        }
        Ok(())
    }

    pub(super) fn publish(&mut self, now: UnixMicros, parcel: Parcel) -> Result<(), Violation> {
        let carriage = match self.relay.carry(now, &parcel, &mut self.relay_chance) {
            Ok(carriage) => carriage,
            Err(leak) => return self.check(Err(("sealed_on_relays", leak.to_string()))),
        };
        let Parcel { from, payload, tries } = parcel;
        for injected in carriage.injected {
            self.agenda.at(injected.at, Happening::Injected(injected.to, injected.json));
        }
        if let Some(at) = carriage.again {
            let again = Parcel { from, payload: payload.clone(), tries: tries.saturating_add(1) };
            self.owe(&payload);
            self.agenda.at(at, Happening::Publish(again));
        }
        let mut deliveries = carriage.deliveries.into_iter();
        let first = deliveries.next();
        for (at, party) in deliveries {
            self.owe(&payload);
            self.agenda.at(at, Happening::Delivery(party, payload.clone()));
        }
        if let Some((at, party)) = first {
            self.owe(&payload);
            self.agenda.at(at, Happening::Delivery(party, payload));
        }
        Ok(())
    }

    fn remove_client(&mut self, job: usize) {
        let party = Party::Client(job);
        self.ticks.remove(&party);
        self.spins.remove(&party);
        if let Some(mut client) = self.parties.clients.remove(&job) {
            let fired = client.faults.take_fired();
            if !fired.is_empty() {
                self.log.fired_by_clients.push(fired);
            }
        }
    }

    fn note(&mut self, now: UnixMicros, party: Party, fact: Fact) -> Result<(), Violation> {
        self.log.news = self.log.news.saturating_add(u64::from(fact.is_news()));
        let job = if let Party::Client(job) = party { job } else { usize::MAX };
        let check = match fact {
            Fact::Durable(event) => {
                let Party::Node(index) = party else { return Ok(()) };
                self.log.durable(index, &event);
                let node = self.parties.nodes.get(index).map(NodeActor::identity);
                node.map_or(Ok(()), |node| self.watcher.durable(node, &event))
            }
            Fact::RunnerStarted(id) => {
                let Party::Node(index) = party else { return Ok(()) };
                let life = self.parties.nodes.get(index).map_or(0, NodeActor::incarnation);
                self.watcher.runner_started((index, life), id)
            }
            Fact::Opened { job: id, node, dispatch } => {
                self.log.attempts = self.log.attempts.saturating_add(1);
                self.watcher.opened(now, job, (id, node), dispatch)
            }
            Fact::Delivered(text) => {
                let again = self.scenario.tamper == Some(Tamper::RepeatOutput);
                let text = if again { format!("{text}{text}") } else { text };
                self.watcher.delivered(job, &text)
            }
            Fact::Restarted => self.watcher.restarted(job),
            Fact::Settled(settlement) => self.note_settled(now, job, &settlement),
            Fact::Paid(payment) => self.note_paid(job, &payment),
            Fact::Ended(_) if self.scenario.tamper == Some(Tamper::ForgetEnding) => Ok(()),
            Fact::Ended(ending) => return self.note_ended(now, job, &ending),
            Fact::Accused(node, code) => {
                self.log.evidence.push((node, code));
                if let Some(index) = self.owners.of(&node) {
                    self.log.conduct.accused(now, index, code);
                }
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
            Fact::Ranked(node, rank) => {
                if let (Some(index), Party::Router(0)) = (self.owners.of(&node), party) {
                    self.log.conduct.ranked(index, rank);
                }
                Ok(())
            }
            Fact::RouterRestarted { is_same } => self.watcher.router_restarted(is_same),
            Fact::Summed(summary) => {
                let Party::Router(index) = party else { return Ok(()) };
                self.watcher.summed(index, &summary);
                if self.scenario.terms.keeps_journals {
                    let key = (index, summary.node, summary.epoch.0);
                    self.log.summaries.insert(key, *summary);
                }
                Ok(())
            }
            Fact::Uncounted => {
                self.watcher.uncounted();
                Ok(())
            }
            Fact::Broken(what) => Err(("causality", what)),
        };
        self.check(check)
    }

    fn note_settled(&mut self, now: UnixMicros, job: usize, settlement: &Settlement) -> Check {
        self.log.settled(job, settlement);
        if let Some(index) = self.owners.of(&settlement.node.node) {
            let prompt = self.scenario.arrivals.get(job).map(|arrival| arrival.prompt);
            self.log.conduct.settled(now, index, prompt.as_ref(), settlement);
        }
        self.watcher.settled(job, settlement)
    }

    /// The rail of this world: it moves the money, and tells the router of the ticket that it has moved.
    fn note_paid(&mut self, job: usize, payment: &AccountPayment) -> Check {
        let amount = payment.amount;
        match self.owners.of(&payment.node).filter(|_| payment.is_paid) {
            Some(index) => {
                let mut routers = self.parties.routers.iter_mut();
                if let Some(router) = routers.find(|router| router.identity() == payment.router) {
                    router.paid(payment.receipt, amount);
                }
                self.log.accounts.pay_node(index, amount);
                self.log.paid(job, amount.get());
                self.note_own(job, amount);
            }
            None => self.log.accounts.owe(amount),
        }
        invariants::money(self.log.accounts.is_balanced(), &self.log.accounts)
    }

    fn note_ended(
        &mut self,
        now: UnixMicros,
        job: usize,
        ending: &Result<Answer, JobFailure>,
    ) -> Result<(), Violation> {
        let node = match ending {
            Ok(answer) => Some(answer.settlement.node.node),
            Err(failure) => failure.attempts.last().map(|note| note.node),
        };
        let node = node.and_then(|node| self.owners.of(&node));
        if let Ok(answer) = ending {
            self.pay_fee(job, answer);
        }
        self.log.end(now, job, node, ending);
        self.go_on_after(now, job);
        let check = self.watcher.ended(now, job, ending);
        self.check(check)?;
        self.canary_ended(now, job, ending)
    }

    /// The router that named the node takes its fee from a job that ended well.
    fn pay_fee(&mut self, job: usize, answer: &Answer) {
        let fee = answer.ticket.fee;
        if fee.get() == 0 || answer.settlement.verdict.is_err() {
            return;
        }
        let router = answer.ticket.router;
        if let Some(index) = self.parties.routers.iter().position(|other| other.identity() == router) {
            self.log.accounts.pay_router(index, fee);
            self.log.paid(job, fee.get());
            self.note_own(job, fee);
        }
    }

    fn note_own(&mut self, job: usize, amount: Msat) {
        self.note_canary_paid(job, amount);
        let number = job.checked_sub(self.scenario.arrivals.len());
        let own = number.and_then(|number| self.scenario.own_jobs.get(number));
        if let Some(own) = own {
            self.log.accounts.paid_by_own(own.node, amount);
        }
    }

    fn check_party(&mut self, party: Party) -> Result<(), Violation> {
        let Party::Node(index) = party else { return Ok(()) };
        let node = self.parties.nodes.get_mut(index).filter(|node| node.is_honest());
        let Some(node) = node else { return Ok(()) };
        let Some(state) = node.queues() else { return Ok(()) };
        if node.has_stalled() {
            return Ok(());
        }
        let on_runner = node.runner().running().saturating_add(node.runner().waiting());
        let check = invariants::queues(&state, &node.policy().limits, on_runner);
        self.check(check)
    }

    pub(super) fn check(&self, check: Result<(), (&'static str, String)>) -> Result<(), Violation> {
        invariants::at(self.agenda.now(), START, check)
    }

    pub(super) fn plan_tick(&mut self, now: UnixMicros, party: Party) {
        let at = match party {
            Party::Router(index) => self.parties.routers.get(index).and_then(RouterActor::poll_timeout),
            Party::Node(index) => self.parties.nodes.get(index).and_then(NodeActor::poll_timeout),
            Party::Client(job) => self.parties.clients.get(&job).and_then(|client| client.poll_timeout()),
        };
        // A timer that is due already fires a moment later, as a real one does.
        let Some(at) = at.map(|at| self.world_time(party, at).max(now.plus(1))) else { return };
        if self.ticks.get(&party).is_none_or(|planned| at < *planned) {
            self.ticks.insert(party, at);
            self.agenda.at(at, Happening::Tick(party, at));
        }
    }
}
