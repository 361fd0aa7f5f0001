//! One job's life as the client lives it: quotes, the best one checked, a node, frames, and exactly one ending.
//!
//! Inputs are what was verified and typed by the shell; outputs are actions, in order. A journey never asks for money
//! above the ceiling, never hands output on twice, and never acknowledges a receipt that it did not check. After its
//! ending it gives no actions any more.

use fedai_protocol::job_state::JobStep;
use fedai_protocol::limits::REQUEST_BYTES_MAX;
use fedai_protocol::message::Received;
use fedai_protocol::output_stream::OutputLine;
use fedai_protocol::{EventId, PublicKey, QuoteReply, QuoteRequest, Refusal, RefusalCode, UnixMicros};

use super::accept_times::AcceptTimes;
use super::attempt::{Attempt, AttemptEvent};
use super::delivery::OutputDelivery;
use super::failover::{Failover, NextStep, is_retryable};
use super::hedge::{Hedge, Running};
use super::job_ending::AttemptNote;
use super::job_spec::{JobSpec, JourneyTiming, RouterTarget};
use super::journey_step::{JourneyAction, JourneyInput};
use super::peer_search::PeerSearch;
use super::quote_check::Ticket;
use super::quote_round::QuoteRound;
use super::retry_budget::RetryBudgets;
use super::router_silence::RouterSilence;
use super::spending::{Spending, SpendingError};

/// Routers asked in one round.
pub(crate) const ROUTERS_ASKED_MAX: usize = 3;
/// Wait for the profiles of routers that a full one named, in milliseconds.
const FIND_WAIT_MS: u64 = 3_000;

/// One job's life.
#[derive(Debug)]
pub struct Journey {
    pub(super) spec: JobSpec,
    pub(super) timing: JourneyTiming,
    pub(super) stage: Stage,
    pub(super) failover: Failover,
    pub(super) spending: Spending,
    pub(super) delivery: OutputDelivery,
    pub(super) round: Option<QuoteRound>,
    pub(super) ticket: Option<Ticket>,
    pub(super) is_held: bool,
    /// The attempt whose output is handed on.
    pub(super) running: Option<Running>,
    /// Attempts begun so far.
    pub(super) number: u32,
    pub(super) hedge: Hedge,
    pub(super) budgets: RetryBudgets,
    accept_times: AcceptTimes,
    /// Nodes that are not asked for at first.
    passed_over: Vec<PublicKey>,
    pub(super) peers: PeerSearch,
    /// Routers of the list that were asked so far, in turns.
    pub(super) asked: usize,
    pub(super) silence: RouterSilence,
    pub(super) notes: Vec<AttemptNote>,
    pub(super) refusal: Option<Refusal>,
    /// The last node has only said that the wait there is longer than accepted.
    pub(super) was_turned_away: bool,
    pub(super) dishonest: Option<String>,
    pub(super) begun_at: UnixMicros,
    pub(super) quoted_ms: u64,
    /// The decision behind the last attempt.
    pub(super) decision: Option<EventId>,
    pub(super) first_output_at: Option<UnixMicros>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    New,
    Quoting,
    Waiting {
        until: UnixMicros,
    },
    /// Other routers are looked up.
    Finding {
        until: UnixMicros,
    },
    Attempting,
    Ended,
}

impl Journey {
    /// A job; with a ticket that still covers it, no quote is needed.
    #[must_use]
    pub fn new(spec: JobSpec, timing: JourneyTiming, ticket: Option<Ticket>, now: UnixMicros) -> Self {
        let spending = Spending::new(spec.max_cost);
        let delivery = OutputDelivery::new(spec.delivery);
        Self {
            spec,
            timing,
            stage: Stage::New,
            failover: Failover::default(),
            spending,
            delivery,
            round: None,
            is_held: ticket.is_some(),
            ticket,
            running: None,
            number: 0,
            hedge: Hedge::default(),
            budgets: RetryBudgets::default(),
            accept_times: AcceptTimes::default(),
            passed_over: Vec::new(),
            peers: PeerSearch::default(),
            asked: 0,
            silence: RouterSilence::default(),
            notes: Vec::new(),
            refusal: None,
            was_turned_away: false,
            dishonest: None,
            begun_at: now,
            quoted_ms: 0,
            decision: None,
            first_output_at: None,
        }
    }

    /// Shares its second tries with the other jobs of the process.
    #[must_use]
    pub fn sharing(mut self, budgets: RetryBudgets) -> Self {
        self.budgets = budgets;
        self
    }

