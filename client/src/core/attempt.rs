//! One job at one node, from its open to its single ending.
//!
//! The node's frames are put in order, holes are asked for with `resume`, silence is probed, and a node that answers
//! nothing any more is lost. What relay a frame came by does not matter. After the ending nothing changes any more.

use fedai_protocol::job_state::{JobState, JobStep};
use fedai_protocol::output_stream::{OutputCounter, OutputLine};
use fedai_protocol::payment_offer::Balance;
use fedai_protocol::quote::CheckedNode;
use fedai_protocol::session_frame::{Ack, Chunk, Failure, Final, FrameBody, SessionFrame};
use fedai_protocol::{JobId, PublicKey, Refusal, RefusalCode, UnixMicros};

use super::frame_order::FrameOrder;
use super::job_spec::JourneyTiming;

/// Frames between two acknowledgements.
const FRAMES_PER_ACK: u64 = 64;
/// Shortest time without progress that a node may take after its `accept`, in milliseconds: a long prefill is fine.
const STALL_MS_MIN: u64 = 60_000;
/// Times that a large request is sent again in all: relays lose pieces, but no node needs megabytes for ever.
const UPLOAD_REPEATS_MAX: u64 = 8;
/// A node that took the job and does not bring it to its end.
const INTERRUPTED: RefusalCode = RefusalCode::RunnerInterrupted;

/// What the shell made of "open this job".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedWith {
    /// Job id.
    pub job: JobId,
    /// Our session key.
    pub session: PublicKey,
    /// Nonce of the job open (hex).
    pub nonce: String,
    /// Pieces of a request that did not fit the open, in base64.
    pub upload: Vec<String>,
}

/// What an attempt wants done, or has to say.
#[derive(Clone, Debug, PartialEq)]
pub enum AttemptEvent {
    /// Send a frame.
    Send {
        /// Its number.
        s: u64,
        /// Its content.
        body: FrameBody,
    },
    /// Send the job open once more.
    OpenAgain,
    /// The node took the job.
    Accepted,
    /// Output, in order.
    Lines(Vec<OutputLine>),
    /// The node says that it is done.
    Finished(Box<Final>),
    /// The node says that it will not or cannot.
    Broken(Failure),
    /// The node is gone.
    Lost(Refusal),
}

impl AttemptEvent {
    /// True when the node is gone.
    #[must_use]
    pub const fn is_loss(&self) -> bool {
        matches!(self, Self::Lost(_))
    }
}

/// One job at one node.
#[derive(Clone, Debug)]
pub struct Attempt {
    node: CheckedNode,
    timing: JourneyTiming,
    state: JobState,
    opened: Option<OpenedWith>,
    order: FrameOrder,
    output: OutputCounter,
    opens: u32,
    probes: u32,
    gap_asks: u32,
    begun_at: UnixMicros,
    opened_at: Option<UnixMicros>,
    accept_wait_ms: u64,
    first_output_at: Option<UnixMicros>,
    check_at: UnixMicros,
    progress_at: UnixMicros,
    stall_ms: u64,
    stall_cap_ms: u64,
    uploaded_from: u64,
    uploaded_again: u64,
    /// Its own relay has gone, and it has not been heard of since.
    is_doubted: bool,
}

impl Attempt {
    /// Begins at `now`; the shell is asked to open the job at the same time.
    #[must_use]
    pub fn new(node: CheckedNode, timing: JourneyTiming, now: UnixMicros) -> Self {
        Self {
            node,
            timing,
            state: JobState::Opened,
            opened: None,
            order: FrameOrder::default(),
            output: OutputCounter::default(),
            opens: 1,
            probes: 0,
            gap_asks: 0,
            begun_at: now,
            opened_at: None,
            accept_wait_ms: timing.accept_wait_ms,
            first_output_at: None,
            check_at: now.plus_millis(timing.accept_wait_ms),
            progress_at: now,
            stall_ms: STALL_MS_MIN,
            stall_cap_ms: u64::MAX,
            uploaded_from: 0,
            uploaded_again: 0,
            is_doubted: false,
        }
    }

