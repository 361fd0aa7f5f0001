//! An error in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`, with our stable codes in `code`.

use fedai_protocol::RefusalCode;
use serde_json::{Value, json};

use crate::core::job_ending::JobFailure;
use crate::core::router_silence::Unheard;

/// When to try again while no relay is connected: they are tried every few seconds.
const RELAYS_RETRY_MS: u64 = 5_000;

/// What went wrong, as an OpenAI client is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// OpenAI's class of error.
    pub kind: &'static str,
    /// Stable code.
    pub code: String,
    /// A sentence for people, with a way out.
    pub message: String,
    /// The field that is at fault.
    pub param: Option<String>,
    /// When to try again, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl ApiError {
    /// An error of the caller or of ours, by status.
    #[must_use]
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        let kind = match status {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "api_error",
        };
        let (code, message) = (code.to_owned(), message.into());
        Self { status, kind, code, message, param: None, retry_after_ms: None }
    }

    /// A field that is not what it should be.
    #[must_use]
    pub fn field(name: &str, what: impl core::fmt::Display) -> Self {
        Self { param: Some(name.to_owned()), ..Self::new(400, "invalid_field", format!("`{name}` {what}")) }
    }

    /// A job that failed.
    #[must_use]
    pub fn of_failure(failure: &JobFailure) -> Self {
        let refusal = &failure.refusal;
        let mut message = refusal.message.clone();
        if let Some(lie) = &failure.dishonest {
            message = format!("{message} (a router's quote did not hold: {lie})");
        }
        let (status, retry_after_ms) = match failure.unheard {
            Some(Unheard::Relays) => (503, Some(RELAYS_RETRY_MS)),
            // No node was asked: nobody is there who would take it.
            None if refusal.code == RefusalCode::RouterNotAccepted && failure.attempts.is_empty() => {
                (404, None)
            }
            _ => (status_of(refusal.code), refusal.retry_after_ms),
        };
        if failure.unheard.is_some() {
            message = format!("{message}; on the machine of this endpoint, `fedai doctor` says who is there");
        }
        Self { retry_after_ms, ..Self::new(status, &failure.code(), message) }
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> Value {
        json!({"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}})
    }

    /// `Retry-After` in whole seconds.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after_ms.map(|ms| ms.div_ceil(1_000).max(1))
    }
}

/// The HTTP status that an OpenAI client treats as we mean it: it repeats 408, 409, 429 and 5xx by itself.
#[must_use]
pub const fn status_of(code: RefusalCode) -> u16 {
    match code {
        RefusalCode::NoNode | RefusalCode::UnknownModel => 404,
        RefusalCode::PaymentRequired | RefusalCode::PaymentNotAccepted | RefusalCode::PriceCeiling => 402,
        RefusalCode::TooLarge => 413,
        RefusalCode::Malformed | RefusalCode::ContextExceeded | RefusalCode::RunnerRejected => 400,
        RefusalCode::Busy | RefusalCode::RateLimited => 429,
        RefusalCode::Cancelled => 499,
        RefusalCode::Timeout | RefusalCode::Stalled => 504,
        RefusalCode::Draining => 503,
        RefusalCode::Internal => 500,
        _ => 502,
    }
}

#[cfg(test)]
mod tests {
    use fedai_protocol::{Msat, Refusal};

    use super::*;

    #[test]
    fn a_refusal_keeps_its_code_and_says_when_to_try_again() {
        let failure = JobFailure {
            refusal: Refusal::new(RefusalCode::Busy, "all slots are taken").retry_after(1_200),
            dishonest: None,
            unheard: None,
            has_shown: false,
            attempts: Vec::new(),
            spent: Msat::ZERO,
            decision: None,
        };
        let error = ApiError::of_failure(&failure);
        assert_eq!((error.status, error.kind, error.code.as_str()), (429, "rate_limit_error", "busy"));
        assert_eq!(error.retry_after_seconds(), Some(2));
        assert_eq!(error.message, "all slots are taken", "hints are for the command line");
    }

    #[test]
    fn silence_of_routers_and_of_relays_are_worth_another_try() {
        for (unheard, status, code, retry) in [
            (Unheard::Routers { out_of_time: false }, 504, "timeout", None),
            (Unheard::Relays, 503, "no_relay", Some(5)),
        ] {
            let refusal = Refusal::new(RefusalCode::Timeout, "nobody was heard");
            let failure = JobFailure { refusal, unheard: Some(unheard), ..JobFailure::of_our_own() };
            let error = ApiError::of_failure(&failure);
            assert_eq!(
                (error.status, error.code.as_str(), error.retry_after_seconds()),
                (status, code, retry)
            );
            assert!(error.message.contains("fedai doctor"), "{}", error.message);
        }
    }

    #[test]
    fn the_body_is_openais() {
        let body = ApiError::field("messages", "must be a list").body();
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert_eq!(body["error"]["param"], "messages");
        assert_eq!(body["error"]["code"], "invalid_field");
    }
}
