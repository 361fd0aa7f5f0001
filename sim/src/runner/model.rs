//! The runner as its node sees it: requests in, tokens out, and when to ask again.

use std::collections::{BTreeMap, BTreeSet};

use fedai_protocol::UnixMicros;

use super::decode_set::DecodeSet;
use super::plan::Plan;
use super::profile::{FEMTOS_PER_MICRO, RunnerProfile};
use super::sequence::{KvMemory, Sequence, Stage, Waiting};
use super::{Due, Progress, RunnerCounts, RunnerEvent, RunnerRefusal, Work};

/// The runner.
///
/// Whoever uses it keeps the latest [`Due`] and calls [`step`](Self::step) at its time; every call that gives a new one
/// voids the one before. A request that comes, or leaves, while a step is under way does so when that step ends.
#[derive(Clone, Debug)]
pub struct RunnerModel<K> {
    pub(super) profile: RunnerProfile,
    /// By the order in which they were submitted, as are those that run: a preempted one is first again.
    pub(super) waiting: BTreeMap<u64, Waiting<K>>,
    pub(super) running: BTreeMap<u64, Sequence<K>>,
    pub(super) prefilling: BTreeSet<u64>,
    pub(super) decoding: DecodeSet,
    pub(super) kv: KvMemory,
    orders: BTreeMap<K, u64>,
    /// Cancelled ones that still run.
    pub(super) leaving: BTreeSet<u64>,
    /// The end of the last step, in femtoseconds. All of the above is as of then.
    pub(super) boundary: u128,
    pub(super) plan: Option<Plan>,
    /// When tokens that nobody has heard of are handed out.
    pub(super) tell_at: u128,
    pub(super) counts: RunnerCounts,
    submitted: u64,
    ticket: u64,
    hangs: bool,
    busy_micros: u128,
    counted_to: UnixMicros,
}

impl<K: Copy + Ord> RunnerModel<K> {
    /// An idle runner.
    #[must_use]
    pub fn new(profile: RunnerProfile, now: UnixMicros) -> Self {
        Self {
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            prefilling: BTreeSet::new(),
            decoding: DecodeSet::default(),
            kv: KvMemory::new(&profile),
            orders: BTreeMap::new(),
            leaving: BTreeSet::new(),
            boundary: femtos(now),
            plan: None,
            tell_at: 0,
            counts: RunnerCounts::default(),
            submitted: 0,
            ticket: 0,
            hangs: false,
            busy_micros: 0,
            counted_to: now,
            profile,
        }
    }

    /// Its numbers.
    #[must_use]
    pub const fn profile(&self) -> &RunnerProfile {
        &self.profile
    }

    /// What it has done.
    #[must_use]
    pub const fn counts(&self) -> RunnerCounts {
        self.counts
    }

