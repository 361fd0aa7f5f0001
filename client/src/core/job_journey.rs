//! One job's life as the client lives it: quotes, the best one checked, a node, frames, and exactly one ending.
//!
//! Inputs are what was verified and typed by the shell; outputs are actions, in order. A journey never asks for money
//! above the ceiling, never hands output on twice, and never acknowledges a receipt that it did not check. After its
//! ending it gives no actions any more.

use fedai_protocol::job_state::JobStep;
use fedai_protocol::limits::REQUEST_BYTES_MAX;
use fedai_protocol::message::Received;
use fedai_protocol::output_stream::{OutputLine, delivered_bytes};
use fedai_protocol::receipt::Outcome;
use fedai_protocol::session_frame::{Failure, Final};
use fedai_protocol::{
    PublicKey, QuoteReply, QuoteRequest, Refusal, RefusalCode, UnixMicros, Usage, VerifiedEvent,
};

use super::attempt::{Attempt, AttemptEvent};
use super::delivery::OutputDelivery;
use super::failover::{Failover, NextStep, is_retryable};
use super::job_ending::{Answer, AttemptNote, JobFailure, Settlement};
use super::job_spec::{JobSpec, JourneyTiming, OnBreak};
use super::journey_step::{JourneyAction, JourneyInput};
use super::quote_check::Ticket;
use super::quote_round::QuoteRound;
use super::receipt_check::{KnownJob, check_receipt};
use super::spending::Spending;

/// Routers asked in one round.
const ROUTERS_ASKED_MAX: usize = 3;

