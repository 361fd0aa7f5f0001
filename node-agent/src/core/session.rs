//! One job's session: numbered frames kept for `resume`, output on its way, and the one end it may have.
//!
//! The rule: a number is given to one frame only and never to another; after a terminal frame nothing is
//! numbered. What
//! the client has acknowledged is never asked for again, but it is kept until the session closes.

use fedai_protocol::job_open::{JobEndpoint, JobOpen};
use fedai_protocol::job_state::{IllegalStep, JobState, JobStep};
use fedai_protocol::limits::{RESUME_FRAMES_MAX, UNACKED_FRAMES_MAX};
use fedai_protocol::output_stream::{OutputCounter, OutputError};
use fedai_protocol::payment_offer::{Balance, PaymentMethod};
use fedai_protocol::receipt::Outcome;
use fedai_protocol::session_frame::{Chunk, Direction, FrameBody};
use fedai_protocol::{Address, EventId, JobId, Msat, Price, PublicKey, Refusal, SessionFrame, UnixMicros};
use fedai_protocol::{UnixSeconds, VerifiedEvent};

use super::bulk_request::BulkRequest;
use super::coalescer::Coalescer;
use super::metering::ReportedUsage;
use super::policy::Deadlines;
use super::request_shape::RequestShape;

/// What was agreed for one job, fixed at admission.
#[derive(Clone, Debug)]
pub(crate) struct JobTerms {
    pub(crate) ticket: EventId,
    pub(crate) ticket_expires: UnixSeconds,
    pub(crate) router: PublicKey,
    pub(crate) client: PublicKey,
    pub(crate) offer: EventId,
    pub(crate) offer_address: Address,
    pub(crate) model: String,
    pub(crate) model_digest: Option<String>,
    pub(crate) runner_id: String,
    pub(crate) takes_images: bool,
    pub(crate) price: Price,
    pub(crate) max_cost: Msat,
    pub(crate) input_tokens_max: u64,
    pub(crate) output_tokens_max: u64,
    pub(crate) payment: PaymentMethod,
    pub(crate) endpoint: JobEndpoint,
}

/// Where the work of a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Uploading,
    Queued,
    Running,
    /// Ended; its receipt is being signed and stored.
    Closing,
    /// The terminal frame has been sent.
    Closed,
}

/// How a job ended.
#[derive(Clone, Debug)]
pub(crate) struct JobEnd {
    pub(crate) outcome: Outcome,
    pub(crate) refusal: Option<Refusal>,
}

/// One job.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) job: JobId,
    pub(crate) open: JobOpen,
    pub(crate) terms: JobTerms,
    pub(crate) phase: Phase,
    pub(crate) shape: RequestShape,
    pub(crate) bulk: Option<BulkRequest>,
    pub(crate) body: Option<String>,
    /// Output tokens that the runner may make in all.
    pub(crate) output_cap: u64,
    pub(crate) usage: Option<ReportedUsage>,
    /// Pieces of text that the runner made: each holds at least one token.
    pub(crate) pieces: u64,
    pub(crate) end: Option<JobEnd>,
    pub(crate) balance: Balance,
    pub(crate) times: SessionTimes,
    pub(crate) acked_below: u64,
    /// The runner waits for the client.
    pub(crate) is_held: bool,
    state: JobState,
    output: OutputCounter,
    coalescer: Coalescer,
    frames: Vec<FrameBody>,
    frame_bytes: usize,
    resend_budget: u64,
}

/// When what happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionTimes {
    pub(crate) opened: UnixMicros,
    pub(crate) started: Option<UnixMicros>,
    pub(crate) first_words: Option<UnixMicros>,
    pub(crate) last_output: Option<UnixMicros>,
    pub(crate) heard: UnixMicros,
    pub(crate) pinged: Option<UnixMicros>,
    pub(crate) asked: Option<UnixMicros>,
    pub(crate) closed: Option<UnixMicros>,
    pub(crate) give_up: UnixMicros,
}

