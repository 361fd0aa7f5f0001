//! A second attempt beside a slow first one, before any output: whoever gives the first token goes on, the other one is
//! cancelled.
//!
//! Only where the router said after how long that pays off, the client values speed, and the process has budget for it.
//! Output of the second is held back until it has won, so nothing is ever handed on from two nodes. Both worst cases
//! are reserved; the loser is paid at most for the part that it delivered before it was told: that receipt is checked
//! like any other, and one for a whole answer is not acknowledged.

use fedai_protocol::job_state::JobStep;
use fedai_protocol::limits::HEDGE_MS_MIN;
use fedai_protocol::output_stream::OutputLine;
use fedai_protocol::quote_request::Mode;
use fedai_protocol::receipt::Outcome;
use fedai_protocol::{PublicKey, Refusal, UnixMicros};

use super::attempt::{Attempt, AttemptEvent};
use super::job_journey::Journey;
use super::journey_step::JourneyAction;

/// How the note on the attempt that came second reads.
const LOST_RACE: &str = "slower";

/// An attempt under way.
#[derive(Debug)]
pub(super) struct Running {
    /// Its number.
    pub(super) number: u32,
    /// The attempt.
    pub(super) attempt: Attempt,
    /// Its place among the notes.
    pub(super) note: usize,
    /// Output that is held back.
    pub(super) lines: Vec<OutputLine>,
}

/// The second attempt.
#[derive(Debug, Default)]
pub(super) struct Hedge {
    /// When to begin it, and at which node of the ticket.
    due: Option<(UnixMicros, PublicKey)>,
    /// It is under way.
    rival: Option<Running>,
    /// It came second and was cancelled; its receipt may still come.
    loser: Option<Running>,
}

impl Hedge {
    /// The second attempt takes the place of the first.
    pub(super) fn take_rival(&mut self) -> Option<Running> {
        self.rival.take()
    }
}

impl Journey {
    /// When a second attempt beside the one at `index` is to begin.
    pub(super) fn plan_hedge(&mut self, now: UnixMicros, index: usize) -> Hedge {
        let is_wanted = self.spec.hedge || self.spec.mode == Mode::Fastest;
        let due =
            self.ticket.as_ref().filter(|_| is_wanted && !self.delivery.has_shown()).and_then(|ticket| {
                let after = ticket.hedge_after_ms?.max(HEDGE_MS_MIN);
                let next = ticket.nodes.iter().skip(index.saturating_add(1));
                let node = next.map(|node| node.node).find(|node| self.failover.is_usable(node))?;
                Some((now.plus_millis(after), node))
            });
        Hedge { due, rival: None, loser: self.hedge.loser.take() }
    }

    /// Numbers of the attempts that take part.
    pub(super) fn numbers(&self) -> Vec<u32> {
        [&self.running, &self.hedge.rival, &self.hedge.loser]
            .into_iter()
            .flatten()
            .map(|run| run.number)
            .collect()
    }

    /// The attempt with this number.
    pub(super) fn run_mut(&mut self, number: u32) -> Option<&mut Running> {
        [&mut self.running, &mut self.hedge.rival, &mut self.hedge.loser]
            .into_iter()
            .flatten()
            .find(|run| run.number == number)
    }

    /// When the attempts want to be asked again.
    pub(super) fn running_timeout(&self) -> Option<UnixMicros> {
        let runs = [&self.running, &self.hedge.rival].into_iter().flatten();
        runs.filter_map(|run| run.attempt.poll_timeout()).chain(self.hedge.due.map(|(at, _)| at)).min()
    }

    /// Begins the second attempt when it is time for it, and nothing speaks against it.
    pub(super) fn hedge_if_due(&mut self, now: UnixMicros, out: &mut Vec<JourneyAction>) {
        let Some((_, node)) = self.hedge.due.take_if(|(at, _)| now >= *at) else { return };
        let has_time = self.spec.deadline > now;
        let is_possible = has_time
            && !self.delivery.has_shown()
            && self.failover.may_attempt(&self.timing)
            && self.budgets.hedge(now).is_ok();
        let index = self.ticket.as_ref().and_then(|ticket| ticket.nodes.iter().position(|n| n.node == node));
        if let Some(index) = index.filter(|_| is_possible) {
            // What does not fit the money that is left is no reason to fail: the first attempt goes on alone.
            self.hedge.rival = self.begin(now, index, out).ok().flatten();
        }
    }

