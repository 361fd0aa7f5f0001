//! What receipts, acknowledgements and announced loads teach the router: sums, trust, speeds, breakers. Only the word
//! of the client that our ticket was made for has weight, and it has to prove that it is that client. Keys are free: a
//! key that neither announced itself nor is named by a ticket of ours gets no account, no trust and no line in the
//! journal, whatever it signs.

use fedai_protocol::message::{ParseError, Received};
use fedai_protocol::receipt::Outcome;
use fedai_protocol::receipt_ack::AckVerdict;
use fedai_protocol::{
    EventId, LoadPing, Msat, PublicKey, QuoteRequest, Receipt, ReceiptAck, TrustAssertion, UnixMicros,
};
use rand_core::RngCore;

use super::candidate::network_max_ms;
use super::dispatch_book::{Breach, Flight, PassedOver, Standing};
use super::dispute::DisputeGrade;
use super::node_view::Observation;
use super::receipt_chain::Linked;
use super::receipt_ledger::AckEffect;
use super::trust::{Dimension, JobWeight};
use super::{
    Action, FLIGHT_SECONDS_MAX, JournalKind, Restored, RestoredRecord, Restoring, RouterCore, count,
};

/// A job sent this long before a load ping is in its count, if it ever arrived, in microseconds.
const ARRIVED_MICROS: u64 = 10_000_000;

/// Whether the client of a ticket stands behind an acknowledgement. The shell opens and verifies; the core compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckProof {
    /// No proof that holds: anybody's word, the node's own perhaps.
    Missing,
    /// This key has signed for the receipt and the session key that it names.
    By(PublicKey),
    /// It was held against its ticket when it was journaled, and found to be this.
    Journaled(DisputeGrade),
}

/// An acknowledgement with its embedded receipt read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckHeard {
    /// Id of the acknowledgement.
    pub id: EventId,
    /// Who says it.
    pub author: PublicKey,
    /// The receipt.
    pub receipt: Received<Receipt>,
    /// What is said.
    pub verdict: AckVerdict,
    /// Who proved to stand behind it.
    pub proof: AckProof,
    /// What the client paid for the job, as a payment rail has verified. Client and node may be one person, and a
    /// receipt's amount is both their word: without a rail a job weighs as one that moved nothing.
    pub paid: Msat,
    /// Time to first token as the client saw it.
    pub observed_ttft_ms: Option<u64>,
    /// Total time as the client saw it.
    pub observed_total_ms: Option<u64>,
    /// Nodes of the ticket that had turned the job away.
    pub turned_away: Vec<PublicKey>,
}

impl AckHeard {
    /// Reads the embedded receipt. `open` is the shell's part: it opens the ticket proof for (session key, receipt).
    pub fn read(
        ack: Received<ReceiptAck>,
        open: impl FnOnce(&str, &PublicKey, &EventId) -> Option<PublicKey>,
    ) -> Result<Self, ParseError> {
        let receipt = ack.message.read_receipt()?;
        let sealed = ack.message.ticket_proof.as_deref();
        let ticket = sealed.and_then(|sealed| open(sealed, &ack.author, &receipt.id));
        Ok(Self { proof: ticket.map_or(AckProof::Missing, AckProof::By), ..Self::unproven(ack, receipt) })
    }

    /// Reads the embedded receipt of an acknowledgement that the journal holds.
    pub fn journaled(ack: Received<ReceiptAck>, kind: JournalKind) -> Result<Self, ParseError> {
        let receipt = ack.message.read_receipt()?;
        let (proof, paid) = match kind {
            JournalKind::ProvenAck { grade, paid } => (AckProof::Journaled(grade), paid),
            _ => (AckProof::Missing, Msat::ZERO),
        };
        Ok(Self { proof, paid, ..Self::unproven(ack, receipt) })
    }