    /// Waits for answers to job opens as the other jobs of the process have learned to.
    #[must_use]
    pub fn learning(mut self, accept_times: AcceptTimes) -> Self {
        self.accept_times = accept_times;
        self
    }

    /// Asks for other nodes than these at first. They serve where nobody else can, and after a break.
    #[must_use]
    pub fn passing_over(mut self, nodes: Vec<PublicKey>) -> Self {
        self.passed_over = nodes;
        self
    }

    /// The ticket that is used, when there is one.
    #[must_use]
    pub const fn ticket(&self) -> Option<&Ticket> {
        self.ticket.as_ref()
    }

    /// True after the ending.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    /// When to send [`JourneyInput::Tick`] if nothing happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<UnixMicros> {
        let next = match self.stage {
            Stage::New | Stage::Ended => return None,
            Stage::Quoting => self.round.as_ref().map(|round| round.poll_timeout(&self.timing)),
            Stage::Waiting { until } | Stage::Finding { until } => Some(until),
            Stage::Attempting => self.running_timeout(),
        };
        Some(next.unwrap_or(self.spec.deadline).min(self.spec.deadline))
    }

    /// Takes one input.
    pub fn handle(&mut self, now: UnixMicros, input: JourneyInput, out: &mut Vec<JourneyAction>) {
        if self.stage == Stage::Ended {
            return;
        }
        if let JourneyInput::Asked(question) = &input {
            // Also when it took the rest of the job's time.
            self.silence.asked(question.router);
        }
        if now >= self.spec.deadline && !matches!(input, JourneyInput::Frame { .. }) {
            self.silence.out_of_time(now.millis_since(self.begun_at));
            return self.stop(JobStep::Expire, RefusalCode::Timeout, "the job's time is up", out);
        }
        match input {
            JourneyInput::Start if self.spec.request.len() > REQUEST_BYTES_MAX => {
                let text = format!("the request is larger than {REQUEST_BYTES_MAX} bytes");
                self.stop(JobStep::Cancel, RefusalCode::TooLarge, &text, out);
            }
            JourneyInput::Start => {
                self.budgets.job(now);
                self.proceed(now, out);
            }
            JourneyInput::Asked(question) => self.round.iter_mut().for_each(|round| round.asked(question)),
            JourneyInput::Reply(reply) => self.on_reply(now, &reply, out),
            JourneyInput::RoutersFound(found) => self.on_routers_found(now, &found, out),
            JourneyInput::Opened { attempt, with } => {
                if let Some(run) = self.run_mut(attempt) {
                    run.attempt.opened(now, with);
                }
            }
            JourneyInput::NotOpened { attempt } => {
                let refusal = Refusal::new(RefusalCode::Internal, "the job could not be sealed");
                self.act(now, attempt, AttemptEvent::Lost(refusal), out);
            }
            JourneyInput::Frame { attempt, frame } => {
                self.drive(now, attempt, out, |current, events| current.frame(now, frame, events));
            }
            JourneyInput::RelaysChanged => {
                for number in self.numbers() {
                    self.drive(now, number, out, |current, events| current.relays_changed(now, events));
                }
            }
            JourneyInput::DirectWayLost { attempt } => {
                self.drive(now, attempt, out, |current, events| current.direct_way_lost(now, events));
            }
            JourneyInput::Cancel => {
                self.stop(JobStep::Cancel, RefusalCode::Cancelled, "stopped by the user", out)
            }
            JourneyInput::Tick => self.on_tick(now, out),
        }
    }

    fn on_tick(&mut self, now: UnixMicros, out: &mut Vec<JourneyAction>) {
        match self.stage {
            Stage::Quoting => self.conclude_round(now, out),
            Stage::Waiting { until } if now >= until => {
                self.failover.waited();
                self.ask(now, out);
            }
            Stage::Finding { until } if now >= until => self.on_routers_found(now, &[], out),
            Stage::Attempting => {
                self.hedge_if_due(now, out);
                for number in self.numbers() {
                    self.drive(now, number, out, |current, events| current.tick(now, events));
                }
            }
            _ => {}
        }
    }

    /// The next node, the next quote, or the end.
    pub(super) fn proceed(&mut self, now: UnixMicros, out: &mut Vec<JourneyAction>) {
        let next = self.failover.next_step(self.ticket.as_ref(), now.seconds(), &self.timing);
        let is_second = match next {
            NextStep::Node(_) => self.number > 0,
            NextStep::Quote { .. } => self.failover.rounds() > 0,
            NextStep::End => false,
        };
        // A node that said at once that it has no slot in time did no work: the next one is no second try.
        let is_second = is_second && !core::mem::take(&mut self.was_turned_away);
        if is_second && let Err(wait_ms) = self.budgets.retry(now) {
            let silent = self.silence.ending().map(|(_, refusal)| refusal);
            let last = self.refusal.as_ref().or(silent.as_ref());
            let last = last.map_or(RefusalCode::NoNode, |refusal| refusal.code);
            let text =
                format!("too many second tries in this process of late; the first one ended with {last}");
            self.refusal = Some(Refusal::new(RefusalCode::RateLimited, text).retry_after(wait_ms));
            return self.fail(out);
        }
        match next {
            NextStep::Node(index) => self.open(now, index, out),
            NextStep::Quote { .. } if self.peers.has_fresh() => self.ask(now, out),
            NextStep::Quote { wait_ms: 0 } => self.ask(now, out),
            NextStep::Quote { wait_ms } => {
                self.stage = Stage::Waiting { until: now.plus_millis(wait_ms) };
            }
            NextStep::End => self.fail(out),
        }
    }

    fn ask(&mut self, now: UnixMicros, out: &mut Vec<JourneyAction>) {
        self.failover.count_round();
        self.stage = Stage::Quoting;
        self.ticket = None;
        self.is_held = false;
        if !self.notes.is_empty() {
            self.passed_over.clear();
        }
        let avoided: Vec<PublicKey> =
            self.failover.avoided().chain(self.passed_over.iter().copied()).collect();
        let requests: Vec<QuoteRequest> = self
            .next_routers()
            .into_iter()
            .map(|router| self.spec.quote_request(router, avoided.iter().copied(), now))
            .collect();
        self.silence.will_ask(&requests);
        self.round = Some(QuoteRound::new(now, requests.len()));
        out.push(JourneyAction::Ask(requests));
    }

    /// Routers that were found for us come first; else each round goes on in the list where the last one ended.
    fn next_routers(&mut self) -> Vec<RouterTarget> {
        let fresh = self.peers.take_fresh(ROUTERS_ASKED_MAX);
        if !fresh.is_empty() {
            return fresh.into_iter().map(RouterTarget::Router).collect();
        }
        let count = self.spec.routers.len().min(ROUTERS_ASKED_MAX);
        let routers = self.spec.routers.iter().cycle().skip(self.asked).take(count).copied().collect();
        self.asked = self.asked.saturating_add(count);
        routers
    }

    fn on_reply(&mut self, now: UnixMicros, reply: &Received<QuoteReply>, out: &mut Vec<JourneyAction>) {
        let avoided: Vec<PublicKey> = self.failover.avoided().collect();
        if let (Stage::Quoting, Some(round)) = (self.stage, &mut self.round) {
            round.reply(now, reply, &self.spec, &avoided);
            if round.is_answered() {
                self.silence.broken();
            }
            self.conclude_round(now, out);
        }
    }

    /// Ends the round of quotes when it is time, with the best one.
    fn conclude_round(&mut self, now: UnixMicros, out: &mut Vec<JourneyAction>) {
        let Some(round) = self.round.take_if(|round| now >= round.poll_timeout(&self.timing)) else { return };
        self.quoted_ms = now.millis_since(self.begun_at);
        self.silence.lasted(self.quoted_ms);
        let result = round.conclude(self.spec.mode);
        if result.best.is_none() && !self.passed_over.is_empty() {
            self.passed_over.clear();
            self.asked = 0;
            return self.ask(now, out);
        }
        if result.best.is_some() || result.refusal.is_some() {
            self.dishonest = result.dishonest;
        }
        self.ticket = result.best;
        let peers = if self.ticket.is_none() { result.peers } else { Vec::new() };
        let peers = self.peers.choose(peers, &self.spec);
        let is_looking = !peers.is_empty();
        if let (None, Some(refusal)) = (&self.ticket, result.refusal) {
            // As long as there are routers that were not asked, none of the others has the last word.
            if self.asked >= self.spec.routers.len() && !is_looking {
                self.failover.router_refused(&refusal);
            }
            // The last word of routers counts, unless it was load or a node has spoken already.
            if self.notes.is_empty() && !self.refusal.as_ref().is_some_and(is_retryable) {
                self.refusal = None;
            }
            self.refusal.get_or_insert(refusal);
        }
        if is_looking {
            self.stage = Stage::Finding { until: now.plus_millis(FIND_WAIT_MS) };
            out.push(JourneyAction::FindRouters(peers));
            return;
        }
        self.proceed(now, out);
    }

    /// Other routers were looked up: they are asked at once, whatever the full one said of waiting.
    fn on_routers_found(&mut self, now: UnixMicros, found: &[PublicKey], out: &mut Vec<JourneyAction>) {
        if matches!(self.stage, Stage::Finding { .. }) {
            self.peers.found(found);
            self.proceed(now, out);
        }
    }

    fn open(&mut self, now: UnixMicros, index: usize, out: &mut Vec<JourneyAction>) {
        match self.begin(now, index, out) {
            Ok(None) => {}
            Ok(Some(run)) => {
                self.stage = Stage::Attempting;
                self.delivery.next_attempt();
                self.running = Some(run);
                self.hedge = self.plan_hedge(now, index);
            }
            Err(error) => {
                self.refusal = Some(Refusal::new(RefusalCode::PriceCeiling, error.to_string()));
                self.fail(out);
            }
        }
    }

    /// Begins an attempt at a node of the ticket, with its worst case reserved.
    pub(super) fn begin(
        &mut self,
        now: UnixMicros,
        index: usize,
        out: &mut Vec<JourneyAction>,
    ) -> Result<Option<Running>, SpendingError> {
        let Some(ticket) = self.ticket.clone() else { return Ok(None) };
        let Some(mut node) = ticket.nodes.get(index).cloned() else { return Ok(None) };
        node.patience_ms = node.patience_ms.filter(|_| self.failover.may_turn_away(&node.node));
        let number = self.number.saturating_add(1);
        self.spending.reserve(number, node.max_cost.saturating_add(ticket.fee))?;
        self.number = number;
        self.decision = Some(ticket.request);
        self.failover.count_attempt();
        self.failover.opens_at(&node.node);
        let note = self.notes.len();
        self.notes.push(AttemptNote::new(node.node, ticket.router));
        let accept_wait_ms = self.accept_times.wait_ms(&self.timing);
        let mut attempt = Attempt::new(node.clone(), self.timing, now).accepted_within(accept_wait_ms);
        if ticket.nodes.len() > index.saturating_add(1) {
            attempt = attempt.stalled_after(self.spec.deadline.millis_since(now) / 2);
        }
        out.push(JourneyAction::Open { attempt: number, node: Box::new(node), ticket: Box::new(ticket) });
        Ok(Some(Running { number, attempt, note, lines: Vec::new() }))
    }

    /// Lets an attempt take something, and acts on what it says.
    fn drive(
        &mut self,
        now: UnixMicros,
        attempt: u32,
        out: &mut Vec<JourneyAction>,
        take: impl FnOnce(&mut Attempt, &mut Vec<AttemptEvent>),
    ) {
        let mut events = Vec::new();
        if let Some(run) = self.run_mut(attempt) {
            take(&mut run.attempt, &mut events);
            let answered = run.attempt.answer_took(now).filter(|_| events.contains(&AttemptEvent::Accepted));
            let is_silent = !run.attempt.has_answered() && events.iter().any(AttemptEvent::is_loss);
            answered.iter().for_each(|took| self.accept_times.observe(*took));
            if is_silent {
                self.accept_times.missed();
            }
        }
        for event in events {
            self.act(now, attempt, event, out);
        }
    }

    fn act(&mut self, now: UnixMicros, attempt: u32, event: AttemptEvent, out: &mut Vec<JourneyAction>) {
        if self.stage != Stage::Attempting || self.run_mut(attempt).is_none() {
            return;
        }
        let Some(event) = self.race(now, attempt, event, out) else { return };
        if self.stage != Stage::Attempting {
            return;
        }
        match event {
            AttemptEvent::Send { s, body } => out.push(JourneyAction::Send { attempt, s, body }),
            AttemptEvent::OpenAgain => out.push(JourneyAction::OpenAgain { attempt }),
            AttemptEvent::Accepted => {}
            AttemptEvent::Lines(lines) => self.deliver(now, lines, out),
            AttemptEvent::Finished(last) => self.finish(now, *last, out),
            AttemptEvent::Broken(failure) => self.on_broken(now, failure, out),
            AttemptEvent::Lost(refusal) => self.leave(now, refusal, out),
        }
    }

    pub(super) fn deliver(&mut self, now: UnixMicros, lines: Vec<OutputLine>, out: &mut Vec<JourneyAction>) {
        if lines.iter().any(|line| line.delivered > 0) {
            self.first_output_at.get_or_insert(now);
        }
        match self.delivery.push(lines) {
            Ok(fresh) if fresh.is_empty() => {}
            Ok(fresh) => out.push(JourneyAction::Deliver(fresh)),
            Err(diverged) => self.on_diverged(&diverged.to_string(), out),
        }
    }
}

#[cfg(test)]
#[path = "job_journey_tests.rs"]
mod tests;