    /// Settles what an attempt says with regard to the other one; gives what is left for the one that is handed on.
    pub(super) fn race(
        &mut self,
        now: UnixMicros,
        number: u32,
        event: AttemptEvent,
        out: &mut Vec<JourneyAction>,
    ) -> Option<AttemptEvent> {
        if matches!(event, AttemptEvent::Send { .. } | AttemptEvent::OpenAgain) {
            return Some(event);
        }
        if self.hedge.loser.as_ref().is_some_and(|loser| loser.number == number) {
            self.hear_loser(now, event, out);
            return None;
        }
        let is_rival = self.hedge.rival.as_ref().is_some_and(|rival| rival.number == number);
        let has_output = |lines: &[OutputLine]| lines.iter().any(|line| line.delivered > 0);
        let decides = match &event {
            AttemptEvent::Lines(lines) => has_output(lines),
            AttemptEvent::Finished(_) => true,
            _ => false,
        };
        match event {
            event if decides => {
                self.hedge.due = None;
                if is_rival {
                    core::mem::swap(&mut self.running, &mut self.hedge.rival);
                    self.delivery.next_attempt();
                }
                self.cancel_rival(out);
                if let Some(held) = self.running.as_mut().map(|run| core::mem::take(&mut run.lines))
                    && !held.is_empty()
                {
                    self.deliver(now, held, out);
                }
                Some(event)
            }
            AttemptEvent::Lines(lines) if is_rival => {
                self.hedge.rival.iter_mut().for_each(|rival| rival.lines.extend(lines.iter().cloned()));
                None
            }
            AttemptEvent::Broken(failure) if is_rival => {
                if let Some(receipt) = &failure.receipt
                    && let Some(rival) = self.hedge.rival.take()
                {
                    self.settle(now, &rival, receipt, Outcome::Partial, None, out);
                    self.hedge.rival = Some(rival);
                }
                self.drop_rival(&failure.refusal, out);
                None
            }
            AttemptEvent::Lost(refusal) if is_rival => {
                self.drop_rival(&refusal, out);
                None
            }
            event => Some(event),
        }
    }

    /// Cancels the one that came second. It is listened to a little longer: what it delivered has a receipt.
    fn cancel_rival(&mut self, out: &mut Vec<JourneyAction>) {
        let Some(rival) = self.hedge.rival.take() else { return };
        self.set_note(rival.note, LOST_RACE);
        let mut events = Vec::new();
        rival.attempt.give_up(&mut events);
        send_all(rival.number, events, out);
        self.hedge.loser = Some(rival);
    }

    /// The cancelled one's last word.
    fn hear_loser(&mut self, now: UnixMicros, event: AttemptEvent, out: &mut Vec<JourneyAction>) {
        let Some(loser) = self.hedge.loser.take() else { return };
        match event {
            AttemptEvent::Broken(failure) => {
                if let Some(receipt) = &failure.receipt {
                    self.settle(now, &loser, receipt, Outcome::Partial, None, out);
                }
            }
            // Done before it heard that it had lost: the job was taken back, and a whole answer is paid once.
            AttemptEvent::Finished(_) | AttemptEvent::Lost(_) => {}
            // Only a node that has accepted can be told.
            AttemptEvent::Accepted => {
                let mut events = Vec::new();
                loser.attempt.give_up(&mut events);
                send_all(loser.number, events, out);
                self.hedge.loser = Some(loser);
                return;
            }
            _ => {
                self.hedge.loser = Some(loser);
                return;
            }
        }
        self.spending.release(loser.number);
        out.push(JourneyAction::Close { attempt: loser.number });
    }

    /// The second attempt failed while the first one goes on.
    fn drop_rival(&mut self, refusal: &Refusal, out: &mut Vec<JourneyAction>) {
        let Some(rival) = self.hedge.rival.take() else { return };
        self.set_note(rival.note, &refusal.code.as_str());
        self.spending.release(rival.number);
        self.failover.rival_failed(rival.attempt.node().node, refusal);
        out.push(JourneyAction::Close { attempt: rival.number });
    }

    /// Cancels every attempt; nothing is waited for any more.
    pub(super) fn cancel_all(&mut self, step: JobStep, code: &str, out: &mut Vec<JourneyAction>) {
        self.hedge.due = None;
        for run in [self.running.take(), self.hedge.rival.take()].into_iter().flatten() {
            let Running { number, mut attempt, note, .. } = run;
            let mut events = Vec::new();
            attempt.cancel(step, &mut events);
            send_all(number, events, out);
            self.set_note(note, code);
            out.push(JourneyAction::Close { attempt: number });
        }
        self.forget_loser(out);
    }

    /// The job is over: the loser's session is forgotten.
    pub(super) fn forget_loser(&mut self, out: &mut Vec<JourneyAction>) {
        if let Some(loser) = self.hedge.loser.take() {
            out.push(JourneyAction::Close { attempt: loser.number });
        }
    }
}

fn send_all(attempt: u32, events: Vec<AttemptEvent>, out: &mut Vec<JourneyAction>) {
    out.extend(events.into_iter().filter_map(|event| match event {
        AttemptEvent::Send { s, body } => Some(JourneyAction::Send { attempt, s, body }),
        _ => None,
    }));
}
