//! Conversations: each begins at a Poisson time, has a few turns, and every turn carries the ones before it.
//!
//! The next turn comes a think time after the time that its predecessor would take at reading speed, not after its real
//! end: an open loop, so that a slow network is not spared by the people who wait for it.

use fedai_protocol::UnixMicros;

use super::Arrival;
use super::poisson::{PROMPT_BYTES_MAX, WORDS_MAX, draw_delivery, draw_mode};
use super::prompt::Prompt;
use crate::chance::Chance;

/// Parameters of the workload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sessions {
    /// Jobs in all.
    pub requests: usize,
    /// Jobs a second over time.
    pub rate: f64,
    /// Mean number of turns.
    pub turns_mean: f64,
    /// Mean of the pause between two turns, in seconds.
    pub think_seconds_mean: f64,
}

impl Sessions {
    /// Draws the arrivals, in order of time.
    #[must_use]
    pub fn draw(&self, start: UnixMicros, chance: &mut Chance) -> Vec<Arrival> {
        let gap = 1e6 * self.turns_mean.max(1.0) / self.rate.max(1e-6);
        let (mut begins, mut arrivals) = (start, Vec::with_capacity(self.requests));
        while arrivals.len() < self.requests {
            begins = begins.plus(chance.exponential(gap));
            let turns = chance.exponential((self.turns_mean - 1.0).max(0.0) + 0.5).saturating_add(1);
            let (mut at, mut bytes) = (begins, 0_u64);
            for _ in 0..turns {
                bytes = bytes.saturating_add(64 + chance.exponential(240.0)).min(PROMPT_BYTES_MAX);
                let words = chance.exponential(60.0).saturating_add(1).min(WORDS_MAX);
                let prompt = Prompt { job: 0, words, bytes };
                let (mode, delivery) = (draw_mode(chance), draw_delivery(chance));
                arrivals.push(Arrival::single(at, prompt, mode, delivery));
                bytes = bytes.saturating_add(words.saturating_mul(6)).min(PROMPT_BYTES_MAX);
                let reading = words.saturating_mul(READ_MICROS_PER_WORD);
                at = at.plus(reading).plus(chance.exponential(1e6 * self.think_seconds_mean));
            }
        }
        arrivals.truncate(self.requests);
        arrivals.sort_by_key(|arrival| arrival.at);
        for (job, arrival) in arrivals.iter_mut().enumerate() {
            arrival.prompt.job = job;
        }
        arrivals
    }
}

/// Four words a second.
const READ_MICROS_PER_WORD: u64 = 250_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Stream;

    #[test]
    fn turns_grow_and_numbers_follow_the_time() {
        let sessions = Sessions { requests: 400, rate: 2.0, turns_mean: 4.0, think_seconds_mean: 5.0 };
        let arrivals = sessions.draw(UnixMicros(0), &mut Chance::new(3, Stream::Workload));
        assert_eq!(arrivals.len(), 400);
        assert!(arrivals.windows(2).all(|pair| pair[0].at <= pair[1].at));
        assert!(arrivals.iter().enumerate().all(|(job, arrival)| arrival.prompt.job == job));
        let mean = arrivals.iter().map(|arrival| arrival.prompt.bytes).sum::<u64>() / 400;
        assert!(mean > 400, "later turns carry the earlier ones: {mean}");
    }
}
