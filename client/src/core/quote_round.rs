//! One round of asking: several routers, one window of time, the best answer that holds.

use fedai_protocol::message::Received;
use fedai_protocol::quote::PeerRouter;
use fedai_protocol::quote_request::Mode;
use fedai_protocol::{PublicKey, QuoteReply, Refusal, UnixMicros};

use super::failover::is_retryable;
use super::job_spec::{JobSpec, JourneyTiming};
use super::quote_check::{Question, QuoteProblem, Ticket, check_reply};
use super::quote_rank::{RankedTicket, best};

/// Answers that were collected.
#[derive(Clone, Debug)]
pub struct QuoteRound {
    begun_at: UnixMicros,
    first_at: Option<UnixMicros>,
    wanted: usize,
    questions: Vec<Question>,
    answered: Vec<PublicKey>,
    tickets: Vec<RankedTicket>,
    peers: Vec<PeerRouter>,
    refusal: Option<Refusal>,
    problem: Option<Refusal>,
    dishonest: Option<String>,
}

/// What came of a round.
#[derive(Clone, Debug, Default)]
pub struct RoundResult {
    /// The best quote.
    pub best: Option<Ticket>,
    /// A refusal, when there is no quote: a router's own one rather than what is wrong with a quote, and one that is
    /// worth a later try rather than a final one.
    pub refusal: Option<Refusal>,
    /// Routers that those who had no room named.
    pub peers: Vec<PeerRouter>,
    /// What a dishonest router did, when no other router answered as it should.
    pub dishonest: Option<String>,
}

impl QuoteRound {
    /// A round of `wanted` routers.
    #[must_use]
    pub const fn new(begun_at: UnixMicros, wanted: usize) -> Self {
        Self {
            begun_at,
            first_at: None,
            wanted,
            questions: Vec::new(),
            answered: Vec::new(),
            tickets: Vec::new(),
            peers: Vec::new(),
            refusal: None,
            problem: None,
            dishonest: None,
        }
    }

    /// A request was sent.
    pub fn asked(&mut self, question: Question) {
        self.questions.push(question);
    }

    /// True when a router has said something, whatever it was.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        !self.answered.is_empty()
    }

    /// When the round ends: at once when all have answered, a little after the first quote, or when time is up.
    #[must_use]
    pub fn poll_timeout(&self, timing: &JourneyTiming) -> UnixMicros {
        if self.answered.len() >= self.wanted {
            return self.begun_at;
        }
        let patience = self.begun_at.plus_millis(timing.quote_wait_ms);
        self.first_at.map_or(patience, |at| at.plus_millis(timing.quote_window_ms).min(patience))
    }

    /// Takes an answer. One word counts per router: the first that is meant for us.
    pub fn reply(
        &mut self,
        now: UnixMicros,
        reply: &Received<QuoteReply>,
        spec: &JobSpec,
        avoid: &[PublicKey],
    ) {
        let question = self.questions.iter().find(|question| question.router == reply.author);
        let Some(question) = question.filter(|_| !self.answered.contains(&reply.author)) else { return };
        match check_reply(reply, question, spec, avoid, now.seconds()) {
            Err(QuoteProblem::NotForUs) => return,
            Ok(ticket) => {
                self.first_at.get_or_insert(now);
                let answered_ms = now.millis_since(self.begun_at);
                self.tickets.push(RankedTicket { ticket, answered_ms });
            }
            Err(QuoteProblem::Refused(refusal)) => {
                self.peers.extend(reply.message.peers.iter().cloned());
                if self.refusal.is_none() || is_retryable(&refusal) {
                    self.refusal = Some(refusal);
                }
            }
            Err(problem) => self.note_problem(&problem),
        }
        self.answered.push(reply.author);
    }

    /// The best quote by what is valued, or why there is none.
    #[must_use]
    pub fn conclude(self, mode: Mode) -> RoundResult {
        let best = best(self.tickets, mode);
        let is_answered = best.is_some() || self.refusal.is_some();
        let dishonest = self.dishonest.filter(|_| !is_answered);
        RoundResult { best, refusal: self.refusal.or(self.problem), peers: self.peers, dishonest }
    }

    fn note_problem(&mut self, problem: &QuoteProblem) {
        use fedai_protocol::RefusalCode as Code;
        use fedai_protocol::quote::QuoteCheckError;
        if problem.is_dishonest() {
            self.dishonest = Some(problem.to_string());
        }
        let code = match problem {
            QuoteProblem::Price { .. } => Code::PriceCeiling,
            QuoteProblem::Payment(_) => Code::PaymentNotAccepted,
            QuoteProblem::Expired | QuoteProblem::Nodes(QuoteCheckError::Expired) => Code::Expired,
            _ => Code::Malformed,
        };
        self.problem.get_or_insert_with(|| Refusal::new(code, problem.to_string()));
    }
}

#[cfg(test)]
#[path = "quote_round_tests.rs"]
mod tests;
