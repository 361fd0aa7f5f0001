//! What the core does with one job: takes it or not, passes output on, meters it, ends it once.
//!
//! The rule: every path out of a job goes through [`NodeCore::end_job`], so there is one terminal frame and at
//! most one
//! receipt. A job that delivered text has a receipt, however it ended; one that did not owes nothing.

use fedai_protocol::job_open::{OpenedJob, RequestBody, request_hash};
use fedai_protocol::job_state::JobStep;
use fedai_protocol::limits::NODE_TICKETS_MAX;
use fedai_protocol::message::ParseError;
use fedai_protocol::output_stream::OutputError;
use fedai_protocol::receipt::{Outcome, ReceiptPayment, commitment};
use fedai_protocol::replay_window::ReplayError;
use fedai_protocol::session_frame::{Accept, Ack, Chunk, Direction, Final, FrameBody};
use fedai_protocol::{
    Dispatch, JobId, Receipt, Received, Refusal, RefusalCode, SessionFrame, UnixMicros, VerifiedEvent,
};

use super::admission::{Occupancy, check_body, check_room, check_ticket};
use super::billing::PaymentQuestion;
use super::bulk_request::BulkRequest;
use super::metering::{KnownBytes, ReportedUsage, amount, at_least, bounded_usage};
use super::node_core::{Action, NodeCore, RunnerWork};
use super::request_shape::RequestShape;
use super::session::{JobEnd, Phase, Session};

type Ticket = Result<Box<Received<Dispatch>>, ParseError>;

impl NodeCore {
    /// Takes a job or refuses it; the same job again gets its session back.
    pub(super) fn open_job(
        &mut self,
        now: UnixMicros,
        opened: OpenedJob,
        ticket: Ticket,
        out: &mut Vec<Action>,
    ) {
        let per_minute = self.policy.limits.opens_per_minute;
        let admitted = self.flood.admit(&opened.client, now.seconds(), per_minute);
        let job = opened.job;
        if let Some(session) = self.jobs.get_mut(&job) {
            // Only its own client can repeat it: the id commits to the sealing key.
            session.times.heard = now;
            let from = session.acked_below;
            if admitted {
                out.extend(session.frames_from(from).into_iter().map(|frame| send(job, frame)));
            }
            return;
        }
        let client = opened.open.session;
        let relays = opened.open.relays.clone();
        let outcome = if admitted {
            self.admit(now, opened, ticket)
        } else {
            let text = "too many jobs from this key in a minute";
            Err(Refusal::new(RefusalCode::RateLimited, text).retry_after(60_000))
        };
        out.push(Action::OpenSession { job, client, relays });
        match outcome {
            Ok(session) => self.accept(now, session, out),
            Err(refusal) => {
                let failure = fedai_protocol::session_frame::Failure { refusal, receipt: None };
                let body = FrameBody::Error(failure);
                out.push(send(job, SessionFrame { job, dir: Direction::ToClient, s: 0, body }));
                out.push(Action::CloseSession { job });
            }
        }
    }

    fn admit(&mut self, now: UnixMicros, opened: OpenedJob, ticket: Ticket) -> Result<Session, Refusal> {
        if let Some(closed) = self.closed() {
            return Err(closed.refusal());
        }
        if self.jobs.has_receipt(&opened.job) {
            return Err(Refusal::new(
                RefusalCode::Replayed,
                "this job was done; its receipt is on the relays",
            ));
        }
        let ticket = ticket.map_err(|error| match error {
            ParseError::UnknownVersion(_) => Refusal::new(RefusalCode::UnknownVersion, error.to_string()),
            error => Refusal::new(RefusalCode::BadDispatch, format!("the dispatch is invalid: {error}")),
        })?;
        let terms = check_ticket(&self.policy, &self.offers, &opened, &ticket, now.seconds())?;
        let ceiling = terms.max_cost;
        let question = PaymentQuestion {
            payment: &opened.open.payment,
            agreed: terms.payment,
            offer_is_free: terms.price.is_free(),
            ceiling,
        };
        let balance = self.verifier.verify(&question)?;
        let occupancy = self.occupancy(&opened, now);
        check_room(&self.policy, &opened, &occupancy)?;
        if !self.jobs.can_remember(now.seconds()) {
            return Err(Refusal::new(RefusalCode::Busy, "too many tickets are alive").retry_after(60_000));
        }
        let total = now.plus_millis(self.policy.deadlines.total_ms);
        let give_up = total.min(opened.open.expires_at.micros());
        let mut session = Session::new(opened.job, opened.open, terms, now, give_up);
        session.balance = balance;
        self.read_request(&mut session)?;
        let (id, uses) = (*session.terms.ticket.as_bytes(), ticket.message.uses);
        let expires = session.terms.ticket_expires;
        match self.tickets.take(id, uses, expires, now.seconds(), NODE_TICKETS_MAX) {
            Ok(_) => Ok(session),
            Err(ReplayError::Seen) => {
                Err(Refusal::new(RefusalCode::TicketUsedUp, "the dispatch has no uses left"))
            }
            Err(ReplayError::Full) => {
                Err(Refusal::new(RefusalCode::Busy, "too many tickets are alive").retry_after(60_000))
            }
        }
    }

