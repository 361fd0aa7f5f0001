//! The sequences that decode, as far as a stretch of steps is concerned: they all move by one token a step, so one
//! counter moves them all, and only who joins or leaves is touched.

use std::collections::BTreeSet;

use super::profile::BLOCK_TOKENS;

/// The set. Sequences are known by the order in which they were submitted.
#[derive(Clone, Debug, Default)]
pub(super) struct DecodeSet {
    /// Steps since the runner was made in which the set was not empty.
    steps: u64,
    /// Tokens in all contexts together.
    contexts: u64,
    /// By the step after which a sequence is complete.
    endings: BTreeSet<(u64, u64)>,
    /// How many sequences begin a block at a step with this remainder.
    phases: [u32; BLOCK_TOKENS as usize],
}

impl DecodeSet {
    pub(super) const fn steps(&self) -> u64 {
        self.steps
    }

    pub(super) const fn contexts(&self) -> u64 {
        self.contexts
    }

    pub(super) fn len(&self) -> u64 {
        self.endings.len() as u64
    }

    /// A sequence with this context needs so many more tokens. Gives the step after which it is complete.
    pub(super) fn join(&mut self, order: u64, context: u64, tokens: u64) -> u64 {
        let ends = self.steps + tokens;
        self.endings.insert((ends, order));
        self.contexts += context;
        *self.phase(context) += 1;
        ends
    }

    /// A sequence leaves, complete or not, with its context of now.
    pub(super) fn leave(&mut self, order: u64, ends: u64, context: u64) {
        if self.endings.remove(&(ends, order)) {
            self.contexts -= context;
            *self.phase(context) -= 1;
        }
    }

    /// Steps until somebody is complete.
    pub(super) fn steps_to_ending(&self) -> Option<u64> {
        self.endings.first().map(|(ends, _)| ends - self.steps)
    }

    /// Somebody who is complete.
    pub(super) fn complete(&self) -> Option<u64> {
        self.endings.first().filter(|(ends, _)| *ends == self.steps).map(|(_, order)| *order)
    }

    /// So many steps are done.
    pub(super) fn advance(&mut self, steps: u64) {
        if !self.endings.is_empty() {
            self.steps += steps;
            self.contexts += steps * self.len();
        }
    }

    /// Blocks that so many steps begin.
    pub(super) fn blocks_for(&self, steps: u64) -> u64 {
        let rest = (0..steps % BLOCK_TOKENS).map(|ahead| self.beginning_at(ahead)).sum::<u64>();
        steps / BLOCK_TOKENS * self.len() + rest
    }

    /// The most steps that begin no more than so many blocks.
    pub(super) fn steps_with(&self, blocks: u64) -> u64 {
        if self.endings.is_empty() {
            return u64::MAX;
        }
        let (rounds, mut left) = (blocks / self.len(), blocks % self.len());
        let mut steps = rounds.saturating_mul(BLOCK_TOKENS);
        for ahead in 0..BLOCK_TOKENS {
            let Some(rest) = left.checked_sub(self.beginning_at(ahead)) else { break };
            left = rest;
            steps = steps.saturating_add(1);
        }
        steps
    }

    /// Blocks that begin in the step that is so far ahead.
    fn beginning_at(&self, ahead: u64) -> u64 {
        let phase = (self.steps + ahead) % BLOCK_TOKENS;
        usize::try_from(phase).ok().and_then(|at| self.phases.get(at)).copied().map_or(0, u64::from)
    }

    /// A context that is a whole number of blocks begins one in the next step.
    fn phase(&mut self, context: u64) -> &mut u32 {
        let until = (BLOCK_TOKENS - context % BLOCK_TOKENS) % BLOCK_TOKENS;
        let [first, rest @ ..] = &mut self.phases;
        let phase = usize::try_from((self.steps + until) % BLOCK_TOKENS).unwrap_or(0);
        phase.checked_sub(1).and_then(|at| rest.get_mut(at)).unwrap_or(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_steps_are_those_that_each_context_begins() {
        let mut set = DecodeSet::default();
        let mut contexts = [16_u64, 17, 31, 32, 100];
        for (order, context) in contexts.iter().enumerate() {
            set.join(order as u64, *context, 500);
        }
        for steps in [0, 1, 5, 16, 40] {
            let begun = |context: &u64| (context + steps).div_ceil(16) - context.div_ceil(16);
            let expected: u64 = contexts.iter().map(begun).sum();
            assert_eq!(set.blocks_for(steps), expected, "{steps} steps");
            assert!(set.steps_with(expected) >= steps);
            assert!(set.blocks_for(set.steps_with(expected)) <= expected);
            assert!(set.blocks_for(set.steps_with(expected) + 1) > expected);
            set.advance(steps);
            contexts.iter_mut().for_each(|context| *context += steps);
            assert_eq!(set.contexts(), contexts.iter().sum::<u64>());
        }
    }
}