impl Session {
    /// A job that was admitted at `now` and must be over by `give_up`.
    pub(crate) fn new(
        job: JobId,
        open: JobOpen,
        terms: JobTerms,
        now: UnixMicros,
        give_up: UnixMicros,
    ) -> Self {
        let times = SessionTimes {
            opened: now,
            started: None,
            first_words: None,
            last_output: None,
            heard: now,
            pinged: None,
            asked: None,
            closed: None,
            give_up,
        };
        Self {
            job,
            open,
            terms,
            phase: Phase::Queued,
            shape: RequestShape::default(),
            bulk: None,
            body: None,
            output_cap: 0,
            usage: None,
            pieces: 0,
            end: None,
            balance: Balance::default(),
            times,
            acked_below: 0,
            is_held: false,
            state: JobState::Opened,
            output: OutputCounter::default(),
            coalescer: Coalescer::default(),
            frames: Vec::new(),
            frame_bytes: 0,
            resend_budget: RESEND_FRAMES,
        }
    }

    /// Moves the job's state on; a step that the table does not have is refused.
    pub(crate) fn step(&mut self, step: JobStep) -> Result<(), IllegalStep> {
        self.state = self.state.after(step)?;
        Ok(())
    }

    /// The client has everything below this number.
    pub(crate) fn acknowledge(&mut self, below: u64) {
        self.acked_below = self.acked_below.max(below.min(self.frame_count()));
    }

    /// Whether the runner has to wait from now on, because the client is far behind, or may go on; none when nothing
    /// changes.
    pub(crate) fn pace(&mut self, now: UnixMicros) -> Option<bool> {
        let behind = self.frame_count().saturating_sub(self.acked_below);
        if self.is_held && behind <= UNACKED_FRAMES_MAX / 2 {
            self.is_held = false;
            // The wait was ours: the runner's time begins anew.
            self.times.last_output = Some(now);
            return Some(false);
        }
        if !self.is_held && behind >= UNACKED_FRAMES_MAX {
            self.is_held = true;
            return Some(true);
        }
        None
    }