    /// Caps the time without progress: somebody else could still do the job.
    #[must_use]
    pub const fn stalled_after(mut self, cap_ms: u64) -> Self {
        self.stall_cap_ms = cap_ms;
        self
    }

    /// Waits so long for the answer to the first open, and twice that for the answer to the next, within the usual.
    #[must_use]
    pub fn accepted_within(mut self, wait_ms: u64) -> Self {
        self.accept_wait_ms = wait_ms;
        self.check_at = self.begun_at.plus_millis(wait_ms);
        self
    }

    /// The node.
    #[must_use]
    pub const fn node(&self) -> &CheckedNode {
        &self.node
    }

    /// What it was opened with.
    #[must_use]
    pub const fn opened_with(&self) -> Option<&OpenedWith> {
        self.opened.as_ref()
    }

    /// What arrived.
    #[must_use]
    pub const fn output(&self) -> &OutputCounter {
        &self.output
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> JobState {
        self.state
    }

    /// True when the node answered the open, with a yes or a no.
    #[must_use]
    pub const fn has_answered(&self) -> bool {
        self.order.next() > 0
    }

    /// From the open to `now`, in microseconds, when it was sent only once: what the answer took that has just come.
    #[must_use]
    pub fn answer_took(&self, now: UnixMicros) -> Option<u64> {
        self.opened_at.filter(|_| self.opens == 1).map(|at| now.since(at))
    }

    /// From the open to the first output.
    #[must_use]
    pub fn ttft_ms(&self) -> Option<u64> {
        self.first_output_at.map(|at| at.millis_since(self.begun_at))
    }

    /// From the open to `now`.
    #[must_use]
    pub const fn total_ms(&self, now: UnixMicros) -> u64 {
        now.millis_since(self.begun_at)
    }

    /// When to call [`Attempt::tick`] if nothing happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<UnixMicros> {
        let stall_at = self.stall_at().map_or(self.check_at, |at| at.min(self.check_at));
        (!self.state.is_terminal()).then_some(stall_at)
    }

    /// When a node that took the job has made no progress for too long. Pings alone are none.
    fn stall_at(&self) -> Option<UnixMicros> {
        matches!(self.state, JobState::Accepted | JobState::Streaming)
            .then(|| self.progress_at.plus_millis(self.stall_ms.min(self.stall_cap_ms)))
    }

    /// The job was opened. What came before, like a connection to the node, is not the node's time.
    pub fn opened(&mut self, now: UnixMicros, with: OpenedWith) {
        self.opened = Some(with);
        self.opened_at = Some(now);
        if self.state == JobState::Opened {
            self.check_at = now.plus_millis(self.accept_wait_ms());
        }
    }

    /// A frame of the node, whose author was vouched for.
    pub fn frame(&mut self, now: UnixMicros, frame: SessionFrame, out: &mut Vec<AttemptEvent>) {
        if self.state.is_terminal() {
            return;
        }
        self.probes = 0;
        self.is_doubted = false;
        let (had_gap, before) = (self.order.has_gap(), self.order.next());
        if frame.body.is_numbered() {
            for body in self.order.push(frame.s, frame.body) {
                self.take(now, body, out);
            }
            if self.order.next() > before {
                self.gap_asks = 0;
                self.progress_at = now;
            }
            self.acknowledge(before, out);
        } else {
            self.order.heard_of(frame.s);
            self.answer(now, frame.body, out);
        }
        if !self.order.has_gap() {
            self.check_at = now.plus_millis(self.timing.idle_ms);
        } else if !had_gap || self.order.next() > before {
            self.check_at = now.plus_millis(self.timing.gap_wait_ms);
        }
        // Else the hole is an old one: frames that keep coming must not put off asking for it.
    }

    /// A relay came or went: what was on its way may be lost, so ask at once.
    pub fn relays_changed(&mut self, now: UnixMicros, out: &mut Vec<AttemptEvent>) {
        match self.state {
            JobState::Opened => out.push(AttemptEvent::OpenAgain),
            JobState::Accepted | JobState::Streaming => {
                self.probe(out);
                self.check_at = now.plus_millis(self.probe_wait_ms());
            }
            _ => {}
        }
    }

