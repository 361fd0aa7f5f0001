//! The way of a quote request through the core: admitted, afforded, decided, answered.

use std::sync::Arc;

use fedai_protocol::message::Received;
use fedai_protocol::quote_request::Mode;
use fedai_protocol::replay_window::ReplayError;
use fedai_protocol::{EventId, QuoteRequest, Refusal, RefusalCode, UnixMicros};
use rand_core::RngCore;

use super::candidate::method_bits;
use super::decision_entry::DecisionEntry;
use super::dispatch_book::{Flight, luck_permille};
use super::quote_desk::{Asker, QuoteDraft};
use super::scheduler::{Asked, Case, Decision};
use super::standing::Grounds;
use super::{Action, FLIGHT_SECONDS_MAX, RouterCore, count};

/// How long a refusal is worth reading, in seconds.
const REFUSAL_SECONDS: u64 = 30;
/// When a client may ask again that was refused because the memory of requests is full, in milliseconds.
const BUSY_RETRY_MS: u64 = 10_000;
/// A job that takes twice as long as predicted and this much more is late, in milliseconds.
const EXPECTED_MARGIN_MS: u64 = 5_000;
/// One that takes three times as long and this much more is lost, in milliseconds.
const LOST_MARGIN_MS: u64 = 30_000;
/// Second copies that come of one that is allowed.
const HEDGES_SENT: f64 = 0.05;

impl RouterCore {
    pub(super) fn quote(
        &mut self,
        now: UnixMicros,
        request: &Received<QuoteRequest>,
        sealed: bool,
        out: &mut Vec<Action>,
    ) {
        let asker = Asker { client: request.author, request: request.id, sealed };
        // Only what is admitted is remembered: a flood of free keys must not fill the memory.
        let mut admitted = self.desk.admit(now, request, self.draining);
        if admitted.is_ok() {
            match self.seen.admit(request.id.to_bytes(), now.seconds()) {
                Ok(()) => {}
                Err(ReplayError::Seen) => {
                    out.push(count("fed_router_requests_refused_total", "replayed"));
                    return;
                }
                Err(ReplayError::Full) => {
                    let text = "too many requests of late; ask another router or try again later";
                    admitted = Err(Refusal::new(RefusalCode::Busy, text).retry_after(BUSY_RETRY_MS));
                }
            }
        }
        let answer = admitted.and_then(|()| {
            let is_retry = self.note_failures(now, request, out);
            self.afford(now, is_retry)?;
            self.decide(now, request, out)
        });
        match answer {
            Ok(decision) => {
                let draft = self.desk.draft(now, request, decision, &self.registry);
                if draft.dispatch.is_some() {
                    let luck = luck_permille(&request.message, &draft.record);
                    self.send(now, request.id, &draft, luck);
                }
                out.push(Action::Quote { asker, draft: Box::new(draft) });
            }
            Err(refusal) => {
                out.push(count("fed_router_requests_refused_total", refusal.code.as_str()));
                // A flood of open requests must not buy a signature each.
                if sealed || refusal.code != RefusalCode::RateLimited {
                    let expires_at = now.seconds().plus(REFUSAL_SECONDS);
                    out.push(Action::Refuse { asker, refusal, expires_at });
                }
            }
        }
    }

    /// A retry is served out of its budget; every other request adds to the budgets.
    fn afford(&mut self, now: UnixMicros, is_retry: bool) -> Result<(), Refusal> {
        if !is_retry {
            self.retries.earn(now);
            self.hedges.earn(now);
            return Ok(());
        }
        self.retries.spend(now, 1.0).map_err(|wait| {
            let text = "too many jobs are being asked for again; wait, or ask another router";
            Refusal::new(RefusalCode::Busy, text).retry_after(wait)
        })
    }

    fn decide(
        &mut self,
        now: UnixMicros,
        request: &Received<QuoteRequest>,
        out: &mut Vec<Action>,
    ) -> Result<Decision, Refusal> {
        // One copy for all who keep the request.
        let message = &Arc::new(request.message.clone());
        let fleets = self.registry.fleets(message.wanted.model.as_deref());
        let (fee, methods) = (self.terms.quotes.fee, method_bits(&self.terms.quotes.methods));
        let asked = Asked { id: request.id, request: message, fee, methods };
        let seed = self.rng.next_u64();
        let policy = &*self.policy;
        let case = Case { now, seed, asked: &asked, policy, fleets: &fleets };
        let decision = self.scheduler.plan(&case, &mut self.scratch);
        let grounds = Grounds { now, asked: &asked, policy, request: message };
        self.standings.note(&grounds, &fleets, decision.as_ref().ok());
        let (outcome, considered) = match &decision {
            Ok(decision) => (outcome_name(true, message.mode), decision.record.considered),
            Err(none) => (outcome_name(false, message.mode), none.considered),
        };
        out.push(count("fed_router_decisions_total", outcome));
        out.push(Action::Observe { name: "fed_router_candidates", value: f64::from(considered) });
        let mut decision = decision.map_err(|none| self.desk.refusal(&none))?;
        // One in twenty of those who are told when to hedge comes to do so: that is what a 95th percentile is.
        decision.hedge_after_ms =
            decision.hedge_after_ms.filter(|_| self.hedges.spend(now, HEDGES_SENT).is_ok());
        self.decisions = self.decisions.wrapping_add(1);
        out.push(Action::Decided(Box::new(DecisionEntry {
            request_id: request.id,
            request: Arc::clone(message),
            fee,
            methods,
            policy: Arc::clone(&self.policy),
            fleets: self.keeping.snapshot(&fleets, self.decisions),
            record: Arc::clone(&decision.record),
        })));
        Ok(decision)
    }

    /// The chosen node is busy from now on, not only from the moment the ticket is signed.
    fn send(&mut self, now: UnixMicros, request: EventId, draft: &QuoteDraft, luck: u16) {
        let Some(first) = draft.nodes.first() else { return };
        let view = self.registry.view(&first.choice.node, &draft.model);
        let beside = view.map_or(0, |view| view.jobs(now, &self.terms.policy));
        let expected = first.choice.terms.total_ms.clamp(0.0, 1e9) as u64;
        let longest = FLIGHT_SECONDS_MAX * 1_000;
        let within = |millis: u64| now.plus_millis(millis.min(longest));
        let flight = Flight {
            node: first.choice.node,
            since: now,
            expected_until: within(expected.saturating_mul(2).saturating_add(EXPECTED_MARGIN_MS)),
            until: within(expected.saturating_mul(3).saturating_add(LOST_MARGIN_MS)),
            queued: first.choice.terms.wait_ms > 0.0,
            beside,
            hedged: draft.hedge_after_ms.is_some(),
            patient: first.choice.patience_ms.is_some(),
            luck_permille: luck,
        };
        self.book.reserve(request, draft.model.clone(), flight);
        self.registry.touch(now, &first.choice.node, &draft.model, |view| view.sent(now));
        self.scheduler.sent(now, &first.choice.node, &draft.model);
    }
}

/// What came of a decision, and its mode, as metrics name them.
const fn outcome_name(is_chosen: bool, mode: Mode) -> &'static str {
    match (is_chosen, mode) {
        (true, Mode::Cheapest) => "chosen,cheapest",
        (true, Mode::Fastest) => "chosen,fastest",
        (true, Mode::Balanced) => "chosen,balanced",
        (true, Mode::Trusted) => "chosen,trusted",
        (false, Mode::Cheapest) => "none,cheapest",
        (false, Mode::Fastest) => "none,fastest",
        (false, Mode::Balanced) => "none,balanced",
        (false, Mode::Trusted) => "none,trusted",
    }
}