    /// Requests that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len().saturating_sub(self.leaving.len())
    }

    /// Requests that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Blocks in use, and those in use or kept for later, as of the last step.
    #[must_use]
    pub const fn blocks(&self) -> (u64, u64) {
        self.kv.filled()
    }

    /// Tokens of a request's prompt that did not have to be computed; none before it runs.
    #[must_use]
    pub fn cached_tokens(&self, key: &K) -> Option<u64> {
        let order = self.orders.get(key)?;
        let waiting = || self.waiting.get(order);
        self.running.get(order).map(|sequence| &sequence.request).or_else(waiting)?.cached
    }

    /// Takes a request.
    pub fn submit(&mut self, now: UnixMicros, key: K, work: Work) -> Result<Option<Due>, RunnerRefusal> {
        let mut work = work;
        work.prompt_tokens = work.prompt_tokens.max(1);
        let room = self.profile.context_max().saturating_sub(work.prompt_tokens);
        if room == 0 {
            return Err(RunnerRefusal::TooLarge);
        }
        work.output_tokens = work.output_tokens.min(room);
        let free = self.slots().saturating_sub(self.running());
        let queue = usize::try_from(self.profile.queue_max).unwrap_or(usize::MAX).saturating_add(free);
        if self.waiting.len() >= queue {
            return Err(RunnerRefusal::QueueFull);
        }
        self.submitted += 1;
        self.orders.insert(key, self.submitted);
        let waiting = Waiting { key, work, since: femtos(now), made: 0, told: 0, cached: None };
        self.waiting.insert(self.submitted, waiting);
        if self.hangs {
            return Ok(None);
        }
        if self.plan.is_none() {
            self.boundary = femtos(now);
            self.make_plan();
            return Ok(self.due());
        }
        let may_run = self.waiting.len() == 1 && self.running.len() < self.slots();
        Ok(if may_run { self.shorten(now) } else { None })
    }

    /// The step that was due.
    pub fn step(&mut self, _now: UnixMicros, ticket: u64) -> Progress<K> {
        let mut events = Vec::new();
        if self.hangs || ticket != self.ticket {
            return Progress { events, next: None };
        }
        if let Some(plan) = self.plan.take() {
            let steps = plan.steps;
            self.complete(&plan, steps, &mut events);
            self.make_plan();
        }
        Progress { events, next: self.due() }
    }

    /// Ends a request, of which nothing is heard any more.
    pub fn cancel(&mut self, now: UnixMicros, key: &K) -> Option<Due> {
        let order = self.orders.remove(key)?;
        if self.waiting.remove(&order).is_none()
            && let Some(sequence) = self.running.get_mut(&order)
        {
            sequence.cancelled = Some(femtos(now));
            self.leaving.insert(order);
        }
        if self.hangs { None } else { self.shorten(now) }
    }

    /// From now on nothing comes out.
    pub fn hang(&mut self, now: UnixMicros) {
        self.hangs = true;
        let Some(plan) = self.plan.take() else { return };
        let elapsed = femtos(now).saturating_sub(self.boundary);
        let steps = plan.stretch.steps_to(elapsed.saturating_add(1), plan.steps).saturating_sub(1);
        // Short of the plan's end nobody is complete, so nothing is said.
        self.complete(&plan, steps, &mut Vec::<RunnerEvent<K>>::new());
    }

    /// Goes on where it stopped.
    pub fn recover(&mut self, now: UnixMicros) -> Option<Due> {
        if core::mem::take(&mut self.hangs) {
            self.boundary = femtos(now);
            self.make_plan();
        }
        self.due()
    }

    /// The process died: everything on it is gone.
    pub fn crash(&mut self, now: UnixMicros) {
        self.count(now);
        self.waiting.clear();
        self.running.clear();
        self.prefilling.clear();
        self.decoding = DecodeSet::default();
        self.kv.clear();
        self.orders.clear();
        self.leaving.clear();
        self.plan = None;
        self.ticket += 1;
        self.hangs = false;
    }

    /// Slot time used so far.
    pub fn busy_micros(&mut self, now: UnixMicros) -> u128 {
        self.count(now);
        self.busy_micros
    }

    /// How long what it has would take it, in microseconds, were nothing to come: exact as to tokens, and with the
    /// batch and the contexts of now.
    #[must_use]
    pub fn remaining_micros(&self, now: UnixMicros) -> u64 {
        let steps = self.plan.as_ref().map_or(0, |plan| {
            let elapsed = femtos(now).saturating_sub(self.boundary);
            plan.stretch.steps_to(elapsed.saturating_add(1), plan.steps).saturating_sub(1)
        });
        let (done, moves) = (self.decoding.steps(), if self.decoding.len() == 0 { 0 } else { steps });
        let (mut prompts, mut outputs, mut contexts) = (0_u64, 0_u64, 0_u64);
        for sequence in self.running.values().filter(|sequence| sequence.cancelled.is_none()) {
            let decodes = matches!(sequence.stage, Stage::Decode { .. });
            let at = if decodes { done + moves } else { done };
            prompts += if decodes { 0 } else { sequence.request.prefill() - sequence.context(at) };
            outputs += sequence.request.work.output_tokens.saturating_sub(sequence.made(at));
            contexts += sequence.context(at);
        }
        for request in self.waiting.values() {
            prompts += request.prefill();
            outputs += request.work.output_tokens.saturating_sub(request.made);
            contexts += request.prefill();
        }
        let all = (self.running().saturating_add(self.waiting.len()) as u64).max(1);
        let batch = all.min(u64::from(self.profile.slots).max(1));
        let cost = &self.profile.cost;
        let of = |each: u64, count: u64| u128::from(each) * u128::from(count);
        let step =
            u128::from(cost.step) + of(cost.sequence, batch) + of(cost.context_token, contexts / all * batch);
        let femtos = of(cost.prefill_token, prompts) + step * u128::from(outputs) / u128::from(batch);
        u64::try_from(femtos / FEMTOS_PER_MICRO).unwrap_or(u64::MAX)
    }

    pub(super) fn slots(&self) -> usize {
        usize::try_from(self.profile.slots).unwrap_or(usize::MAX)
    }

    pub(super) fn forget(&mut self, key: &K) {
        self.orders.remove(key);
    }

    pub(super) fn count(&mut self, now: UnixMicros) {
        let span = u128::from(now.since(self.counted_to));
        self.busy_micros += span * self.running.len() as u128;
        self.counted_to = now.max(self.counted_to);
    }

    /// The step under way is the last one of the plan.
    fn shorten(&mut self, now: UnixMicros) -> Option<Due> {
        let elapsed = femtos(now).saturating_sub(self.boundary);
        let plan = self.plan.as_mut()?;
        let steps = plan.stretch.steps_to(elapsed, plan.steps);
        if steps == plan.steps {
            return None;
        }
        plan.steps = steps;
        self.due()
    }

    fn due(&mut self) -> Option<Due> {
        let plan = self.plan.as_ref()?;
        self.ticket += 1;
        let at = (self.boundary + plan.stretch.span(plan.steps)).div_ceil(FEMTOS_PER_MICRO);
        Some(Due { ticket: self.ticket, at: UnixMicros(u64::try_from(at).unwrap_or(u64::MAX)) })
    }
}

/// The time in femtoseconds.
pub(super) fn femtos(time: UnixMicros) -> u128 {
    u128::from(time.0) * FEMTOS_PER_MICRO
}
