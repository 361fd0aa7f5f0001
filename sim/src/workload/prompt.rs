//! Requests whose answer is known: a marked prompt that says how long its answer is, and that answer, word
//! by word.
//!
//! The mark is in every word of prompts and outputs and in nothing else, so that whoever sees it where it
//! does not belong has seen plaintext; and any node gives the same answer, so that lost or repeated output
//! shows.

use serde_json::Value;

/// In every prompt and every output.
pub const PLAINTEXT_MARK: &str = "zq7plaintext";

/// A request of the simulated kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Number of the job.
    pub job: usize,
    /// Words of the answer; a word counts as a token.
    pub words: u64,
    /// Bytes of text.
    pub bytes: u64,
}

impl Prompt {
    /// The request as a client writes it.
    #[must_use]
    pub fn request(&self) -> String {
        let head = format!("{PLAINTEXT_MARK} {} {} ", self.job, self.words);
        let rest = usize::try_from(self.bytes).unwrap_or(0).saturating_sub(head.len());
        let content = format!("{head}{}", "x".repeat(rest));
        let message = serde_json::json!({"role": "user", "content": content});
        serde_json::json!({"messages": [message], "max_tokens": self.words}).to_string()
    }

    /// Reads a request back.
    #[must_use]
    pub fn read(request: &str) -> Option<Self> {
        let request: Value = serde_json::from_str(request).ok()?;
        let content = request.pointer("/messages/0/content")?.as_str()?;
        let mut words = content.split(' ');
        if words.next()? != PLAINTEXT_MARK {
            return None;
        }
        let (job, count) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Self { job, words: count, bytes: content.len() as u64 })
    }

    /// Tokens of the prompt, by the usual four bytes a token.
    #[must_use]
    pub const fn tokens(&self) -> u64 {
        self.bytes / 4
    }

    /// One word of the answer.
    #[must_use]
    pub fn word(&self, number: u64) -> String {
        format!("{PLAINTEXT_MARK}-{}-{number} ", self.job)
    }

    /// The whole answer.
    #[must_use]
    pub fn answer(&self) -> String {
        (0..self.words).map(|number| self.word(number)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_back() {
        let prompt = Prompt { job: 12, words: 34, bytes: 500 };
        assert_eq!(Prompt::read(&prompt.request()), Some(prompt));
        assert_eq!(Prompt::read("{}"), None);
        assert_eq!(prompt.answer().matches(PLAINTEXT_MARK).count(), 34);
    }
}
