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
        serde_json::json!({"messages": [message], "max_tokens": self.words, "stream": true}).to_string()
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

    /// The request on the typed wire: one byte for a token, so that long prompts cost little.
    #[must_use]
    pub fn short_request(&self) -> String {
        let content = "x".repeat(usize::try_from(self.tokens().max(1)).unwrap_or(0));
        let words = self.words;
        format!(
            r#"{{"messages":[{{"role":"user","content":"{content}"}}],"max_tokens":{words},"stream":true}}"#
        )
    }

    /// Words of the answer on the typed wire, from one up to another: four bytes each, nothing to escape.
    #[must_use]
    pub fn short_words(&self, from: u64, below: u64) -> String {
        let words = usize::try_from(below.saturating_sub(from)).unwrap_or(0);
        let mut text = String::with_capacity(words.saturating_mul(4));
        let mut code = self.short_code(from);
        for _ in from..below {
            for digit in Self::short_word(code) {
                text.push(char::from(digit));
            }
            code = if code == 999 { 0 } else { code + 1 };
        }
        text
    }

    /// The number in a word, of three digits.
    const fn short_code(&self, number: u64) -> u64 {
        number.wrapping_add((self.job as u64).wrapping_mul(31)) % 1_000
    }

    fn short_word(code: u64) -> [u8; 4] {
        let digit = |value: u64| b'0' + (value % 10) as u8;
        [digit(code / 100), digit(code / 10), digit(code), b' ']
    }

    /// The whole answer.
    #[must_use]
    pub fn answer(&self) -> String {
        (0..self.words).map(|number| self.word(number)).collect()
    }
}

/// Reads an answer along with the one that it should be.
#[derive(Clone, Debug)]
pub struct AnswerReader {
    prompt: Prompt,
    is_short: bool,
    word: u64,
    /// What is left of the word that was begun; on the typed wire, the bytes of it that have been read.
    rest: String,
    read: usize,
}

impl AnswerReader {
    /// Before the first word. `is_short` on the typed wire.
    #[must_use]
    pub const fn new(prompt: Prompt, is_short: bool) -> Self {
        Self { prompt, is_short, word: 0, rest: String::new(), read: 0 }
    }

    /// Back to the first word.
    pub fn restart(&mut self) {
        *self = Self::new(self.prompt, self.is_short);
    }

    /// True when the answer goes on like this.
    pub fn goes_on(&mut self, text: &str) -> bool {
        if self.is_short {
            return text.bytes().all(|byte| self.takes(byte));
        }
        let mut left = text;
        while !left.is_empty() {
            if self.rest.is_empty() {
                if self.word >= self.prompt.words {
                    return false;
                }
                self.rest = self.prompt.word(self.word);
                self.word = self.word.saturating_add(1);
            }
            let common = self.rest.len().min(left.len());
            if self.rest.get(..common).is_none_or(|wanted| left.get(..common) != Some(wanted)) {
                return false;
            }
            self.rest.drain(..common);
            left = left.get(common..).unwrap_or_default();
        }
        true
    }

    /// True when a short answer goes on with this byte.
    fn takes(&mut self, byte: u8) -> bool {
        let word = Prompt::short_word(self.prompt.short_code(self.word));
        if self.word >= self.prompt.words || word.get(self.read) != Some(&byte) {
            return false;
        }
        self.read += 1;
        if self.read == word.len() {
            self.word = self.word.saturating_add(1);
            self.read = 0;
        }
        true
    }

    /// True when nothing is missing.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.rest.is_empty() && self.read == 0 && self.word == self.prompt.words
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

    #[test]
    fn an_answer_is_read_along_however_it_is_cut() {
        let prompt = Prompt { job: 12, words: 34, bytes: 500 };
        for (answer, is_short) in [(prompt.answer(), false), (prompt.short_words(0, 34), true)] {
            for size in [1, 3, 7, 1_000] {
                let mut reader = AnswerReader::new(prompt, is_short);
                let pieces = answer.as_bytes().chunks(size);
                assert!(pieces.into_iter().all(|piece| reader.goes_on(core::str::from_utf8(piece).unwrap())));
                assert!(reader.is_whole() && !reader.goes_on("more"));
            }
            let mut reader = AnswerReader::new(prompt, is_short);
            assert!(!reader.goes_on("else") && !reader.is_whole());
        }
    }
}