    /// The node's own relay has gone: what was on its way may be lost, and the node may be gone, too.
    pub fn direct_way_lost(&mut self, now: UnixMicros, out: &mut Vec<AttemptEvent>) {
        self.is_doubted = true;
        if self.state == JobState::Opened {
            self.check_at = self.check_at.min(now.plus_millis(self.accept_wait_ms()));
        }
        self.relays_changed(now, out);
    }

    fn accept_wait_ms(&self) -> u64 {
        let wait_ms =
            self.accept_wait_ms.saturating_mul(u64::from(self.opens)).min(self.timing.accept_wait_ms);
        if self.is_doubted { wait_ms.min(self.timing.doubt_wait_ms) } else { wait_ms }
    }

    const fn probe_wait_ms(&self) -> u64 {
        if self.is_doubted { self.timing.doubt_wait_ms } else { self.timing.probe_wait_ms }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: UnixMicros, out: &mut Vec<AttemptEvent>) {
        if self.stall_at().is_some_and(|at| now >= at) {
            return self.lose(RefusalCode::Stalled, "the node took the job and made no progress", out);
        }
        if self.state.is_terminal() || now < self.check_at {
            return;
        }
        if self.state == JobState::Opened {
            if self.opens >= self.timing.opens_max {
                return self.lose(RefusalCode::RunnerFailed, "the node did not answer the job open", out);
            }
            self.opens = self.opens.saturating_add(1);
            self.check_at = now.plus_millis(self.accept_wait_ms());
            return out.push(AttemptEvent::OpenAgain);
        }
        if self.order.has_gap() && self.probes == 0 {
            if self.gap_asks >= self.timing.gap_asks_max {
                return self.lose(INTERRUPTED, "part of the node's answer never arrived", out);
            }
            self.gap_asks = self.gap_asks.saturating_add(1);
            self.check_at = now.plus_millis(self.timing.gap_wait_ms);
            // A hole that stays open without any sign of life ends as silence does.
            self.probes = u32::from(self.gap_asks.is_multiple_of(4));
            return self.send(FrameBody::Resume { from: self.order.next() }, out);
        }
        if self.probes >= self.timing.probes_max {
            return self.lose(INTERRUPTED, "the node stopped answering", out);
        }
        self.probes = self.probes.saturating_add(1);
        self.check_at = now.plus_millis(self.probe_wait_ms());
        self.probe(out);
    }

    /// The client wants no more.
    pub fn cancel(&mut self, step: JobStep, out: &mut Vec<AttemptEvent>) {
        if let Ok(state) = self.state.after(step) {
            if self.state != JobState::Opened {
                self.send(FrameBody::Cancel, out);
            }
            self.state = state;
        }
    }

    /// Another node was faster. Unlike a cancelled one it is still counted: it may have delivered something by then.
    pub fn give_up(&self, out: &mut Vec<AttemptEvent>) {
        if !self.state.is_terminal() && self.state != JobState::Opened {
            self.send(FrameBody::Cancel, out);
        }
    }

    /// A numbered frame in its order.
    fn take(&mut self, now: UnixMicros, body: FrameBody, out: &mut Vec<AttemptEvent>) {
        let step = match &body {
            FrameBody::Accept(_) => JobStep::Accept,
            FrameBody::Chunk(_) => JobStep::Output,
            FrameBody::Final(_) => JobStep::Finish,
            FrameBody::Error(_) if self.state == JobState::Opened => JobStep::Refuse,
            FrameBody::Error(_) => JobStep::Fail,
            _ => return,
        };
        let Ok(state) = self.state.after(step) else {
            if !self.state.is_terminal() {
                self.lose(self.fault(), "the node sent frames that make no sense", out);
            }
            return;
        };
        if step == JobStep::Finish && !self.output.is_whole() {
            return self.lose(INTERRUPTED, "the node's output ends in the middle of a line", out);
        }
        self.state = state;
        match body {
            FrameBody::Accept(accept) => {
                let patience = self.node.expected_ttft_ms.saturating_mul(10).saturating_add(accept.queue_ms);
                self.stall_ms = patience.max(STALL_MS_MIN);
                out.push(AttemptEvent::Accepted);
                self.upload_from(0, out);
            }
            FrameBody::Chunk(chunk) => self.take_output(now, &chunk, out),
            FrameBody::Final(last) => out.push(AttemptEvent::Finished(last)),
            FrameBody::Error(failure) => out.push(AttemptEvent::Broken(failure)),
            _ => {}
        }
    }

