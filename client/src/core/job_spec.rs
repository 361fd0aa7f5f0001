//! What a person asked for, in the network's terms: the request itself, its shape, its limits, and what to do when a
//! node breaks off. Everything that a journey needs to know is here, and nothing in it changes on the way.

use fedai_protocol::job_open::JobEndpoint;
use fedai_protocol::limits::INLINE_REQUEST_BYTES_MAX;
use fedai_protocol::quote_request::{Constraints, Mode, ModelWanted, token_bucket};
use fedai_protocol::{Msat, PublicKey, QuoteRequest, Tokens, UnixMicros, UnixSeconds};

/// Largest request inside the job open once it is escaped; the ticket beside it takes a few kilobytes.
const ESCAPED_REQUEST_BYTES_MAX: usize = 14_336;

/// How long after its deadline a job's messages expire.
const EXPIRY_MARGIN_SECONDS: u64 = 2;

/// When output is handed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeliveryMode {
    /// As it arrives.
    #[default]
    Live,
    /// All of it, when the job has ended well. Then a broken answer can be replaced without a trace.
    Buffered,
}

/// What to do when the node is gone for good after output was handed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBreak {
    /// Run it at another node; go on where the first stopped if the new answer begins with what was handed on, else
    /// end with an error. Nothing is repeated, nothing is lost, nothing is stitched from two different answers.
    #[default]
    Continue,
    /// Say so and hand on a new answer from its beginning.
    Restart,
    /// End with an error.
    Fail,
}

/// Whom to ask for a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterTarget {
    /// A router, by its identity key.
    Router(PublicKey),
    /// Nobody: the client schedules itself and signs its own ticket.
    Own,
}

/// One job.
#[derive(Clone, Debug)]
pub struct JobSpec {
    /// Interface of the runner.
    pub endpoint: JobEndpoint,
    /// OpenAI-shaped JSON.
    pub request: String,
    /// Messages in it, for the bound on prompt tokens.
    pub messages: u64,
    /// The model.
    pub wanted: ModelWanted,
    /// Estimate of the prompt's size.
    pub prompt_tokens: Tokens,
    /// Most output tokens.
    pub max_output_tokens: Tokens,
    /// Most that the job may cost in all.
    pub max_cost: Option<Msat>,
    /// What is valued.
    pub mode: Mode,
    /// Hard conditions.
    pub constraints: Constraints,
    /// Jobs that a ticket should cover.
    pub uses: u16,
    /// Node with a warm cache.
    pub previous_node: Option<PublicKey>,
    /// Whom to ask.
    pub routers: Vec<RouterTarget>,
    /// When output is handed on.
    pub delivery: DeliveryMode,
    /// Ask routers that a full one names, too; not where the user has chosen the routers.
    pub follow_peers: bool,
    /// Begin a second attempt beside a slow first one, whatever the mode; the mode `fastest` does so anyway.
    pub hedge: bool,
    /// What to do when a node is gone in mid-stream.
    pub on_break: OnBreak,
    /// The job is worthless after this.
    pub deadline: UnixMicros,
}

impl JobSpec {
    /// The prompt size that is quoted: a bucket, so that it tells little.
    #[must_use]
    pub fn quoted_prompt(&self) -> Tokens {
        token_bucket(self.prompt_tokens)
    }

    /// The output limit that is quoted.
    #[must_use]
    pub fn quoted_output(&self) -> Tokens {
        token_bucket(self.max_output_tokens)
    }

    /// What messages of this job say of their end. A little after the deadline: they count whole seconds, by clocks
    /// that are not ours, and it is the deadline here that ends the job.
    #[must_use]
    pub const fn expires_at(&self) -> UnixSeconds {
        self.deadline.seconds().plus(EXPIRY_MARGIN_SECONDS)
    }

    /// True when the request does not fit the job open and travels in pieces. Inside the open it is escaped twice,
    /// which makes four bytes of a quote or a backslash.
    #[must_use]
    pub fn is_bulky(&self) -> bool {
        let escaped = self.request.bytes().map(|byte| match byte {
            b'"' | b'\\' => 4,
            0..0x20 => 8,
            _ => 1,
        });
        self.request.len() > INLINE_REQUEST_BYTES_MAX || escaped.sum::<usize>() > ESCAPED_REQUEST_BYTES_MAX
    }

    /// The request for a quote to one router.
    #[must_use]
    pub fn quote_request(
        &self,
        router: RouterTarget,
        avoid: impl Iterator<Item = PublicKey>,
        now: UnixMicros,
    ) -> QuoteRequest {
        let mut constraints = self.constraints.clone();
        constraints.not_nodes.extend(avoid);
        constraints.not_nodes.truncate(256);
        QuoteRequest {
            router: match router {
                RouterTarget::Router(key) => Some(key),
                RouterTarget::Own => None,
            },
            wanted: self.wanted.clone(),
            prompt_tokens: self.quoted_prompt(),
            max_output_tokens: self.quoted_output(),
            max_cost: self.max_cost,
            mode: self.mode,
            constraints,
            uses: self.uses,
            accept_auto: true,
            previous_node: self.previous_node,
            expires_at: self.expires_at().min(now.seconds().plus(30)),
        }
    }
}

/// How patient a journey is. The defaults suit relays within a continent; a test shortens them.
#[derive(Clone, Copy, Debug)]
pub struct JourneyTiming {
    /// Wait for the first quote, in milliseconds.
    pub quote_wait_ms: u64,
    /// Wait for other quotes after the first, in milliseconds.
    pub quote_window_ms: u64,
    /// Rounds of asking.
    pub rounds_max: u32,
    /// Wait for the answer to one job open, in milliseconds, while nobody knows how long answers take.
    pub accept_wait_ms: u64,
    /// The same at least, when answers were quick so far: a busy machine may stop for a moment.
    pub accept_wait_min_ms: u64,
    /// Job opens sent to one node.
    pub opens_max: u32,
    /// A hole in the frames is asked for after this, in milliseconds.
    pub gap_wait_ms: u64,
    /// Times that one hole is asked for.
    pub gap_asks_max: u32,
    /// Silence after which the node is probed, in milliseconds.
    pub idle_ms: u64,
    /// Wait for the answer to a probe, in milliseconds.
    pub probe_wait_ms: u64,
    /// The same for accepts and probes while the node is in doubt, because its own relay has gone: mostly the node has
    /// gone with it, and else it answers by other relays within their round trip.
    pub doubt_wait_ms: u64,
    /// Probes without an answer after which the node is gone.
    pub probes_max: u32,
    /// Nodes tried in all.
    pub attempts_max: u32,
    /// Longest `retry_after` that is waited for, in milliseconds.
    pub retry_wait_max_ms: u64,
}

impl Default for JourneyTiming {
    fn default() -> Self {
        Self {
            quote_wait_ms: 4_000,
            quote_window_ms: 150,
            rounds_max: 4,
            accept_wait_ms: 2_500,
            accept_wait_min_ms: 500,
            opens_max: 2,
            gap_wait_ms: 300,
            gap_asks_max: 20,
            idle_ms: 2_000,
            probe_wait_ms: 1_500,
            doubt_wait_ms: 500,
            probes_max: 3,
            attempts_max: 6,
            retry_wait_max_ms: 20_000,
        }
    }
}