    fn occupancy(&self, opened: &OpenedJob, now: UnixMicros) -> Occupancy {
        self.jobs.occupancy(&opened.client, &self.pace, self.offers.slots(), now)
    }

    /// Reads an inline request, or prepares for one that comes in pieces.
    fn read_request(&self, session: &mut Session) -> Result<(), Refusal> {
        match &mut session.open.request {
            RequestBody::Inline(body) => {
                // The prompt is in one place only, and gone from there when the runner has it.
                let body = core::mem::take(body);
                take_body(session, body)
            }
            RequestBody::Chunked(manifest) => {
                let bulk = BulkRequest::new(manifest).map_err(|error| {
                    let code = match error {
                        fedai_protocol::chunking::ChunkError::TooLarge => RefusalCode::TooLarge,
                        _ => RefusalCode::Malformed,
                    };
                    Refusal::new(code, error.to_string())
                })?;
                session.bulk = Some(bulk);
                session.phase = Phase::Uploading;
                session.output_cap = session.terms.output_tokens_max;
                Ok(())
            }
        }
    }

    fn accept(&mut self, now: UnixMicros, mut session: Session, out: &mut Vec<Action>) {
        let job = session.job;
        if session.step(JobStep::Accept).is_err() {
            return;
        }
        let queue_ms = self.jobs.wait_ms(&self.pace, self.offers.slots(), now);
        let accept =
            Accept { node: self.policy.node, sig: String::new(), queue_ms, balance: session.balance };
        out.push(send(job, session.numbered(FrameBody::Accept(accept))));
        self.jobs.insert(session);
    }

    /// Takes a frame of the client.
    pub(super) fn take_frame(
        &mut self,
        now: UnixMicros,
        job: JobId,
        frame: SessionFrame,
        out: &mut Vec<Action>,
    ) {
        let Some(session) = self.jobs.get_mut(&job) else { return };
        session.times.heard = now;
        session.times.pinged = None;
        match frame.body {
            FrameBody::Ack(Ack { below, payment: _ }) => {
                session.acknowledge(below);
                out.extend(session.pace(now).map(|is_held| Action::PaceRunner { job, is_held }));
            }
            FrameBody::Resume { from } => {
                // Who asks from here on has what was before.
                session.acknowledge(from);
                out.extend(session.pace(now).map(|is_held| Action::PaceRunner { job, is_held }));
                out.extend(session.frames_from(from).into_iter().map(|frame| send(job, frame)));
            }
            FrameBody::Ping => out.push(send(job, session.unnumbered(FrameBody::Pong))),
            FrameBody::Pong => {}
            FrameBody::Cancel if session.is_open() => {
                let refusal = Refusal::new(RefusalCode::Cancelled, "cancelled by the client");
                self.end_job(now, job, JobStep::Cancel, Outcome::Partial, Some(refusal), out);
            }
            FrameBody::Chunk(Chunk { data, .. }) => self.take_piece(now, job, frame.s, &data, out),
            // Not for a node to take, or too late.
            FrameBody::Cancel | FrameBody::Accept(_) | FrameBody::Error(_) | FrameBody::Final(_) => {}
        }
    }