    fn unproven(ack: Received<ReceiptAck>, receipt: Received<Receipt>) -> Self {
        let ReceiptAck { verdict, observed_ttft_ms, observed_total_ms, turned_away, .. } = ack.message;
        let (proof, paid) = (AckProof::Missing, Msat::ZERO);
        let (id, author) = (ack.id, ack.author);
        Self { id, author, receipt, verdict, proof, paid, observed_ttft_ms, observed_total_ms, turned_away }
    }
}

impl RouterCore {
    pub(super) fn receipt(&mut self, now: UnixMicros, receipt: &Received<Receipt>, out: &mut Vec<Action>) {
        if self.take_receipt(now, receipt, out) {
            out.push(Action::Journal { kind: JournalKind::Receipt, id: receipt.id });
        }
    }

    /// Takes a receipt; true when it has to be in the journal.
    fn take_receipt(&mut self, now: UnixMicros, receipt: &Received<Receipt>, out: &mut Vec<Action>) -> bool {
        // What the journal holds was taken from a node that was known then.
        if !self.restoring && !self.knows(&receipt.author) {
            out.push(count("fed_router_receipts_total", "stranger"));
            return false;
        }
        let Linked::New { shows_fork } = self.ledger.link(receipt) else { return false };
        if shows_fork && !self.restoring && self.fork(now, receipt) {
            out.push(Action::Journal { kind: JournalKind::Fork, id: receipt.id });
            out.push(evidence(receipt, "chain_fork"));
        }
        if receipt.message.router != self.terms.identity {
            self.ledger.foreign(receipt.author);
            return false;
        }
        self.book.forget_old(now.seconds());
        match self.book.charge(receipt) {
            Standing::Good => {
                self.charged(now, receipt, out);
                true
            }
            Standing::Known => false,
            Standing::Forgotten => {
                out.push(count("fed_router_receipts_total", "forgotten"));
                false
            }
            Standing::Breach(breach) => {
                out.push(count("fed_router_receipt_disagreements_total", breach.as_str()));
                if !self.ledger.breach(now.seconds(), receipt.author) {
                    return false;
                }
                let about = match breach {
                    Breach::TooManyTokens => Dimension::Metering,
                    _ => Dimension::Price,
                };
                self.trust.entry(now, receipt.author).proven(now, about);
                out.push(evidence(receipt, breach.as_str()));
                true
            }
        }
    }

    /// A receipt within its ticket.
    fn charged(&mut self, now: UnixMicros, receipt: &Received<Receipt>, out: &mut Vec<Action>) {
        let (node, message) = (receipt.author, &receipt.message);
        self.ledger.count(now.seconds(), receipt);
        out.push(count("fed_router_receipts_total", "counted"));
        let is_complete = message.outcome == Outcome::Complete;
        let beside = self.book.ticket(&message.dispatch).map_or(0, |ticket| ticket.beside);
        if let Some(passed) = self.book.passed_over(&message.dispatch, &node, is_complete) {
            self.passed_over(now, passed, &message.model, beside, out);
        }
        if let Some((model, flight)) = self.book.land(&message.dispatch) {
            self.ended(now, &flight, &model);
        }
        let is_drawn = self.book.ticket(&message.dispatch).is_some_and(|ticket| ticket.luck_permille > 0);
        if message.outcome == Outcome::Complete && is_drawn {
            self.registry.output_length(now, &message.model, message.usage.output_tokens.get());
        }
        if message.outcome == Outcome::Complete {
            self.result(now, &node, &message.model, true);
        }
    }

    /// A fallback served in the place of a ticket's first node.
    fn passed_over(
        &mut self,
        now: UnixMicros,
        (first, why): (PublicKey, PassedOver),
        model: &str,
        beside: u32,
        out: &mut Vec<Action>,
    ) {
        out.push(count("fed_router_failovers_total", why.as_str()));
        let mut is_suspect = why == PassedOver::Failed;
        if !is_suspect {
            self.registry.touch(now, &first, model, |view| is_suspect = view.lost_race());
        }
        if is_suspect {
            self.failed(now, &first, model, beside);
        }
    }

