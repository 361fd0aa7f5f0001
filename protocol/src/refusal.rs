//! Every way of saying no, with a code that never changes its meaning.

use core::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::REFUSAL_TEXT_BYTES_MAX;

/// Machine-readable reason of a refusal. Unknown codes from newer peers read as [`RefusalCode::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// The message could not be understood.
    Malformed,
    /// A protocol version that is not spoken here.
    UnknownVersion,
    /// Expired or too old.
    Expired,
    /// Seen before with other content, or used up.
    Replayed,
    /// A limit was passed.
    TooLarge,
    /// No live node offers what was asked for.
    NoNode,
    /// Nodes exist, but none within the price ceiling.
    PriceCeiling,
    /// The model is not offered here.
    UnknownModel,
    /// The offer named is not ours, or was replaced too long ago.
    UnknownOffer,
    /// The context or output asked for does not fit the model.
    ContextExceeded,
    /// The dispatch is not valid for this job.
    BadDispatch,
    /// The ticket has no uses left.
    TicketUsedUp,
    /// The router that signed the dispatch is not accepted.
    RouterNotAccepted,
    /// Payment is missing.
    PaymentRequired,
    /// The payment method or mint is not accepted, or cannot be verified.
    PaymentNotAccepted,
    /// All slots are taken; try again after `retry_after_ms`.
    Busy,
    /// The node is shutting down.
    Draining,
    /// The caller sends too much.
    RateLimited,
    /// The runner refused the request as invalid.
    RunnerRejected,
    /// The runner failed before the first token.
    RunnerFailed,
    /// The runner failed in the middle of its output.
    RunnerInterrupted,
    /// The runner gave no output within its deadline.
    Stalled,
    /// The caller cancelled.
    Cancelled,
    /// A deadline passed.
    Timeout,
    /// The session is not known here (any more).
    UnknownSession,
    /// A fault on our side.
    Internal,
    /// A code that this version does not know.
    #[serde(other)]
    Other,
}

impl RefusalCode {
    /// The code as it appears on the wire.
    #[must_use]
    pub fn as_str(self) -> String {
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// True when another node may well succeed with the same job.
    #[must_use]
    pub const fn is_worth_another_node(self) -> bool {
        !matches!(
            self,
            Self::Malformed
                | Self::UnknownVersion
                | Self::TooLarge
                | Self::Cancelled
                | Self::RunnerRejected
                | Self::ContextExceeded
                | Self::PriceCeiling
        )
    }

    /// True when the refusal says nothing bad about the party that gave it.
    #[must_use]
    pub const fn is_callers_fault_or_load(self) -> bool {
        !matches!(
            self,
            Self::RunnerFailed
                | Self::RunnerInterrupted
                | Self::Stalled
                | Self::Timeout
                | Self::Internal
                | Self::UnknownOffer
        )
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_str())
    }
}

/// A refusal: code, a sentence for people, and when to try again where that helps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// Stable code.
    pub code: RefusalCode,
    /// What happened and the way out; never quotes a prompt or an output. Cut to its limit when it is read.
    #[serde(deserialize_with = "cut")]
    pub message: String,
    /// Milliseconds after which the same request may succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// A refusal without a retry hint.
    #[must_use]
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { code, message: cut_text(message.into()), retry_after_ms: None }
    }

    /// The same with a retry hint.
    #[must_use]
    pub fn retry_after(self, millis: u64) -> Self {
        Self { retry_after_ms: Some(millis), ..self }
    }
}

fn cut_text(mut text: String) -> String {
    if text.len() > REFUSAL_TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(REFUSAL_TEXT_BYTES_MAX));
    }
    text
}

fn cut<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map(cut_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_code_is_read_as_other() {
        let refusal: Refusal = serde_json::from_str(r#"{"code":"from_the_future","message":"x"}"#).unwrap();
        assert_eq!(refusal.code, RefusalCode::Other);
    }

    #[test]
    fn codes_are_snake_case_words() {
        assert_eq!(RefusalCode::PaymentRequired.to_string(), "payment_required");
        assert_eq!(RefusalCode::Busy.to_string(), "busy");
    }

    #[test]
    fn text_is_cut_at_a_character_border() {
        let refusal = Refusal::new(RefusalCode::Internal, "ü".repeat(400));
        assert!(refusal.message.len() <= REFUSAL_TEXT_BYTES_MAX);
        let long = format!(r#"{{"code":"busy","message":"{}"}}"#, "x".repeat(5_000));
        let read: Refusal = serde_json::from_str(&long).unwrap();
        assert_eq!(read.message.len(), REFUSAL_TEXT_BYTES_MAX, "cut when it is read, too");
    }
}