    fn take_piece(&mut self, now: UnixMicros, job: JobId, s: u64, data: &str, out: &mut Vec<Action>) {
        let Some(session) = self.jobs.get_mut(&job).filter(|session| session.phase == Phase::Uploading)
        else {
            return;
        };
        let Some(mut bulk) = session.bulk.take() else { return };
        let outcome = bulk.push(s, data).and_then(|complete| {
            let below = bulk.next();
            if complete {
                return bulk.open().map(|body| (below, Some(body)));
            }
            session.bulk = Some(bulk);
            Ok((below, None))
        });
        let refusal = match outcome {
            Ok((below, body)) => {
                let ack = FrameBody::Ack(Ack { below, payment: None });
                out.push(send(job, session.unnumbered(ack)));
                let Some(body) = body else { return };
                if hex::encode(request_hash(body.as_bytes())) == session.open.request_hash {
                    take_body(session, body).err()
                } else {
                    Some(Refusal::new(
                        RefusalCode::Malformed,
                        "the request is not the one that was announced",
                    ))
                }
            }
            Err(error) => Some(Refusal::new(RefusalCode::Malformed, error.to_string())),
        };
        match refusal {
            Some(refusal) => self.end_job(now, job, JobStep::Fail, Outcome::Partial, Some(refusal), out),
            None => self.jobs.enqueue(job),
        }
    }

    /// Gives waiting jobs to the runner while slots are free.
    pub(super) fn start_waiting(&mut self, now: UnixMicros, out: &mut Vec<Action>) {
        if !self.runner_up {
            return;
        }
        while let Some(session) = self.jobs.next_to_run(self.offers.slots(), now) {
            let choices = session.shape.choices.max(1);
            let each = session.output_cap.checked_div(choices).unwrap_or(0).max(1);
            let limit = session.terms.input_tokens_max;
            let fits_surely = session.shape.tokens_likely() <= limit;
            let work = RunnerWork {
                model: session.terms.runner_id.clone(),
                endpoint: session.terms.endpoint,
                body: session.body.take().unwrap_or_default(),
                max_output_tokens: u32::try_from(each).unwrap_or(u32::MAX),
                count_against: (!fits_surely).then_some(limit),
            };
            out.push(Action::StartRunner { job: session.job, work: Box::new(work) });
        }
    }

    /// Passes a line of output on.
    pub(super) fn take_output(&mut self, now: UnixMicros, job: JobId, line: &str, out: &mut Vec<Action>) {
        let Some(session) = self.running(&job) else { return };
        let first = session.output().stream_bytes() == 0;
        match session.push_output(now, line) {
            Ok(frames) => {
                if first && session.step(JobStep::Output).is_err() {
                    return;
                }
                out.extend(frames.into_iter().map(|frame| send(job, frame)));
                out.extend(session.pace(now).map(|is_held| Action::PaceRunner { job, is_held }));
            }
            Err(error) => {
                let code = match error {
                    OutputError::TooLarge => RefusalCode::TooLarge,
                    OutputError::Line => RefusalCode::RunnerInterrupted,
                };
                let refusal = Refusal::new(code, error.to_string());
                self.end_job(now, job, JobStep::Fail, Outcome::Partial, Some(refusal), out);
            }
        }
    }

    /// Keeps what the runner says it used.
    pub(super) fn take_usage(&mut self, job: JobId, usage: ReportedUsage) {
        if let Some(session) = self.running(&job) {
            session.usage = Some(usage);
        }
    }

    /// The runner ended well.
    pub(super) fn runner_done(&mut self, now: UnixMicros, job: JobId, out: &mut Vec<Action>) {
        if let Some(session) = self.running(&job) {
            let (model, started) = (session.terms.model.clone(), session.times.started.unwrap_or(now));
            let first = session.times.first_words.unwrap_or(now).millis_since(started);
            let tokens = session.usage.map_or(0, |usage| usage.output_tokens);
            self.pace.learn(&model, first, now.millis_since(started), tokens);
            self.end_job(now, job, JobStep::Finish, Outcome::Complete, None, out);
        }
    }