    pub(super) fn acknowledged(&mut self, now: UnixMicros, ack: &AckHeard, out: &mut Vec<Action>) {
        let ticket = self.book.ticket(&ack.receipt.message.dispatch);
        let sent = ticket.map_or((false, 0), |ticket| (ticket.queued, ticket.beside));
        let is_news = self.take_receipt(now, &ack.receipt, out);
        let effect = match self.weighs(ack) {
            Ok(()) => {
                let disputed = matches!(ack.verdict, AckVerdict::Disputed(_));
                self.ledger.acknowledge(&ack.receipt, disputed, ack.observed_ttft_ms)
            }
            Err(why) => {
                out.push(count("fed_router_acks_total", why));
                AckEffect::Unknown
            }
        };
        let has_weight = matches!(effect, AckEffect::First | AckEffect::TurnedDispute);
        if has_weight {
            let grade = match (&ack.verdict, ack.proof) {
                (_, AckProof::Journaled(grade)) => grade,
                (AckVerdict::Disputed(code), _) => self.grade(code, &ack.receipt),
                (AckVerdict::Accepted, _) => DisputeGrade::Claimed,
            };
            self.learn_from(now, ack, grade, sent, out);
            out.push(Action::Journal { kind: JournalKind::ProvenAck { grade, paid: ack.paid }, id: ack.id });
        } else if is_news {
            out.push(Action::Journal { kind: JournalKind::Ack, id: ack.id });
        }
    }

