//! Independent people: any arrival process, and sizes with a long tail from a stream of their own, so that the same
//! seed asks for the same things whenever they are asked for.

use fedai_protocol::UnixMicros;
use fedai_protocol::quote_request::Mode;

use super::gaps::Gaps;
use super::prompt::Prompt;
use super::{Arrival, Delivery};
use crate::chance::{Chance, Stream};
use crate::sampling;

/// Parameters of the workload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpenLoop {
    /// Jobs in all.
    pub requests: usize,
    /// Jobs a second over time.
    pub rate: f64,
    /// When they come.
    pub gaps: Gaps,
    /// How large they are.
    pub sizes: Sizes,
}

/// Log-normal sizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizes {
    /// Mean tokens of a prompt.
    pub prompt_tokens_mean: f64,
    /// Deviation of it over the mean.
    pub prompt_cv: f64,
    /// Mean words of an answer.
    pub words_mean: f64,
    /// Deviation of it over the mean.
    pub words_cv: f64,
}

impl Sizes {
    /// One prompt.
    pub fn draw(&self, job: usize, chance: &mut Chance) -> Prompt {
        let tokens = sampling::log_normal(chance, self.prompt_tokens_mean.max(1.0), self.prompt_cv);
        let words = sampling::log_normal(chance, self.words_mean.max(1.0), self.words_cv);
        let bytes = (tokens as u64).clamp(16, PROMPT_TOKENS_MAX).saturating_mul(4);
        Prompt { job, words: (words as u64).clamp(1, WORDS_MAX), bytes }
    }
}

impl Default for Sizes {
    /// Means and spreads of conversations, made smaller by a factor of four.
    fn default() -> Self {
        Self { prompt_tokens_mean: 290.0, prompt_cv: 1.0, words_mean: 53.0, words_cv: 0.8 }
    }
}

impl OpenLoop {
    /// Draws the arrivals of a seed.
    #[must_use]
    pub fn draw(&self, start: UnixMicros, seed: u64) -> Vec<Arrival> {
        let mut times = Chance::new(seed, Stream::Workload);
        let mut sizes = Chance::new(seed, Stream::Sizes);
        let times = self.gaps.draw(self.requests, self.rate, start, &mut times);
        let jobs = times.into_iter().enumerate();
        jobs.map(|(job, at)| {
            let prompt = self.sizes.draw(job, &mut sizes);
            Arrival::single(at, prompt, Mode::Balanced, Delivery::LiveContinued)
        })
        .collect()
    }
}

/// What a context window of 32k leaves beside the answer.
const PROMPT_TOKENS_MAX: u64 = 16_000;
/// An answer of a few pages.
const WORDS_MAX: u64 = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_do_not_depend_on_when_they_are_asked_for() {
        let draw = |gaps, rate| {
            OpenLoop { requests: 2_000, rate, gaps, sizes: Sizes::default() }.draw(UnixMicros(0), 4)
        };
        let (even, bursts) = (draw(Gaps::Poisson, 1.0), draw(Gaps::Gamma { cv: 3.0 }, 9.0));
        assert!(even.iter().zip(&bursts).all(|(a, b)| a.prompt == b.prompt && a.at != b.at));
        let words = even.iter().map(|arrival| arrival.prompt.words).sum::<u64>() as f64 / 2_000.0;
        assert!((words / 53.0 - 1.0).abs() < 0.08, "{words}");
    }
}