    /// The runner broke off.
    pub(super) fn runner_failed(
        &mut self,
        now: UnixMicros,
        job: JobId,
        refusal: Refusal,
        out: &mut Vec<Action>,
    ) {
        let Some(session) = self.running(&job) else { return };
        let refusal = match session.has_words() {
            true if refusal.code != RefusalCode::Stalled => {
                Refusal { code: RefusalCode::RunnerInterrupted, ..refusal }
            }
            _ => refusal,
        };
        self.end_job(now, job, JobStep::Fail, Outcome::Partial, Some(refusal), out);
    }

    /// Everything that ends or flows by the clock.
    pub(super) fn check_deadlines(&mut self, now: UnixMicros, out: &mut Vec<Action>) {
        let deadlines = self.policy.deadlines;
        for job in self.jobs.open_jobs() {
            let Some(session) = self.jobs.get_mut(&job) else { continue };
            out.extend(session.flush_due(now).into_iter().map(|frame| send(job, frame)));
            let silent_ms = now.millis_since(session.times.heard);
            let runner_late = session.phase == Phase::Running
                && session.runner_deadline(&deadlines).is_some_and(|at| at <= now);
            let upload_late = session.phase == Phase::Uploading
                && now.millis_since(session.times.opened) >= deadlines.upload_ms;
            let end = if session.times.give_up <= now || upload_late {
                Some((JobStep::Expire, RefusalCode::Timeout, "the job's time is over"))
            } else if runner_late {
                Some((JobStep::Fail, RefusalCode::Stalled, "the runner gave no output within its deadline"))
            } else if silent_ms >= deadlines.silence_ms {
                Some((JobStep::Expire, RefusalCode::Timeout, "the client has not been heard of"))
            } else {
                None
            };
            if let Some((step, code, text)) = end {
                self.end_job(now, job, step, Outcome::Partial, Some(Refusal::new(code, text)), out);
            } else if let Some(from) = session.missing_piece(now) {
                out.push(send(job, session.unnumbered(FrameBody::Resume { from })));
            } else if silent_ms >= deadlines.ping_after_ms && session.times.pinged.is_none() {
                session.times.pinged = Some(now);
                out.push(send(job, session.unnumbered(FrameBody::Ping)));
            }
        }
        for job in self.jobs.forget_finished(now, &self.policy.limits, &deadlines) {
            out.push(Action::CloseSession { job });
        }
    }

    /// Ends all open jobs.
    pub(super) fn fail_all(&mut self, now: UnixMicros, refusal: &Refusal, out: &mut Vec<Action>) {
        for job in self.jobs.open_jobs() {
            self.end_job(now, job, JobStep::Fail, Outcome::Partial, Some(refusal.clone()), out);
        }
    }

    /// The one way out of a job.
    pub(super) fn end_job(
        &mut self,
        now: UnixMicros,
        job: JobId,
        step: JobStep,
        outcome: Outcome,
        refusal: Option<Refusal>,
        out: &mut Vec<Action>,
    ) {
        let Some(session) = self.jobs.get_mut(&job).filter(|session| session.is_open()) else { return };
        if session.step(step).is_err() {
            return;
        }
        let phase = session.phase;
        out.extend(session.flush().into_iter().map(|frame| send(job, frame)));
        session.phase = Phase::Closing;
        let needs_receipt = outcome == Outcome::Complete || session.has_words();
        session.end = Some(JobEnd { outcome, refusal: refusal.clone() });
        if self.jobs.leave(&job, phase) && outcome != Outcome::Complete {
            out.push(Action::CancelRunner { job });
        }
        let drafted = if needs_receipt { self.draft_receipt(now, job, outcome) } else { None };
        if let Some(action) = drafted {
            out.push(action);
            return;
        }
        let refusal =
            refusal.unwrap_or_else(|| Refusal::new(RefusalCode::Internal, "no receipt could be made"));
        let Some(session) = self.jobs.get_mut(&job) else { return };
        // What the client stopped stays used: prefill was computed for it.
        if step == JobStep::Fail {
            self.tickets.give_back(session.terms.ticket.as_bytes());
        }
        out.push(send(job, session.terminal_error(refusal, None)));
        self.close_job(now, job, out);
    }