    fn take_output(&mut self, now: UnixMicros, chunk: &Chunk, out: &mut Vec<AttemptEvent>) {
        match self.output.push(&chunk.data) {
            Ok(lines) => {
                if self.first_output_at.is_none() && self.output.text_bytes() > 0 {
                    self.first_output_at = Some(now);
                }
                if !lines.is_empty() {
                    out.push(AttemptEvent::Lines(lines));
                }
            }
            Err(_) => self.lose(INTERRUPTED, "the node's output is malformed or endless", out),
        }
    }

    fn acknowledge(&self, before: u64, out: &mut Vec<AttemptEvent>) {
        let next = self.order.next();
        if before / FRAMES_PER_ACK != next / FRAMES_PER_ACK && !self.state.is_terminal() {
            self.send(FrameBody::Ack(Ack { below: next, payment: None }), out);
        }
    }

    /// An unnumbered frame.
    fn answer(&mut self, now: UnixMicros, body: FrameBody, out: &mut Vec<AttemptEvent>) {
        match body {
            FrameBody::Ping => self.send(FrameBody::Pong, out),
            FrameBody::Resume { from } => {
                let pieces = self.opened.as_ref().map_or(0, |opened| opened.upload.len() as u64);
                if from > self.uploaded_from && from <= pieces {
                    self.uploaded_from = from;
                    self.progress_at = now;
                }
                if self.uploaded_again < pieces.saturating_mul(UPLOAD_REPEATS_MAX) {
                    let again = pieces.saturating_sub(from);
                    self.uploaded_again = self.uploaded_again.saturating_add(again);
                    self.upload_from(from, out);
                }
            }
            _ => {}
        }
    }

    fn upload_from(&self, from: u64, out: &mut Vec<AttemptEvent>) {
        let pieces = self.opened.iter().flat_map(|opened| &opened.upload);
        for (s, piece) in (0..).zip(pieces).filter(|(s, _)| *s >= from) {
            let body = FrameBody::Chunk(Chunk { data: piece.clone(), balance: Balance::default() });
            out.push(AttemptEvent::Send { s, body });
        }
    }

    fn probe(&self, out: &mut Vec<AttemptEvent>) {
        self.send(FrameBody::Ping, out);
        self.send(FrameBody::Resume { from: self.order.next() }, out);
    }

    /// Unnumbered frames carry the number that a numbered one would have, which shows the node a lost tail.
    fn send(&self, body: FrameBody, out: &mut Vec<AttemptEvent>) {
        let s = self.opened.as_ref().map_or(0, |opened| opened.upload.len() as u64);
        out.push(AttemptEvent::Send { s, body });
    }

    /// Gives the node up. One that took the job is told, so that it does not work for nobody.
    fn lose(&mut self, code: RefusalCode, what: &str, out: &mut Vec<AttemptEvent>) {
        if self.state != JobState::Opened {
            self.send(FrameBody::Cancel, out);
        }
        self.state = JobState::Failed;
        out.push(AttemptEvent::Lost(Refusal::new(code, what)));
    }

    const fn fault(&self) -> RefusalCode {
        match self.state {
            JobState::Opened => RefusalCode::RunnerFailed,
            _ => INTERRUPTED,
        }
    }
}

#[cfg(test)]
#[path = "attempt_tests.rs"]
mod tests;
