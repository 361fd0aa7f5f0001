//! How a journey's attempts and the journey itself come to an end: an answer checked and settled, a node left for
//! another one, a stop, a failure with its code. Exactly one ending, and nothing after it.

use fedai_protocol::job_state::JobStep;
use fedai_protocol::output_stream::OutputLine;
use fedai_protocol::receipt::Outcome;
use fedai_protocol::session_frame::{Failure, Final};
use fedai_protocol::{Refusal, RefusalCode, UnixMicros, Usage, VerifiedEvent};

use super::hedge::Running;
use super::job_ending::{Answer, JobFailure, Settlement};
use super::job_journey::{Journey, Stage};
use super::job_spec::OnBreak;
use super::journey_step::JourneyAction;
use super::receipt_check::{KnownJob, check_receipt};

impl Journey {
    /// A different answer cannot be joined to what was handed on: begin anew if that was asked for, else end.
    pub(super) fn on_diverged(&mut self, what: &str, out: &mut Vec<JourneyAction>) {
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
    pub(super) fn finish(&mut self, now: UnixMicros, last: Final, out: &mut Vec<JourneyAction>) {
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
        let Some(run) = self.running.take() else { return };
        let seen = run.attempt.output().finish_reason().map(str::to_owned);
        let sha256 = Some(last.output_sha256.as_str());
        let settled = self.settle(now, &run, &last.receipt, Outcome::Complete, sha256, out);
        let (Some((settlement, usage)), Some(ticket)) = (settled, self.ticket.take()) else { return };
        self.set_note(run.note, "complete");
        let answer = Answer {
            text: self.delivery.text().to_owned(),
            finish_reason: seen.unwrap_or(last.finish_reason),
            usage: usage.unwrap_or(last.usage),
            ticket,
            settlement,
            attempts: core::mem::take(&mut self.notes),
            spent: self.spending.spent(),
            quote_ms: self.quoted_ms,
            ttft_ms: self.first_output_at.unwrap_or(now).millis_since(self.begun_at),
            total_ms: now.millis_since(self.begun_at),
        };
        out.push(JourneyAction::Close { attempt: run.number });
        self.forget_loser(out);
        out.push(JourneyAction::End(Box::new(Ok(answer))));
        self.stage = Stage::Ended;
    }

    /// Checks a receipt and books what it charges; gives what was made of it, and the usage of a true one.
    pub(super) fn settle(
        &mut self,
        now: UnixMicros,
        run: &Running,
        receipt: &VerifiedEvent,
        outcome: Outcome,
        claimed_sha256: Option<&str>,
        out: &mut Vec<JourneyAction>,
    ) -> Option<(Settlement, Option<Usage>)> {
        let (attempt, ticket) = (&run.attempt, self.ticket.as_ref()?);
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
        let (number, usage) = (run.number, checked.as_ref().ok().map(|receipt| receipt.usage));
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
            turned_away: self.failover.who_turned_away(),
        };
        out.push(JourneyAction::Settle(Box::new(settlement.clone())));
        Some((settlement, usage))
    }

    pub(super) fn on_broken(&mut self, now: UnixMicros, failure: Failure, out: &mut Vec<JourneyAction>) {
        if let Some(receipt) = &failure.receipt
            && let Some(run) = self.running.take()
        {
            self.settle(now, &run, receipt, Outcome::Partial, None, out);
            self.running = Some(run);
        }
        self.leave(now, failure.refusal, out);
    }

    /// Leaves the current node and goes on as the policy says: with the attempt that is under way beside it, if there
    /// is one, else at another node.
    pub(super) fn leave(&mut self, now: UnixMicros, refusal: Refusal, out: &mut Vec<JourneyAction>) {
        let Some(run) = self.running.take() else { return };
        self.set_note(run.note, &refusal.code.as_str());
        self.spending.release(run.number);
        out.push(JourneyAction::Close { attempt: run.number });
        self.was_turned_away = refusal.code == RefusalCode::Busy && run.attempt.node().patience_ms.is_some();
        let rival = self.hedge.take_rival();
        if self.is_held && !run.attempt.has_answered() && rival.is_none() {
            // The keys that it names may be from before a restart of the node: that is the ticket's fault, so ask anew.
            self.ticket = None;
        } else {
            let node = run.attempt.node().node;
            if self.was_turned_away {
                self.failover.node_turned_away(node, &refusal);
            } else {
                self.failover.node_failed(node, &refusal);
            }
        }
        self.refusal = Some(refusal);
        if let Some(mut rival) = rival {
            self.delivery.next_attempt();
            let held = core::mem::take(&mut rival.lines);
            self.running = Some(rival);
            return self.deliver(now, held, out);
        }
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
    pub(super) fn stop(
        &mut self,
        step: JobStep,
        code: RefusalCode,
        text: &str,
        out: &mut Vec<JourneyAction>,
    ) {
        self.cancel_all(step, &code.as_str(), out);
        self.refusal = Some(Refusal::new(code, text));
        self.fail(out);
    }

    pub(super) fn set_note(&mut self, note: usize, outcome: &str) {
        if let Some(note) = self.notes.get_mut(note) {
            outcome.clone_into(&mut note.outcome);
        }
    }

    pub(super) fn fail(&mut self, out: &mut Vec<JourneyAction>) {
        let refusal = self.refusal.take();
        // Whose time is up while no router says anything is told that; a stop or a node's word stays what it is.
        let is_open = refusal.as_ref().is_none_or(|refusal| refusal.code == RefusalCode::Timeout);
        let silence = self.silence.ending().filter(|_| is_open && self.notes.is_empty());
        let (unheard, refusal) = match silence {
            Some((unheard, said)) => (Some(unheard), said),
            None => {
                (None, refusal.unwrap_or_else(|| Refusal::new(RefusalCode::NoNode, "nothing is left to try")))
            }
        };
        self.forget_loser(out);
        let failure = JobFailure {
            refusal,
            dishonest: self.dishonest.take(),
            unheard,
            has_shown: self.delivery.has_shown(),
            attempts: core::mem::take(&mut self.notes),
            spent: self.spending.spent(),
            decision: self.decision,
        };
        self.stage = Stage::Ended;
        out.push(JourneyAction::End(Box::new(Err(failure))));
    }
}
