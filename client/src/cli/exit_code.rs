//! Exit codes, in one place. They are part of the interface: scripts rely on them, docs/cli.md lists them.

use std::process::ExitCode;

use fedai_protocol::RefusalCode;

use crate::core::job_ending::JobFailure;
use crate::core::router_silence::Unheard;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It did what was asked.
    Success,
    /// It failed.
    Failure,
    /// It was called wrongly.
    Usage,
    /// Its settings are wrong.
    Config,
    /// No relay could be reached.
    NoRelay,
    /// No router or node fits.
    NoMatch,
    /// The price or the way of paying.
    Payment,
    /// Something that was signed or promised does not hold.
    Verification,
    /// Out of time.
    Timeout,
    /// Stopped by the user.
    Interrupted,
}

impl ExitStatus {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Config => 3,
            Self::NoRelay => 4,
            Self::NoMatch => 5,
            Self::Payment => 6,
            Self::Verification => 7,
            Self::Timeout => 124,
            Self::Interrupted => 130,
        }
    }

    /// The status for a job that gave no answer.
    #[must_use]
    pub const fn of_failure(failure: &JobFailure) -> Self {
        use RefusalCode as R;
        if failure.dishonest.is_some() && failure.attempts.is_empty() {
            return Self::Verification;
        }
        if matches!(failure.unheard, Some(Unheard::Relays)) {
            return Self::NoRelay;
        }
        match failure.refusal.code {
            R::NoNode | R::UnknownModel | R::RouterNotAccepted if failure.attempts.is_empty() => {
                Self::NoMatch
            }
            R::PriceCeiling | R::PaymentRequired | R::PaymentNotAccepted => Self::Payment,
            R::Timeout => Self::Timeout,
            R::Cancelled => Self::Interrupted,
            _ => Self::Failure,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}
