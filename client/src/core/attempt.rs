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
    first_output_at: Option<UnixMicros>,
    check_at: UnixMicros,
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
            first_output_at: None,
            check_at: now.plus_millis(timing.accept_wait_ms),
        }
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
        (!self.state.is_terminal()).then_some(self.check_at)
    }

    /// The job was opened.
    pub fn opened(&mut self, with: OpenedWith) {
        self.opened = Some(with);
    }

    /// A frame of the node, whose author was vouched for.
    pub fn frame(&mut self, now: UnixMicros, frame: SessionFrame, out: &mut Vec<AttemptEvent>) {
        if self.state.is_terminal() {
            return;
        }
        self.probes = 0;
        if frame.body.is_numbered() {
            let before = self.order.next();
            for body in self.order.push(frame.s, frame.body) {
                self.take(now, body, out);
            }
            if self.order.next() > before {
                self.gap_asks = 0;
            }
            self.acknowledge(before, out);
        } else {
            self.order.heard_of(frame.s);
            self.answer(frame.body, out);
        }
        let wait = if self.order.has_gap() { self.timing.gap_wait_ms } else { self.timing.idle_ms };
        self.check_at = now.plus_millis(wait);
    }

    /// A relay came or went: what was on its way may be lost, so ask at once.
    pub fn relays_changed(&mut self, now: UnixMicros, out: &mut Vec<AttemptEvent>) {
        match self.state {
            JobState::Opened => out.push(AttemptEvent::OpenAgain),
            JobState::Accepted | JobState::Streaming => {
                self.probe(out);
                self.check_at = now.plus_millis(self.timing.probe_wait_ms);
            }
            _ => {}
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: UnixMicros, out: &mut Vec<AttemptEvent>) {
        if self.state.is_terminal() || now < self.check_at {
            return;
        }
        if self.state == JobState::Opened {
            if self.opens >= self.timing.opens_max {
                return self.lose("the node did not answer the job open", out);
            }
            self.opens = self.opens.saturating_add(1);
            self.check_at = now.plus_millis(self.timing.accept_wait_ms);
            return out.push(AttemptEvent::OpenAgain);
        }
        if self.order.has_gap() && self.probes == 0 {
            if self.gap_asks >= self.timing.gap_asks_max {
                return self.lose("part of the node's answer never arrived", out);
            }
            self.gap_asks = self.gap_asks.saturating_add(1);
            self.check_at = now.plus_millis(self.timing.gap_wait_ms);
            // A hole that stays open without any sign of life ends as silence does.
            self.probes = u32::from(self.gap_asks.is_multiple_of(4));
            return self.send(FrameBody::Resume { from: self.order.next() }, out);
        }
        if self.probes >= self.timing.probes_max {
            return self.lose("the node stopped answering", out);
        }
        self.probes = self.probes.saturating_add(1);
        self.check_at = now.plus_millis(self.timing.probe_wait_ms);
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
                self.lose("the node sent frames that make no sense", out);
            }
            return;
        };
        self.state = state;
        match body {
            FrameBody::Accept(_) => {
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
            Err(_) => self.lose("the node's output is malformed or endless", out),
        }
    }

    fn acknowledge(&self, before: u64, out: &mut Vec<AttemptEvent>) {
        let next = self.order.next();
        if before / FRAMES_PER_ACK != next / FRAMES_PER_ACK && !self.state.is_terminal() {
            self.send(FrameBody::Ack(Ack { below: next, payment: None }), out);
        }
    }

    /// An unnumbered frame.
    fn answer(&self, body: FrameBody, out: &mut Vec<AttemptEvent>) {
        match body {
            FrameBody::Ping => self.send(FrameBody::Pong, out),
            FrameBody::Resume { from } => self.upload_from(from, out),
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

    fn lose(&mut self, what: &str, out: &mut Vec<AttemptEvent>) {
        let code = match self.state {
            JobState::Opened => RefusalCode::RunnerFailed,
            _ => RefusalCode::RunnerInterrupted,
        };
        self.state = JobState::Failed;
        out.push(AttemptEvent::Lost(Refusal::new(code, what)));
    }
}