/// One job's life.
#[derive(Debug)]
pub struct Journey {
    spec: JobSpec,
    timing: JourneyTiming,
    stage: Stage,
    failover: Failover,
    spending: Spending,
    delivery: OutputDelivery,
    round: Option<QuoteRound>,
    ticket: Option<Ticket>,
    is_held: bool,
    attempt: Option<Attempt>,
    number: u32,
    notes: Vec<AttemptNote>,
    refusal: Option<Refusal>,
    dishonest: Option<String>,
    begun_at: UnixMicros,
    quoted_ms: u64,
    first_output_at: Option<UnixMicros>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    Quoting,
    Waiting { until: UnixMicros },
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
            attempt: None,
            number: 0,
            notes: Vec::new(),
            refusal: None,
            dishonest: None,
            begun_at: now,
            quoted_ms: 0,
            first_output_at: None,
        }
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
            Stage::Waiting { until } => Some(until),
            Stage::Attempting => self.attempt.as_ref().and_then(Attempt::poll_timeout),
        };
        Some(next.unwrap_or(self.spec.deadline).min(self.spec.deadline))
    }

    /// Takes one input.
    pub fn handle(&mut self, now: UnixMicros, input: JourneyInput, out: &mut Vec<JourneyAction>) {
        if self.stage == Stage::Ended {
            return;
        }
        if now >= self.spec.deadline && !matches!(input, JourneyInput::Frame { .. }) {
            return self.stop(JobStep::Expire, RefusalCode::Timeout, "the job's time is up", out);
        }
        match input {
            JourneyInput::Start if self.spec.request.len() > REQUEST_BYTES_MAX => {
                let text = format!("the request is larger than {REQUEST_BYTES_MAX} bytes");
                self.stop(JobStep::Cancel, RefusalCode::TooLarge, &text, out);
            }
            JourneyInput::Start => self.proceed(now, out),
            JourneyInput::Asked(question) => self.round.iter_mut().for_each(|round| round.asked(question)),
            JourneyInput::Reply(reply) => self.on_reply(now, &reply, out),
            JourneyInput::Opened { attempt, with } => {
                if let Some(current) = self.current(attempt) {
                    current.opened(with);
                }
            }
            JourneyInput::NotOpened { attempt } if attempt == self.number => {
                self.leave(now, Refusal::new(RefusalCode::Internal, "the job could not be sealed"), out);
            }
            JourneyInput::NotOpened { .. } => {}
            JourneyInput::Frame { attempt, frame } => {
                self.drive(now, attempt, out, |current, events| current.frame(now, frame, events));
            }
            JourneyInput::RelaysChanged => {
                let number = self.number;
                self.drive(now, number, out, |current, events| current.relays_changed(now, events));
            }
            JourneyInput::Cancel => {
                self.stop(JobStep::Cancel, RefusalCode::Cancelled, "stopped by the user", out)
            }
            JourneyInput::Tick => self.on_tick(now, out),
        }
    }

    fn current(&mut self, attempt: u32) -> Option<&mut Attempt> {
        self.attempt.as_mut().filter(|_| attempt == self.number)
    }

    fn on_tick(&mut self, now: UnixMicros, out: &mut Vec<JourneyAction>) {
        match self.stage {
            Stage::Quoting => self.conclude_round(now, out),
            Stage::Waiting { until } if now >= until => {
                self.failover.waited();
                self.ask(now, out);
            }
            Stage::Attempting => {
                let number = self.number;
                self.drive(now, number, out, |current, events| current.tick(now, events));
            }
            _ => {}
        }
    }

    /// The next node, the next quote, or the end.
    fn proceed(&mut self, now: UnixMicros, out: &mut Vec<JourneyAction>) {
        match self.failover.next_step(self.ticket.as_ref(), now.seconds(), &self.timing) {
            NextStep::Node(index) => self.open(now, index, out),
            NextStep::Quote { wait_ms: 0 } => self.ask(now, out),
            NextStep::Quote { wait_ms } => {
                self.stage = Stage::Waiting { until: now.plus_millis(wait_ms) };
            }
            NextStep::End => self.fail(out),
        }
    }

    fn ask(&mut self, now: UnixMicros, out: &mut Vec<JourneyAction>) {
        let asked_before = self.routers_asked();
        self.failover.count_round();
        self.stage = Stage::Quoting;
        self.ticket = None;
        self.is_held = false;
        let avoided: Vec<PublicKey> = self.failover.avoided().collect();
        let routers = self.spec.routers.iter().cycle().skip(asked_before);
        let requests: Vec<QuoteRequest> = routers
            .take(self.spec.routers.len().min(ROUTERS_ASKED_MAX))
            .map(|router| self.spec.quote_request(*router, avoided.iter().copied(), now))
            .collect();
        self.round = Some(QuoteRound::new(now, requests.len()));
        out.push(JourneyAction::Ask(requests));
    }

    /// Places in the list of routers that earlier rounds have used up; each round goes on where the last one ended.
    const fn routers_asked(&self) -> usize {
        (self.failover.rounds() as usize).saturating_mul(ROUTERS_ASKED_MAX)
    }

    fn on_reply(&mut self, now: UnixMicros, reply: &Received<QuoteReply>, out: &mut Vec<JourneyAction>) {
        let avoided: Vec<PublicKey> = self.failover.avoided().collect();
        if let (Stage::Quoting, Some(round)) = (self.stage, &mut self.round) {
            round.reply(now, reply, &self.spec, &avoided);
            self.conclude_round(now, out);
        }
    }

    /// Ends the round of quotes when it is time, with the best one.
    fn conclude_round(&mut self, now: UnixMicros, out: &mut Vec<JourneyAction>) {
        let Some(round) = self.round.take_if(|round| now >= round.poll_timeout(&self.timing)) else { return };
        self.quoted_ms = now.millis_since(self.begun_at);
        let result = round.conclude(self.spec.mode);
        if result.best.is_some() || result.refusal.is_some() {
            self.dishonest = result.dishonest;
        }
        self.ticket = result.best;
        if self.ticket.is_none() {
            match result.refusal {
                Some(refusal) => {
                    // As long as there are routers that were not asked, none of the others has the last word.
                    if self.routers_asked() >= self.spec.routers.len() {
                        self.failover.router_refused(&refusal);
                    }
                    // The last word of routers counts, unless it was load or a node has spoken already.
                    if self.notes.is_empty() && !self.refusal.as_ref().is_some_and(is_retryable) {
                        self.refusal = None;
                    }
                    self.refusal.get_or_insert(refusal);
                }
                None if self.refusal.is_none() => {
                    self.refusal = Some(Refusal::new(RefusalCode::NoNode, "no router answered"));
                }
                None => {}
            }
        }
        self.proceed(now, out);
    }

    fn open(&mut self, now: UnixMicros, index: usize, out: &mut Vec<JourneyAction>) {
        let Some(ticket) = self.ticket.clone() else { return };
        let Some(node) = ticket.nodes.get(index).cloned() else { return };
        self.number = self.number.saturating_add(1);
        let worst = node.max_cost.saturating_add(ticket.fee);
        if let Err(error) = self.spending.reserve(self.number, worst) {
            self.refusal = Some(Refusal::new(RefusalCode::PriceCeiling, error.to_string()));
            return self.fail(out);
        }
        self.failover.count_attempt();
        self.stage = Stage::Attempting;
        self.delivery.next_attempt();
        self.notes.push(AttemptNote::new(node.node, ticket.router));
        let mut attempt = Attempt::new(node.clone(), self.timing, now);
        if ticket.nodes.len() > index.saturating_add(1) {
            attempt = attempt.stalled_after(self.spec.deadline.millis_since(now) / 2);
        }
        self.attempt = Some(attempt);
        let attempt = self.number;
        out.push(JourneyAction::Open { attempt, node: Box::new(node), ticket: Box::new(ticket) });
    }

    /// Lets the current attempt take something, and acts on what it says.
    fn drive(
        &mut self,
        now: UnixMicros,
        attempt: u32,
        out: &mut Vec<JourneyAction>,
        take: impl FnOnce(&mut Attempt, &mut Vec<AttemptEvent>),
    ) {
        let mut events = Vec::new();
        if let Some(current) = self.current(attempt) {
            take(current, &mut events);
        }
        for event in events {
            if attempt != self.number || self.stage != Stage::Attempting {
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
    }

    fn deliver(&mut self, now: UnixMicros, lines: Vec<OutputLine>, out: &mut Vec<JourneyAction>) {
        if lines.iter().any(|line| delivered_bytes(&line.choice) > 0) {
            self.first_output_at.get_or_insert(now);
        }
        match self.delivery.push(lines) {
            Ok(fresh) if fresh.is_empty() => {}
            Ok(fresh) => out.push(JourneyAction::Deliver(fresh)),
            Err(diverged) => self.on_diverged(&diverged.to_string(), out),
        }
    }

    /// A different answer cannot be joined to what was handed on: begin anew if that was asked for, else end.
    fn on_diverged(&mut self, what: &str, out: &mut Vec<JourneyAction>) {
        if self.spec.on_break == OnBreak::Restart {
            let text = self.delivery.text().to_owned();
            self.delivery.forget_shown();
            self.delivery.next_attempt();
            out.push(JourneyAction::Restarted);
            let line = OutputLine { text, ..OutputLine::default() };
            if let Ok(lines) = self.delivery.push(vec![line]) {
                out.push(JourneyAction::Deliver(lines));
            }
            return;
        }
        let text = format!("the node broke off in mid-stream, and {what}");
        self.stop(JobStep::Cancel, RefusalCode::RunnerInterrupted, &text, out);
    }

    /// The node says that it is done: check, settle, end.
    fn finish(&mut self, now: UnixMicros, last: Final, out: &mut Vec<JourneyAction>) {
        let rest = match self.delivery.finish() {
            Ok(rest) => rest,
            Err(_) if self.spec.on_break == OnBreak::Restart => {
                self.on_diverged("", out);
                Vec::new()
            }
            Err(diverged) => {
                let text = format!("the node broke off in mid-stream, and {diverged}");
                return self.stop(JobStep::Cancel, RefusalCode::RunnerInterrupted, &text, out);
            }
        };
        if !rest.is_empty() {
            out.push(JourneyAction::Deliver(rest));
        }
        let seen =
            self.attempt.as_ref().and_then(|attempt| attempt.output().finish_reason().map(str::to_owned));
        let settled = self.settle(now, &last.receipt, Outcome::Complete, Some(&last.output_sha256), out);
        let (Some((settlement, usage)), Some(ticket)) = (settled, self.ticket.take()) else { return };
        self.note("complete");
        let answer = Answer {
            text: self.delivery.text().to_owned(),
            finish_reason: seen.unwrap_or(last.finish_reason),
            usage: usage.unwrap_or(last.usage),
            ticket,
            settlement,
            attempts: core::mem::take(&mut self.notes),
            quote_ms: self.quoted_ms,
            ttft_ms: self.first_output_at.unwrap_or(now).millis_since(self.begun_at),
            total_ms: now.millis_since(self.begun_at),
        };
        out.push(JourneyAction::Close { attempt: self.number });
        out.push(JourneyAction::End(Box::new(Ok(answer))));
        self.stage = Stage::Ended;
        self.attempt = None;
    }

    /// Checks a receipt and books what it charges; gives what was made of it, and the usage of a true one.
    fn settle(
        &mut self,
        now: UnixMicros,
        receipt: &VerifiedEvent,
        outcome: Outcome,
        claimed_sha256: Option<&str>,
        out: &mut Vec<JourneyAction>,
    ) -> Option<(Settlement, Option<Usage>)> {
        let (attempt, ticket) = (self.attempt.as_ref()?, self.ticket.as_ref()?);
        let opened = attempt.opened_with()?;
        let request_hash = fedai_protocol::job_open::request_hash(self.spec.request.as_bytes());
        let request_hash = hex::encode(request_hash);
        let known = KnownJob {
            job: opened.job,
            session: opened.session,
            nonce: &opened.nonce,
            request_hash: &request_hash,
            request_bytes: self.spec.request.len() as u64,
            messages: self.spec.messages,
            payment: ticket.dispatch.payment,
            dispatch: ticket.dispatch_event.id(),
            router: ticket.router,
            node: attempt.node(),
            output: attempt.output(),
            outcome,
            claimed_sha256,
        };
        let checked = check_receipt(receipt, &known);
        let (number, usage) = (self.number, checked.as_ref().ok().map(|receipt| receipt.usage));
        match &checked {
            Ok(true_receipt) => drop(self.spending.settle(number, true_receipt.amount)),
            Err(_) => self.spending.release(number),
        }
        let settlement = Settlement {
            attempt: number,
            job: opened.job,
            node: attempt.node().clone(),
            dispatch: ticket.dispatch_event.clone(),
            receipt: receipt.clone(),
            verdict: checked.map(|receipt| receipt.amount),
            observed_ttft_ms: attempt.ttft_ms(),
            observed_total_ms: attempt.total_ms(now),
        };
        out.push(JourneyAction::Settle(Box::new(settlement.clone())));
        Some((settlement, usage))
    }

    fn on_broken(&mut self, now: UnixMicros, failure: Failure, out: &mut Vec<JourneyAction>) {
        if let Some(receipt) = &failure.receipt {
            self.settle(now, receipt, Outcome::Partial, None, out);
        }
        self.leave(now, failure.refusal, out);
    }

    /// Leaves the current node and goes on as the policy says.
    fn leave(&mut self, now: UnixMicros, refusal: Refusal, out: &mut Vec<JourneyAction>) {
        let Some(attempt) = self.attempt.take() else { return };
        self.note(&refusal.code.as_str());
        self.spending.release(self.number);
        out.push(JourneyAction::Close { attempt: self.number });
        if self.is_held && !attempt.has_answered() {
            // The keys that it names may be from before a restart of the node: that is the ticket's fault, so ask anew.
            self.ticket = None;
        } else {
            self.failover.node_failed(attempt.node().node, &refusal);
        }
        self.refusal = Some(refusal);
        if self.delivery.has_shown() {
            match self.spec.on_break {
                OnBreak::Continue => {}
                OnBreak::Fail => return self.fail(out),
                OnBreak::Restart => {
                    self.delivery.forget_shown();
                    out.push(JourneyAction::Restarted);
                }
            }
        }
        self.proceed(now, out);
    }

    /// Stops whatever is going on and ends with a refusal of our own.
    fn stop(&mut self, step: JobStep, code: RefusalCode, text: &str, out: &mut Vec<JourneyAction>) {
        let mut events = Vec::new();
        if let Some(attempt) = &mut self.attempt {
            attempt.cancel(step, &mut events);
        }
        let attempt = self.number;
        for event in events {
            if let AttemptEvent::Send { s, body } = event {
                out.push(JourneyAction::Send { attempt, s, body });
            }
        }
        if self.attempt.take().is_some() {
            self.note(&code.as_str());
            out.push(JourneyAction::Close { attempt });
        }
        self.refusal = Some(Refusal::new(code, text));
        self.fail(out);
    }

    fn note(&mut self, outcome: &str) {
        if let Some(note) = self.notes.last_mut() {
            outcome.clone_into(&mut note.outcome);
        }
    }

    fn fail(&mut self, out: &mut Vec<JourneyAction>) {
        let refusal = self
            .refusal
            .take()
            .unwrap_or_else(|| Refusal::new(RefusalCode::NoNode, "nothing is left to try"));
        let failure = JobFailure {
            refusal,
            dishonest: self.dishonest.take(),
            has_shown: self.delivery.has_shown(),
            attempts: core::mem::take(&mut self.notes),
            spent: self.spending.spent(),
        };
        self.stage = Stage::Ended;
        out.push(JourneyAction::End(Box::new(Err(failure))));
    }
}

#[cfg(test)]
#[path = "job_journey_tests.rs"]
mod tests;
