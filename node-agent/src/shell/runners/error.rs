//! What can go wrong with a runner, in words of our own.
//!
//! The rule: a runner's error text never travels further than this directory. It often quotes the
//! prompt, and these errors are logged and sent to strangers. Codes are stable, messages are not.

use crate::shell::sandbox::UrlError;

/// Why a runner did not deliver. Compare by [`RunnerError::code`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunnerError {
    /// No connection, or it broke before the answer began.
    #[error("the runner cannot be reached\nhint: is it running, and is the URL right?")]
    Unreachable,
    /// It answers, but its model is still being loaded.
    #[error("the runner is still loading its model\nhint: wait, large models take minutes")]
    Loading,
    /// It refused the request itself; asking again gives the same answer.
    #[error("the runner refused the request (HTTP {status})")]
    BadRequest {
        /// The HTTP status it gave.
        status: u16,
    },
    /// The prompt does not fit.
    #[error("the prompt has {n_prompt} tokens and the runner's context is {n_ctx}")]
    ContextExceeded {
        /// Tokens of the prompt, 0 if it did not say.
        n_prompt: u32,
        /// Tokens it has room for, 0 if it did not say.
        n_ctx: u32,
    },
    /// The API key is missing or wrong.
    #[error("the runner refused the API key\nhint: set the key of this runner in the configuration")]
    Unauthorized,
    /// It has no room now.
    #[error("the runner is overloaded")]
    Overloaded {
        /// How long it asked to be left alone, in seconds.
        retry_after_s: Option<u32>,
    },
    /// Silence for longer than allowed.
    #[error("the runner sent nothing for {waited_ms} ms (waiting for {phase})")]
    Stalled {
        /// What was awaited: `"an answer"`, `"the first token"` or `"the next token"`.
        phase: &'static str,
        /// How long it was awaited.
        waited_ms: u64,
    },
    /// It reported that it failed while working.
    #[error("the runner failed (HTTP {status})")]
    Failed {
        /// The HTTP status, or the code in its error event; 0 if neither was given.
        status: u16,
    },
    /// It does not offer this endpoint.
    #[error("the runner does not offer this")]
    Unsupported,
    /// Its answer could not be understood or broke a size limit.
    #[error("the runner broke the protocol: {what}")]
    Protocol {
        /// Which rule, in our own words.
        what: &'static str,
    },
    /// We stopped it.
    #[error("cancelled")]
    Cancelled,
}

impl RunnerError {
    /// A stable word for metrics, refusals and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Loading => "loading",
            Self::BadRequest { .. } => "bad_request",
            Self::ContextExceeded { .. } => "context_exceeded",
            Self::Unauthorized => "unauthorized",
            Self::Overloaded { .. } => "overloaded",
            Self::Stalled { .. } => "stalled",
            Self::Failed { .. } => "failed",
            Self::Unsupported => "unsupported",
            Self::Protocol { .. } => "protocol",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the same request could succeed elsewhere or later: the fault is the runner's.
    pub fn is_runner_fault(&self) -> bool {
        !matches!(
            self,
            Self::BadRequest { .. } | Self::ContextExceeded { .. } | Self::Unsupported | Self::Cancelled
        )
    }
}

/// Why a runner could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No adapter has that name.
    #[error("unknown runner kind {kind:?}\nhint: one of {known}")]
    UnknownKind {
        /// What was asked for.
        kind: String,
        /// What exists.
        known: String,
    },
    /// The address is unusable or not allowed.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The HTTP client could not be made.
    #[error("cannot prepare the HTTP client for {url:?}\nhint: are CA certificates installed?")]
    Client {
        /// The runner's address.
        url: String,
    },
    /// A setting of the mock runner is not understood.
    #[error("the mock runner does not know {setting:?}\nhint: mock://local?tokens=16&token_ms=5")]
    MockSetting {
        /// The part that was not understood.
        setting: String,
    },
}
