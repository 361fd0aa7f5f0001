//! Conversations of people who wait: a person reads an answer, thinks, and asks again with all that was said before. A
//! slow network gets less work from them, as it does in life.
//!
//! Who comes when, how many turns, what is asked and how long is thought are drawn before the world begins.

use fedai_protocol::UnixMicros;
use fedai_protocol::quote_request::Mode;

use super::block_table::{BLOCK_TOKENS, BlockSpan, BlockTable};
use super::open_loop::Sizes;
use super::{Arrival, Delivery, PreviousTurn};
use crate::chance::{Chance, Stream};
use crate::sampling;

/// Parameters of the workload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClosedLoop {
    /// Turns in all.
    pub requests: usize,
    /// Conversations that begin in a second.
    pub sessions_rate: f64,
    /// Mean number of turns, at least 1.
    pub turns_mean: f64,
    /// Mean time between the end of an answer and the next question, in seconds.
    pub think_seconds_mean: f64,
    /// What a turn adds.
    pub sizes: Sizes,
}

impl ClosedLoop {
    /// Draws the turns of a seed, conversation by conversation, and the blocks that they share.
    #[must_use]
    pub fn draw(&self, start: UnixMicros, seed: u64) -> (Vec<Arrival>, BlockTable) {
        let mut times = Chance::new(seed, Stream::Workload);
        let mut sizes = Chance::new(seed, Stream::Sizes);
        let (mut arrivals, mut blocks) = (Vec::with_capacity(self.requests), Vec::new());
        let (mut seconds, mut session) = (0.0_f64, 0_u64);
        while arrivals.len() < self.requests {
            seconds += sampling::exponential(&mut times) / self.sessions_rate.max(1e-6);
            session = session.saturating_add(1);
            let begins = start.plus((seconds * 1e6) as u64);
            let turns = self.turns(&mut sizes).min(self.requests.saturating_sub(arrivals.len()));
            self.converse(begins, session, turns, &mut sizes, &mut arrivals, &mut blocks);
        }
        (arrivals, BlockTable::new(blocks))
    }

    /// Geometric: after every turn the same chance of another one.
    fn turns(&self, chance: &mut Chance) -> usize {
        let goes_on = 1.0 - 1.0 / self.turns_mean.max(1.0);
        let mut turns = 1_usize;
        while chance.unit() < goes_on && turns < TURNS_MAX {
            turns = turns.saturating_add(1);
        }
        turns
    }

    fn converse(
        &self,
        begins: UnixMicros,
        session: u64,
        turns: usize,
        sizes: &mut Chance,
        arrivals: &mut Vec<Arrival>,
        blocks: &mut Vec<u64>,
    ) {
        let (first_block, mut said, mut previous) = (blocks.len(), 0_u64, None);
        for _ in 0..turns {
            let job = arrivals.len();
            let mut prompt = self.sizes.draw(job, sizes);
            prompt.bytes = prompt.bytes.saturating_add(said).min(PROMPT_BYTES_MAX);
            let count = prompt.tokens() / BLOCK_TOKENS;
            blocks.extend((blocks.len() - first_block) as u64..count);
            if let Some(new) = blocks.get_mut(first_block..) {
                new.iter_mut().zip(0..).for_each(|(block, number)| *block = session << 16 | number);
            }
            let mut arrival = Arrival::single(begins, prompt, Mode::Balanced, Delivery::LiveContinued);
            arrival.blocks = BlockSpan::new(first_block, usize::try_from(count).unwrap_or(0));
            arrival.previous = previous;
            arrivals.push(arrival);
            said = prompt.bytes.saturating_add(prompt.words.saturating_mul(4));
            let think = (1e6 * self.think_seconds_mean * sampling::exponential(sizes)) as u64;
            previous = Some(PreviousTurn { job, think_micros: Some(think) });
        }
    }
}

/// Nobody talks longer.
const TURNS_MAX: usize = 100;
/// What a context window of 32k leaves beside the answer.
const PROMPT_BYTES_MAX: u64 = 64_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_follow_each_other_and_carry_what_was_said() {
        let closed = ClosedLoop {
            requests: 3_000,
            sessions_rate: 1.0,
            turns_mean: 4.0,
            think_seconds_mean: 10.0,
            sizes: Sizes::default(),
        };
        let (arrivals, blocks) = closed.draw(UnixMicros(0), 2);
        assert_eq!(arrivals.len(), 3_000);
        let (mut firsts, mut think) = (0, 0);
        for (job, arrival) in arrivals.iter().enumerate() {
            assert_eq!(arrival.prompt.job, job);
            let Some(previous) = arrival.previous else {
                firsts += 1;
                continue;
            };
            let before = &arrivals[previous.job];
            assert!(previous.job + 1 == job && before.prompt.bytes <= arrival.prompt.bytes);
            let (old, new) = (blocks.of(before.blocks), blocks.of(arrival.blocks));
            assert!(new.starts_with(old), "a turn begins with the one before it");
            think += previous.think_micros.unwrap();
        }
        let turns = 3_000.0 / f64::from(firsts);
        assert!((turns - 4.0).abs() < 0.4, "{turns}");
        let think = think as f64 / 1e6 / f64::from(3_000 - firsts);
        assert!((think - 10.0).abs() < 0.7, "{think}");
        let shared: Vec<u64> = blocks.of(BlockSpan::new(0, blocks.len())).to_vec();
        let distinct: std::collections::BTreeSet<u64> = shared.iter().copied().collect();
        assert_eq!(distinct.len(), shared.len(), "conversations share nothing with each other");
    }
}
