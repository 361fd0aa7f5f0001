//! How fast this node has been lately, and so how long a job will take and the next one wait.
//!
//! Admission promises a time, not a place in a line: ten short jobs are less of a wait than one long one. The
//! rule: the
//! figures come from jobs that really ran here; until there are any, cautious ones stand in.

use std::collections::BTreeMap;

use fedai_protocol::limits::NODE_OFFERS_MAX;

/// Pace of one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From the start of the runner to the first token, in milliseconds.
    pub first_token_ms: u64,
    /// For each further token, in microseconds.
    pub token_micros: u64,
    /// Tokens that a job really produces.
    pub output_tokens: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { first_token_ms: 500, token_micros: 25_000, output_tokens: 256 }
    }
}

impl Pace {
    /// Time that a job of at most `cap` output tokens will occupy a slot.
    #[must_use]
    pub fn job_ms(&self, cap: u64) -> u64 {
        let tokens = self.output_tokens.min(cap);
        self.first_token_ms.saturating_add(tokens.saturating_mul(self.token_micros) / 1_000)
    }
}

/// Pace of every model that ran here.
#[derive(Clone, Debug, Default)]
pub(crate) struct PaceBook {
    models: BTreeMap<String, Pace>,
}

impl PaceBook {
    /// The pace of a model.
    pub(crate) fn of(&self, model: &str) -> Pace {
        self.models.get(model).copied().unwrap_or_default()
    }

    /// Learns from a job that ended well.
    pub(crate) fn learn(&mut self, model: &str, first_token_ms: u64, run_ms: u64, tokens: u64) {
        if tokens == 0 || (self.models.len() >= NODE_OFFERS_MAX && !self.models.contains_key(model)) {
            return;
        }
        let sample = Pace {
            first_token_ms,
            token_micros: run_ms.saturating_sub(first_token_ms).saturating_mul(1_000) / tokens,
            output_tokens: tokens,
        };
        self.models.entry(model.to_owned()).and_modify(|pace| pace.blend(sample)).or_insert(sample);
    }
}

impl Pace {
    /// An eighth of the new for each job: one odd job does not move the promise, a changed load does within a few.
    fn blend(&mut self, sample: Self) {
        let mix = |old: u64, new: u64| old.saturating_mul(7).saturating_add(new).div_ceil(8);
        self.first_token_ms = mix(self.first_token_ms, sample.first_token_ms);
        self.token_micros = mix(self.token_micros, sample.token_micros);
        self.output_tokens = mix(self.output_tokens, sample.output_tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_as_long_as_its_cap_or_as_jobs_here_are() {
        let pace = Pace { first_token_ms: 100, token_micros: 10_000, output_tokens: 50 };
        assert_eq!(pace.job_ms(10), 200);
        assert_eq!(pace.job_ms(1_000), 600);
    }

    #[test]
    fn a_new_pace_is_learned_within_a_few_jobs() {
        let mut book = PaceBook::default();
        book.learn("m", 100, 1_100, 100);
        assert_eq!(book.of("m"), Pace { first_token_ms: 100, token_micros: 10_000, output_tokens: 100 });
        for _ in 0..40 {
            book.learn("m", 100, 4_100, 100);
        }
        assert!(book.of("m").token_micros > 39_000, "{:?}", book.of("m"));
        book.learn("m", 100, 4_100, 0);
        assert_eq!(book.of("m").output_tokens, 100, "a job without output teaches nothing");
    }
}
