//! A model server in four numbers: slots, prefill speed, decode speed, and what a fuller batch costs.
//!
//! It does no more than a runner does for a node: takes a prompt, says one token after another, ends. What exceeds its
//! slots waits in order. The world asks it what happens and when; it has no clock of its own.

use std::collections::{BTreeMap, VecDeque};

use fedai_protocol::UnixMicros;

/// The numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunnerProfile {
    /// Requests at once.
    pub slots: u32,
    /// Prompt tokens a second.
    pub prefill_per_second: u64,
    /// Output tokens a second of one request that is alone.
    pub decode_per_second: u64,
    /// How much longer a token takes for every further request in the batch, in thousandths.
    pub batch_cost_permille: u64,
}

/// One request, as time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Until the first token.
    pub prefill_micros: u64,
    /// For each token, alone.
    pub token_micros: u64,
    /// Tokens in all.
    pub tokens: u64,
}

impl RunnerProfile {
    /// The work of a request.
    #[must_use]
    pub fn work(&self, prompt_tokens: u64, tokens: u64) -> Work {
        let micros = |count: u64, rate: u64| count.saturating_mul(1_000_000) / rate.max(1);
        Work {
            prefill_micros: micros(prompt_tokens, self.prefill_per_second),
            token_micros: micros(1, self.decode_per_second),
            tokens,
        }
    }
}

/// When a request's next step is due. A step with an old ticket says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due<K> {
    /// Request.
    pub key: K,
    /// Which plan of that request this belongs to.
    pub ticket: u64,
    /// When.
    pub at: UnixMicros,
}

/// What a step brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<K> {
    /// A token with this number, from 0, and the next step.
    Token(u64, Due<K>),
    /// The end of the request; another one may have got its slot.
    Done(Option<Due<K>>),
    /// The request is gone, or the runner hangs.
    Nothing,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    work: Work,
    said: u64,
    ticket: u64,
}

/// The runner.
#[derive(Clone, Debug)]
pub struct RunnerModel<K> {
    profile: RunnerProfile,
    running: BTreeMap<K, Running>,
    waiting: VecDeque<(K, Work)>,
    tickets: u64,
    hangs: bool,
    busy_micros: u128,
    counted_to: UnixMicros,
}

impl<K: Copy + Ord> RunnerModel<K> {
    /// An idle runner.
    #[must_use]
    pub const fn new(profile: RunnerProfile, now: UnixMicros) -> Self {
        Self {
            profile,
            running: BTreeMap::new(),
            waiting: VecDeque::new(),
            tickets: 0,
            hangs: false,
            busy_micros: 0,
            counted_to: now,
        }
    }

    /// Its numbers.
    #[must_use]
    pub const fn profile(&self) -> &RunnerProfile {
        &self.profile
    }

    /// Requests on its slots.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Requests that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes a request; gives its first step when a slot is free.
    pub fn submit(&mut self, now: UnixMicros, key: K, work: Work) -> Option<Due<K>> {
        self.waiting.push_back((key, work));
        self.start_next(now)
    }

    /// The step that was due.
    pub fn step(&mut self, now: UnixMicros, key: K, ticket: u64) -> Step<K> {
        let batch = self.running.len();
        let profile = self.profile;
        let Some(running) = self.running.get_mut(&key).filter(|running| running.ticket == ticket) else {
            return Step::Nothing;
        };
        if self.hangs {
            return Step::Nothing;
        }
        if running.said >= running.work.tokens {
            return Step::Done(self.cancel(now, &key));
        }
        let number = running.said;
        running.said = running.said.saturating_add(1);
        let at = now.plus(token_micros(&profile, running.work, batch));
        Step::Token(number, Due { key, ticket, at })
    }

    /// Ends a request; another one may get its slot.
    pub fn cancel(&mut self, now: UnixMicros, key: &K) -> Option<Due<K>> {
        self.count(now);
        self.waiting.retain(|(waiting, _)| waiting != key);
        self.running.remove(key)?;
        self.start_next(now)
    }

    /// From now on nothing comes out.
    pub const fn hang(&mut self) {
        self.hangs = true;
    }

    /// Goes on where it stopped: the next steps of all requests.
    pub fn recover(&mut self, now: UnixMicros) -> Vec<Due<K>> {
        self.hangs = false;
        let (profile, batch) = (self.profile, self.running.len());
        let mut due = Vec::new();
        for (key, running) in &mut self.running {
            self.tickets = self.tickets.saturating_add(1);
            running.ticket = self.tickets;
            let at = now.plus(token_micros(&profile, running.work, batch));
            due.push(Due { key: *key, ticket: running.ticket, at });
        }
        due.extend(core::iter::from_fn(|| self.start_next(now)));
        due
    }

    /// The process died: everything on it is gone.
    pub fn crash(&mut self, now: UnixMicros) {
        self.count(now);
        self.running.clear();
        self.waiting.clear();
        self.hangs = false;
    }

    /// Slot time used so far.
    pub fn busy_micros(&mut self, now: UnixMicros) -> u128 {
        self.count(now);
        self.busy_micros
    }

    fn start_next(&mut self, now: UnixMicros) -> Option<Due<K>> {
        if self.hangs || self.running.len() >= usize::try_from(self.profile.slots).unwrap_or(usize::MAX) {
            return None;
        }
        let (key, work) = self.waiting.pop_front()?;
        self.count(now);
        self.tickets = self.tickets.saturating_add(1);
        let ticket = self.tickets;
        self.running.insert(key, Running { work, said: 0, ticket });
        Some(Due { key, ticket, at: now.plus(work.prefill_micros) })
    }

    fn count(&mut self, now: UnixMicros) {
        let span = u128::from(now.since(self.counted_to));
        self.busy_micros = self.busy_micros.saturating_add(span.saturating_mul(self.running.len() as u128));
        self.counted_to = now.max(self.counted_to);
    }
}

fn token_micros(profile: &RunnerProfile, work: Work, batch: usize) -> u64 {
    let others = (batch as u64).saturating_sub(1);
    let permille = profile.batch_cost_permille.saturating_mul(others).saturating_add(1_000);
    work.token_micros.saturating_mul(permille) / 1_000
}

#[cfg(test)]
#[path = "runner_model_tests.rs"]
mod tests;