    fn draft_receipt(&mut self, now: UnixMicros, job: JobId, outcome: Outcome) -> Option<Action> {
        if self.jobs.has_receipt(&job) {
            return None;
        }
        let session = self.jobs.get_mut(&job)?;
        let receipt = receipt_of(session, now, outcome);
        let dispatch = Box::new(session.open.dispatch.clone());
        let expires = session.terms.ticket_expires;
        let draft = self.chain.append(receipt, &self.policy.node, now.seconds()).ok()?;
        self.jobs.remember_receipt(job, expires);
        Some(Action::SignReceipt { job, draft, dispatch })
    }

    /// The receipt is on disk: now, and not before, the end may be told.
    pub(super) fn receipt_durable(
        &mut self,
        now: UnixMicros,
        job: JobId,
        event: VerifiedEvent,
        out: &mut Vec<Action>,
    ) {
        let Some(session) = self.jobs.get_mut(&job).filter(|session| session.phase == Phase::Closing) else {
            return;
        };
        let Some(end) = session.end.take() else { return };
        let frame = match (end.outcome, end.refusal) {
            (Outcome::Partial, Some(refusal)) => session.terminal_error(refusal, Some(event)),
            _ => {
                let output = session.output();
                let finish_reason = output.finish_reason().unwrap_or("stop").to_owned();
                let output_sha256 = output.sha256();
                let usage = bounded_usage(session.usage, known_bytes(session));
                let body = Final { usage, finish_reason, output_sha256, receipt: event };
                session.numbered(FrameBody::Final(Box::new(body)))
            }
        };
        out.push(send(job, frame));
        self.close_job(now, job, out);
    }

    fn close_job(&mut self, now: UnixMicros, job: JobId, out: &mut Vec<Action>) {
        self.jobs.close(job, now);
        for job in self.jobs.forget_finished(now, &self.policy.limits, &self.policy.deadlines) {
            out.push(Action::CloseSession { job });
        }
    }

    fn running(&mut self, job: &JobId) -> Option<&mut Session> {
        self.jobs.get_mut(job).filter(|session| session.phase == Phase::Running)
    }
}

fn send(job: JobId, frame: SessionFrame) -> Action {
    Action::Send { job, frame: Box::new(frame) }
}

/// Reads the sizes of a request and checks it against the terms.
fn take_body(session: &mut Session, body: String) -> Result<(), Refusal> {
    let shape =
        RequestShape::read(&body).map_err(|error| Refusal::new(RefusalCode::Malformed, error.to_string()))?;
    session.output_cap = check_body(&session.terms, &shape)?;
    session.read_as(shape);
    session.body = Some(body);
    Ok(())
}

fn known_bytes(session: &Session) -> KnownBytes {
    KnownBytes {
        input: session.shape.bytes,
        messages: session.shape.messages,
        output: session.output().text_bytes(),
    }
}

fn receipt_of(session: &Session, now: UnixMicros, outcome: Outcome) -> Receipt {
    let terms = &session.terms;
    let output = session.output();
    let reported = match outcome {
        Outcome::Complete => session.usage,
        Outcome::Partial => session.usage.or_else(|| Some(at_least(session.pieces))),
    };
    let usage = bounded_usage(reported, known_bytes(session));
    let owed = amount(&terms.price, &usage, terms.max_cost);
    let mut cumulative = session.balance;
    cumulative.due = cumulative.due.saturating_add(owed);
    let first = session.times.first_words.unwrap_or(now);
    Receipt {
        job: session.job,
        dispatch: terms.ticket,
        router: terms.router,
        client: session.open.session,
        offer: terms.offer,
        offer_address: terms.offer_address.clone(),
        model: terms.model.clone(),
        model_digest: terms.model_digest.clone(),
        usage,
        ttft_ms: first.millis_since(session.times.opened),
        wall_ms: now.millis_since(session.times.opened),
        outcome,
        amount: owed,
        payment: ReceiptPayment {
            method: terms.payment,
            cumulative,
            tickets: Vec::new(),
            released: Vec::new(),
        },
        commitment: commitment(&session.open.nonce, &session.open.request_hash, &output.sha256()),
        frames: session.frame_count(),
        seq: 0,
        prev: fedai_protocol::EventId::all_zeros(),
    }
}