    /// True until it has ended.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Uploading | Phase::Queued | Phase::Running)
    }

    /// Numbers a frame and keeps it for `resume`.
    pub(crate) fn numbered(&mut self, body: FrameBody) -> SessionFrame {
        let s = self.frames.len() as u64;
        if let FrameBody::Chunk(chunk) = &body {
            self.frame_bytes = self.frame_bytes.saturating_add(chunk.data.len());
        }
        self.frames.push(body.clone());
        self.frame(s, body)
    }

    /// A frame that is not kept: it carries the next number.
    pub(crate) fn unnumbered(&self, body: FrameBody) -> SessionFrame {
        self.frame(self.frames.len() as u64, body)
    }

    /// Number of frames sent.
    pub(crate) fn frame_count(&self) -> u64 {
        self.frames.len() as u64
    }

    /// Memory that the kept frames take, about.
    pub(crate) const fn kept_bytes(&self) -> usize {
        self.frame_bytes
            .saturating_add(FRAME_OVERHEAD.saturating_mul(self.frames.len()))
            .saturating_add(4_096)
    }

    /// Kept frames from a number on, as many as one request may bring back.
    pub(crate) fn frames_from(&mut self, from: u64) -> Vec<SessionFrame> {
        let start = usize::try_from(from).unwrap_or(usize::MAX);
        let most = usize::try_from(self.resend_budget.min(RESEND_AT_ONCE)).unwrap_or(usize::MAX);
        let kept = (0_u64..).zip(&self.frames).skip(start).take(most);
        let found: Vec<SessionFrame> = kept.map(|(s, body)| self.frame(s, body.clone())).collect();
        self.resend_budget = self.resend_budget.saturating_sub(found.len() as u64);
        found
    }

    /// Takes a line of output and gives the frames that should leave now.
    pub(crate) fn push_output(
        &mut self,
        now: UnixMicros,
        line: &str,
    ) -> Result<Vec<SessionFrame>, OutputError> {
        let before = self.output.text_bytes();
        self.output.count(line)?;
        self.pieces = self.pieces.saturating_add(u64::from(self.output.text_bytes() > before));
        if self.frames.len() + 64 > RESUME_FRAMES_MAX {
            return Err(OutputError::TooLarge);
        }
        self.times.last_output = Some(now);
        let has_words = self.has_words();
        if has_words {
            self.times.first_words.get_or_insert(now);
        }
        let leave = self.coalescer.push(now, line, has_words);
        Ok(if leave { self.flush() } else { Vec::new() })
    }

    /// The request as it was read: its sizes, and how its answer is.
    pub(crate) fn read_as(&mut self, shape: RequestShape) {
        if !shape.is_streamed {
            self.coalescer = Coalescer::for_whole_answer();
        }
        self.shape = shape;
    }

    /// Output that has waited long enough.
    pub(crate) fn flush_due(&mut self, now: UnixMicros) -> Vec<SessionFrame> {
        if self.coalescer.is_due(now) { self.flush() } else { Vec::new() }
    }

    /// All output that waits.
    pub(crate) fn flush(&mut self) -> Vec<SessionFrame> {
        let has_words = self.has_words();
        let balance = self.balance;
        let pieces = self.coalescer.take(has_words);
        let more = RESENDS_PER_FRAME.saturating_mul(pieces.len() as u64);
        self.resend_budget = self.resend_budget.saturating_add(more);
        pieces.into_iter().map(|data| self.numbered(FrameBody::Chunk(Chunk { data, balance }))).collect()
    }

    /// What was delivered.
    pub(crate) const fn output(&self) -> &OutputCounter {
        &self.output
    }

    /// True when text was delivered: from here on a broken job has a receipt.
    pub(crate) const fn has_words(&self) -> bool {
        self.output.text_bytes() > 0
    }

    /// The terminal frame of a job whose receipt is stored, or that needs none.
    pub(crate) fn terminal_error(
        &mut self,
        refusal: Refusal,
        receipt: Option<VerifiedEvent>,
    ) -> SessionFrame {
        self.numbered(FrameBody::Error(fedai_protocol::session_frame::Failure { refusal, receipt }))
    }

    /// When something has to be done about this session at the latest.
    pub(crate) fn next_deadline(&self, limits: &Deadlines) -> Option<UnixMicros> {
        if !self.is_open() {
            return None;
        }
        let idle = match self.times.pinged {
            Some(_) => self.times.heard.plus_millis(limits.silence_ms),
            None => self.times.heard.plus_millis(limits.ping_after_ms),
        };
        let work = match self.phase {
            Phase::Uploading => Some(self.times.opened.plus_millis(limits.upload_ms).min(self.ask_at())),
            Phase::Running => self.runner_deadline(limits),
            _ => None,
        };
        [Some(idle), work, self.coalescer.due_at(), Some(self.times.give_up)].into_iter().flatten().min()
    }

    /// When the runner must have said something.
    pub(crate) fn runner_deadline(&self, limits: &Deadlines) -> Option<UnixMicros> {
        let started = self.times.started.filter(|_| !self.is_held)?;
        Some(match self.times.last_output {
            Some(at) => at.plus_millis(limits.stall_ms),
            None => started.plus_millis(limits.first_token_ms),
        })
    }

    /// The first piece of a large request that has to be asked for again, when the upload has halted.
    pub(crate) fn missing_piece(&mut self, now: UnixMicros) -> Option<u64> {
        if self.phase != Phase::Uploading || self.ask_at() > now {
            return None;
        }
        self.times.asked = Some(now);
        self.bulk.as_ref().map(BulkRequest::next)
    }

    fn ask_at(&self) -> UnixMicros {
        self.times.asked.unwrap_or(self.times.heard).max(self.times.heard).plus_millis(ASK_AGAIN_MS)
    }

    const fn frame(&self, s: u64, body: FrameBody) -> SessionFrame {
        SessionFrame { job: self.job, dir: Direction::ToClient, s, body }
    }
}

/// Frames that a session may send again whatever it has sent, and more with each new one: a lossy path is served, a
/// client that only asks again is not.
const RESEND_FRAMES: u64 = 256;
const RESENDS_PER_FRAME: u64 = 8;
/// Frames that one `resume` brings back; the client asks on from there.
const RESEND_AT_ONCE: u64 = 256;
/// A halted upload: longer than a slow relay needs, shorter than a person's patience.
const ASK_AGAIN_MS: u64 = 1_000;
const FRAME_OVERHEAD: usize = 96;
