//! The scheduler of a batch: who runs, who is put back, which prompts are taken in, and for how many steps nothing of
//! that changes.
//!
//! Its rules are those of vLLM's first-come scheduler: running sequences before new ones, the last admitted is
//! preempted and computed again later, nobody overtakes.

use fedai_protocol::UnixMicros;

use super::RunnerEvent;
use super::model::RunnerModel;
use super::profile::{Emit, FEMTOS_PER_MICRO, KvCapacity};
use super::sequence::{Sequence, Stage, blocks_of};
use super::stretch::Stretch;

/// Steps with one and the same batch.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) stretch: Stretch,
    pub(super) steps: u64,
    /// Prompt tokens taken in by each step, by sequence.
    pub(super) chunks: Vec<(u64, u64)>,
}

impl<K: Copy + Ord> RunnerModel<K> {
    /// Plans from the boundary on.
    pub(super) fn make_plan(&mut self) {
        self.plan = None;
        let mut has_preempted;
        loop {
            self.let_go();
            has_preempted = self.preempt();
            if !has_preempted {
                self.admit();
            }
            if !self.running.is_empty() {
                break;
            }
            let Some(first) = self.waiting.values().next() else { return };
            self.boundary = self.boundary.max(first.since);
        }
        let (chunks, most) = self.chunks();
        let stretch = self.stretch(&chunks, most);
        // Nobody is admitted in a step for which somebody was put back; in the next one he may be.
        let steps = if has_preempted { 1 } else { self.steps(&stretch, most) };
        self.plan = Some(Plan { stretch, steps, chunks });
    }

    /// Does so many steps of a plan.
    pub(super) fn complete(&mut self, plan: &Plan, steps: u64, events: &mut Vec<RunnerEvent<K>>) {
        self.boundary += plan.stretch.span(steps);
        let now = UnixMicros(u64::try_from(self.boundary.div_ceil(FEMTOS_PER_MICRO)).unwrap_or(u64::MAX));
        self.count(now);
        self.counts.steps += steps;
        self.counts.output_tokens += steps * self.decoding.len();
        self.kv.grow(self.decoding.blocks_for(steps));
        self.decoding.advance(steps);
        for (order, tokens) in &plan.chunks {
            self.take_in(*order, tokens * steps, events);
        }
        while let Some(order) = self.decoding.complete() {
            self.finish(order, events);
        }
        if self.boundary >= self.tell_at && self.decoding.len() > 0 {
            self.tell(events);
        }
    }

    /// Those that were cancelled leave.
    fn let_go(&mut self) {
        if self.leaving.is_empty() {
            return;
        }
        let gone = |order: &u64| {
            let cancelled = self.running.get(order).and_then(|sequence| sequence.cancelled);
            cancelled.is_some_and(|at| at <= self.boundary)
        };
        let gone: Vec<u64> = self.leaving.iter().copied().filter(gone).collect();
        for order in gone {
            drop(self.remove(order));
        }
    }

    /// Puts sequences back until the next step has the blocks that it begins.
    fn preempt(&mut self) -> bool {
        let mut has = false;
        while self.decoding.blocks_for(1) > self.kv.available() {
            let Some(order) = self.running.keys().next_back().copied() else { break };
            let Some((mut sequence, made)) = self.remove(order) else { break };
            has = true;
            if sequence.cancelled.is_none() {
                self.counts.preemptions += 1;
                sequence.request.made = made;
                self.waiting.insert(order, sequence.request);
            }
        }
        has
    }

    fn admit(&mut self) {
        while self.running.len() < self.slots() {
            let Some((order, request)) = self.waiting.first_key_value() else { return };
            if request.since > self.boundary {
                return;
            }
            let order = *order;
            let reserve = match self.profile.kv {
                KvCapacity::Blocks(blocks) if !self.running.is_empty() => {
                    self.decoding.blocks_for(1) + blocks / WATERMARK_SHARE + 1
                }
                _ => 0,
            };
            let Some((hold, cached)) = self.kv.admit(&request.work.prefix, request.prefill(), reserve) else {
                return;
            };
            let Some(mut request) = self.waiting.remove(&order) else { return };
            self.count(micros(self.boundary));
            request.cached.get_or_insert(cached);
            self.counts.cached_tokens += cached;
            self.prefilling.insert(order);
            let sequence = Sequence { request, hold, stage: Stage::Prefill(cached), cancelled: None };
            self.running.insert(order, sequence);
        }
    }

    /// The prompt tokens that a step takes in, and for how many steps it is the same.
    fn chunks(&self) -> (Vec<(u64, u64)>, u64) {
        let mut budget = u64::from(self.profile.step_tokens).saturating_sub(self.decoding.len()).max(1);
        let mut chunks = Vec::new();
        for order in &self.prefilling {
            let Some(sequence) = self.running.get(order) else { continue };
            let left = sequence.request.prefill() - sequence.context(self.decoding.steps());
            let tokens = left.min(budget);
            if tokens == 0 {
                break;
            }
            budget -= tokens;
            chunks.push((*order, tokens));
            if budget == 0 && chunks.len() == 1 {
                return (chunks, left / tokens);
            }
        }
        let most = if chunks.is_empty() { u64::MAX } else { 1 };
        (chunks, most)
    }

