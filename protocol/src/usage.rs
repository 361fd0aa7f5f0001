//! What a job consumed, and the bounds that anyone can check without knowing the model's tokenizer.

use serde::{Deserialize, Serialize};

use crate::msat::Tokens;

/// Counted resources of one job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens, cached ones included.
    pub input_tokens: Tokens,
    /// Prompt tokens that came out of the runner's prefix cache.
    #[serde(default)]
    pub cached_tokens: Tokens,
    /// Completion tokens, reasoning included.
    pub output_tokens: Tokens,
    /// Reasoning tokens among the completion tokens.
    #[serde(default)]
    pub reasoning_tokens: Tokens,
    /// Bytes of the request body.
    pub input_bytes: u64,
    /// Bytes of delivered text (content, reasoning, tool-call arguments).
    pub output_bytes: u64,
}

/// Why a usage claim cannot be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageBoundError {
    /// More completion tokens than bytes delivered.
    #[error("claims {claimed} output tokens for {bytes} bytes of output")]
    OutputTokens {
        /// Tokens claimed.
        claimed: u64,
        /// Bytes delivered.
        bytes: u64,
    },
    /// More prompt tokens than the request can hold.
    #[error("claims {claimed} input tokens for a request of {bytes} bytes")]
    InputTokens {
        /// Tokens claimed.
        claimed: u64,
        /// Bytes sent.
        bytes: u64,
    },
    /// Cached or reasoning tokens exceed the whole.
    #[error("a part of the tokens exceeds the whole")]
    Parts,
    /// Another number of bytes than was delivered.
    #[error("claims {claimed} bytes of output, {bytes} arrived")]
    OutputBytes {
        /// Bytes claimed.
        claimed: u64,
        /// Bytes delivered.
        bytes: u64,
    },
}

/// Tokens that a chat template may add beyond the text: a default system prompt and markers.
const TEMPLATE_TOKENS: u64 = 96;
/// Tokens that a template adds per message.
const TOKENS_PER_MESSAGE: u64 = 16;

impl Usage {
    /// Checks a claim against what the client itself sent and received. A byte-level token spells at least one byte,
    /// so tokens can never outnumber bytes (one more for the end marker); the prompt adds a bounded template.
    pub fn check_bounds(
        &self,
        sent_bytes: u64,
        messages: u64,
        received_bytes: u64,
    ) -> Result<(), UsageBoundError> {
        if self.output_bytes != received_bytes {
            return Err(UsageBoundError::OutputBytes { claimed: self.output_bytes, bytes: received_bytes });
        }
        let claimed = self.output_tokens.get();
        if claimed > received_bytes.saturating_add(1) {
            return Err(UsageBoundError::OutputTokens { claimed, bytes: received_bytes });
        }
        let claimed = self.input_tokens.get();
        let template = TEMPLATE_TOKENS.saturating_add(TOKENS_PER_MESSAGE.saturating_mul(messages));
        if claimed > sent_bytes.saturating_add(template) {
            return Err(UsageBoundError::InputTokens { claimed, bytes: sent_bytes });
        }
        if self.cached_tokens > self.input_tokens || self.reasoning_tokens > self.output_tokens {
            return Err(UsageBoundError::Parts);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(input: u64, output: u64, bytes: u64) -> Usage {
        Usage {
            input_tokens: Tokens::saturating(input),
            output_tokens: Tokens::saturating(output),
            output_bytes: bytes,
            ..Usage::default()
        }
    }

    #[test]
    fn a_token_is_at_least_a_byte() {
        assert_eq!(usage(10, 11, 10).check_bounds(40, 1, 10), Ok(()));
        assert!(matches!(
            usage(10, 12, 10).check_bounds(40, 1, 10),
            Err(UsageBoundError::OutputTokens { .. })
        ));
        assert!(matches!(usage(10, 5, 9).check_bounds(40, 1, 10), Err(UsageBoundError::OutputBytes { .. })));
    }

    #[test]
    fn a_prompt_is_bounded_by_its_bytes_and_the_template() {
        assert_eq!(usage(40 + 96 + 16, 1, 1).check_bounds(40, 1, 1), Ok(()));
        assert!(matches!(
            usage(40 + 96 + 17, 1, 1).check_bounds(40, 1, 1),
            Err(UsageBoundError::InputTokens { .. })
        ));
    }
}