    /// An acknowledgement has weight when the client of our own ticket stands behind it. The session key alone is the
    /// node's word: the node could name a key of its own.
    fn weighs(&self, ack: &AckHeard) -> Result<(), &'static str> {
        let receipt = &ack.receipt.message;
        let ticket = self.book.ticket(&receipt.dispatch).filter(|t| t.receipts.contains(&ack.receipt.id));
        let ticket = ticket.filter(|_| ack.author == receipt.client).ok_or("without_weight")?;
        match ack.proof {
            AckProof::By(key) if key == ticket.dispatch.client => Ok(()),
            AckProof::Journaled(_) => Ok(()),
            AckProof::By(_) => Err("foreign_proof"),
            AckProof::Missing => Err("unproven"),
        }
    }

    fn learn_from(
        &mut self,
        now: UnixMicros,
        ack: &AckHeard,
        grade: DisputeGrade,
        (queued, beside): (bool, u32),
        out: &mut Vec<Action>,
    ) {
        let (node, receipt) = (ack.receipt.author, &ack.receipt.message);
        if let Some(passed) = self.book.passed_over_by_word(&receipt.dispatch, &node, &ack.turned_away) {
            self.passed_over(now, passed, &receipt.model, beside, out);
        }
        let (luck, heard_before) = self.book.acknowledge(&receipt.dispatch, &node);
        let weight = JobWeight::new(ack.paid, luck, heard_before);
        match &ack.verdict {
            AckVerdict::Accepted => {
                if !weight.is_nothing() {
                    let complete = receipt.outcome == Outcome::Complete;
                    self.trust.entry(now, node).accepted(now, weight, complete);
                }
                out.push(count("fed_router_acks_total", "accepted"));
            }
            AckVerdict::Disputed(code) => {
                let about = Dimension::of_dispute(code);
                match grade {
                    DisputeGrade::Shown => self.trust.entry(now, node).proven(now, about),
                    DisputeGrade::Claimed if !weight.is_nothing() => {
                        self.trust.entry(now, node).disputed(now, weight, about);
                    }
                    DisputeGrade::Claimed | DisputeGrade::Refuted => {}
                }
                out.push(count("fed_router_acks_total", "disputed"));
                out.push(count("fed_router_receipt_disagreements_total", grade.as_str()));
                if about == Dimension::Delivery && grade != DisputeGrade::Refuted {
                    self.result(now, &node, &receipt.model, false);
                }
            }
        }
        let trust = self.trust_of(now, &node);
        let network_max_ms = network_max_ms(self.registry.fleets(Some(&receipt.model)).first().copied());
        let observation = ack.observed_ttft_ms.zip(ack.observed_total_ms).map(|(ttft_ms, total_ms)| {
            let (node_ttft_ms, usage) = (receipt.ttft_ms, receipt.usage);
            let is_drawn = !weight.is_nothing();
            Observation { ttft_ms, total_ms, node_ttft_ms, network_max_ms, usage, queued, beside, is_drawn }
        });
        let asked = self.book.ticket(&receipt.dispatch).map(|ticket| ticket.dispatch.max_input_tokens);
        let is_counted = matches!(ack.verdict, AckVerdict::Accepted) && !weight.is_nothing();
        self.registry.learn(now, &node, &receipt.model, &trust, |view| {
            if let Some(seen) = &observation {
                view.observe(now, seen);
            }
            if let Some(asked) = asked.filter(|_| is_counted) {
                view.counted(now, &receipt.usage, asked);
            }
        });
        if let Some(seen) = &observation {
            self.scheduler.observed(now, &node, &receipt.model, seen);
        }
    }

    /// A client that asks again without the node it was sent to says that the node did not serve. Each ticket says that
    /// once. A node that announced to be full was busy, not broken. True when the request is such a retry.
    pub(super) fn note_failures(
        &mut self,
        now: UnixMicros,
        request: &Received<QuoteRequest>,
        out: &mut Vec<Action>,
    ) -> bool {
        let mut is_retry = false;
        for node in &request.message.constraints.not_nodes {
            for dispatch in self.book.report_failure(&request.author, node, now.seconds()) {
                let Some(ticket) = self.book.ticket(&dispatch) else { continue };
                let (model, beside) = (ticket.dispatch.model.clone(), ticket.beside);
                // A load ping may have ended the job before its client said so.
                if let Some((model, flight)) = self.book.land(&dispatch) {
                    self.ended(now, &flight, &model);
                }
                out.push(count("fed_router_failovers_total", "asked_again"));
                self.failed(now, node, &model, beside);
                is_retry = true;
            }
        }
        is_retry
    }

    /// Takes a load ping. What its node does not run any more is over, though no receipt said so: the client may have
    /// gone, or never have come. A node that says so of jobs that cannot have ended yet is not believed: own jobs are
    /// counted exactly, whatever it would gain by looking idle.
    pub(super) fn load(&mut self, now: UnixMicros, ping: &Received<LoadPing>) {
        let message = &ping.message;
        if !self.registry.load(now, ping) {
            return;
        }
        let mut own = self.book.flying(&ping.author);
        // A key may have several nodes: the load is that of one.
        own.retain(|(_, offer, _)| {
            let signed = self.registry.signed(&ping.author, offer);
            signed.is_some_and(|(offer, _)| offer.received.message.node == message.node)
        });
        // The node's clock may be ahead of ours.
        let said_at = ping.created_at.micros().min(now);
        let jobs = usize::try_from(message.running.saturating_add(message.queued)).unwrap_or(usize::MAX);
        let old =
            own.iter().filter(|(_, _, flight)| flight.since.0.saturating_add(ARRIVED_MICROS) < said_at.0);
        let over = old.clone().count().saturating_sub(jobs);
        let late = old.filter(|(_, _, flight)| flight.expected_until <= said_at);
        for (dispatch, _, _) in late.take(over) {
            let Some((model, flight)) = self.book.land(dispatch) else { continue };
            self.ended(now, &flight, &model);
        }
    }

    /// Takes an assertion; it shows in decisions from the next refresh on.
    pub(super) fn asserted(
        &mut self,
        now: UnixMicros,
        heard: &Received<TrustAssertion>,
        out: &mut Vec<Action>,
    ) {
        let taken = self.follow.hear(now, heard);
        out.push(count("fed_router_assertions_total", if taken { "taken" } else { "ignored" }));
    }

    /// A node did not serve. One that announced to be full, or was sent more than it was believed to take at once, was
    /// busy, not broken: its cap is lowered, and when it fails below that as well, it is broken.
    fn failed(&mut self, now: UnixMicros, node: &PublicKey, model: &str, beside: u32) {
        let announced =
            self.registry.view(node, model).is_some_and(|view| view.is_full(now, &self.terms.policy));
        let slots = self.registry.slots(node, model).unwrap_or(1.0);
        let is_busy = announced || (beside > 0 && f64::from(beside) >= slots);
        self.scheduler.failed(now, node, model, is_busy);
        if is_busy {
            self.registry.touch(now, node, model, |view| {
                let in_flight = view.in_flight().max(1);
                view.cap.busy(in_flight);
            });
        } else {
            self.result(now, node, model, false);
        }
    }

    fn result(&mut self, now: UnixMicros, node: &PublicKey, model: &str, ok: bool) {
        let may_open = self.registry.may_eject(now, model);
        let jitter = f64::from(self.rng.next_u32()) / (f64::from(u32::MAX) + 1.0);
        self.registry.touch(now, node, model, |view| {
            view.breaker.record(now, ok, jitter, may_open);
            if ok {
                view.cap.success();
            }
        });
    }

    /// Takes a fork. True when it is kept as a proof.
    fn fork(&mut self, now: UnixMicros, receipt: &Received<Receipt>) -> bool {
        let is_kept = self.ledger.keeps_proof(now.seconds(), receipt.author);
        if is_kept {
            self.trust.entry(now, receipt.author).proven(now, Dimension::Metering);
        }
        is_kept
    }

    /// True for a node that has announced itself or that a ticket of ours names.
    fn knows(&self, node: &PublicKey) -> bool {
        self.registry.knows(node) || self.book.names(node)
    }

    /// Replays the journal: every record at the time it was acted on first, nothing said aloud.
    pub(super) fn restore(&mut self, now: UnixMicros, part: Restoring) {
        match part {
            Restoring::Since(since) => {
                self.book = core::mem::take(&mut self.book).emptied(since);
                self.restoring = true;
            }
            Restoring::Record(record) => self.restore_record(now, *record),
            Restoring::End => {
                self.restoring = false;
                self.book.expire(now);
            }
        }
    }

    fn restore_record(&mut self, now: UnixMicros, Restored { at, record }: Restored) {
        let mut unsaid = Vec::new();
        match record {
            RestoredRecord::Dispatch { dispatch, luck_permille } => {
                let until = dispatch.created_at.plus(FLIGHT_SECONDS_MAX).micros();
                let first = dispatch.message.nodes.first().filter(|_| until > now);
                let flight = first.map(|first| Flight {
                    node: first.node,
                    since: at,
                    expected_until: until,
                    until,
                    queued: false,
                    beside: 0,
                    luck_permille,
                    hedged: false,
                    patient: true,
                });
                let model = dispatch.message.model.clone();
                if self.book.dispatched(dispatch, flight, luck_permille)
                    && let Some(flight) = flight
                {
                    self.registry.learn(now, &flight.node, &model, &super::Trust::default(), |view| {
                        view.sent(flight.since);
                    });
                }
                self.book.forget_old(at.seconds());
            }
            RestoredRecord::Receipt(receipt) => self.receipt(at, &receipt, &mut unsaid),
            RestoredRecord::Acknowledged(ack) => self.acknowledged(at, &ack, &mut unsaid),
            RestoredRecord::Fork(receipt) => drop(self.fork(at, &receipt)),
        }
    }
}

fn evidence(receipt: &Received<Receipt>, code: &'static str) -> Action {
    Action::Evidence { node: receipt.author, code, receipt: receipt.id }
}