    fn stretch(&self, chunks: &[(u64, u64)], most: u64) -> Stretch {
        let (cost, batch) = (&self.profile.cost, self.decoding.len());
        let of = |each: u64, count: u64| u128::from(each) * u128::from(count);
        // Weights are read once, whatever the step is for.
        let decode_step = if batch > 0 { cost.step } else { 0 };
        let prefill_step = if chunks.is_empty() { 0 } else { cost.prefill_step };
        let mut first = u128::from(decode_step.max(prefill_step)) + of(cost.sequence, batch);
        first += of(cost.context_token, self.decoding.contexts());
        let mut growth = of(cost.context_token, batch);
        for (order, tokens) in chunks {
            let before =
                self.running.get(order).map_or(0, |sequence| sequence.context(self.decoding.steps()));
            first += of(cost.prefill_token, *tokens);
            first += of(cost.prefill_pair, tokens * before + tokens * (tokens - 1) / 2);
            if most > 1 {
                growth += of(cost.prefill_pair, tokens * tokens);
            }
        }
        Stretch { first, growth }
    }

    /// Steps until something changes or somebody wants to hear.
    fn steps(&self, stretch: &Stretch, most: u64) -> u64 {
        let ending = self.decoding.steps_to_ending().unwrap_or(u64::MAX);
        let mut steps = most.min(ending).min(self.decoding.steps_with(self.kv.available())).max(1);
        if self.decoding.len() > 0 {
            steps = match self.profile.emit {
                Emit::EveryToken => 1,
                Emit::Coalesced { .. } => stretch.steps_to(self.tell_at.saturating_sub(self.boundary), steps),
            };
        }
        let arrival = self.waiting.values().next().map(|request| request.since);
        let arrival = arrival.filter(|_| self.running.len() < self.slots());
        let leaving = self.leaving.iter().filter_map(|order| self.running.get(order)?.cancelled);
        for at in leaving.chain(arrival).filter(|at| *at > self.boundary) {
            steps = stretch.steps_to(at - self.boundary, steps);
        }
        steps
    }

    /// Prompt tokens are computed; after the last one comes a token.
    fn take_in(&mut self, order: u64, tokens: u64, events: &mut Vec<RunnerEvent<K>>) {
        self.counts.prefill_tokens += tokens;
        let joined = self.decoding.steps();
        let Some(sequence) = self.running.get_mut(&order) else { return };
        let context = sequence.context(joined) + tokens;
        sequence.stage = Stage::Prefill(context);
        if context < sequence.request.prefill() {
            return;
        }
        self.prefilling.remove(&order);
        self.kv.publish(&mut sequence.hold, &sequence.request.work.prefix, context);
        let wanted = sequence.request.work.output_tokens;
        if wanted > sequence.request.made {
            sequence.request.made += 1;
            self.counts.output_tokens += 1;
        }
        let left = wanted - sequence.request.made;
        if left == 0 {
            return self.finish(order, events);
        }
        if self.decoding.len() == 0 {
            self.tell_at = match self.profile.emit {
                Emit::EveryToken => 0,
                Emit::Coalesced { max_ms } => self.boundary + u128::from(max_ms) * 1_000 * FEMTOS_PER_MICRO,
            };
        }
        let ends = self.decoding.join(order, context, left);
        sequence.stage = Stage::Decode { joined, context, ends };
        events.extend(news(sequence, joined));
    }

    fn finish(&mut self, order: u64, events: &mut Vec<RunnerEvent<K>>) {
        let steps = self.decoding.steps();
        if let Some(sequence) = self.running.get_mut(&order) {
            events.extend(news(sequence, steps));
        }
        let Some((sequence, made)) = self.remove(order) else { return };
        if sequence.cancelled.is_none() {
            let (key, cached_tokens) = (sequence.request.key, sequence.request.cached.unwrap_or(0));
            self.forget(&key);
            events.push(RunnerEvent::Done { key, cached_tokens, output_tokens: made });
        }
    }

    /// Everybody hears of what was made for him.
    fn tell(&mut self, events: &mut Vec<RunnerEvent<K>>) {
        let steps = self.decoding.steps();
        events.extend(self.running.values_mut().filter_map(|sequence| news(sequence, steps)));
        if let Emit::Coalesced { max_ms } = self.profile.emit {
            self.tell_at = self.boundary + u128::from(max_ms) * 1_000 * FEMTOS_PER_MICRO;
        }
    }

    /// Takes a sequence out of the batch. Gives it, and how many tokens it has made.
    fn remove(&mut self, order: u64) -> Option<(Sequence<K>, u64)> {
        self.count(micros(self.boundary));
        let mut sequence = self.running.remove(&order)?;
        self.prefilling.remove(&order);
        self.leaving.remove(&order);
        let (context, made) = (sequence.context(self.decoding.steps()), sequence.made(self.decoding.steps()));
        if let Stage::Decode { ends, .. } = sequence.stage {
            self.decoding.leave(order, ends, context);
        }
        let hold = core::mem::replace(&mut sequence.hold, super::sequence::KvHold::Slot(usize::MAX));
        self.kv.release(hold, &sequence.request.work.prefix, context);
        debug_assert!(blocks_of(context) <= blocks_of(self.profile.context_max()));
        Some((sequence, made))
    }
}

/// The tokens that nobody has heard of.
fn news<K: Copy>(sequence: &mut Sequence<K>, steps: u64) -> Option<RunnerEvent<K>> {
    let (from, made) = (sequence.request.told, sequence.made(steps));
    sequence.request.told = made;
    let key = sequence.request.key;
    (made > from && sequence.cancelled.is_none()).then(|| RunnerEvent::Tokens {
        key,
        from,
        count: made - from,
    })
}

fn micros(femtos: u128) -> UnixMicros {
    UnixMicros(u64::try_from(femtos.div_ceil(FEMTOS_PER_MICRO)).unwrap_or(u64::MAX))
}

/// One block in so many stays free when a sequence is admitted, as vLLM does.
const WATERMARK_SHARE: u64 = 100;
