//! A second runner for tests: the same rules one step and one token at a time, with nothing summed up in advance; and a
//! driver that runs the real one on the same requests.

use std::collections::BTreeMap;

use super::sequence::{KvHold, KvMemory};
use super::*;

/// What comes, and when some of it is given up.
#[derive(Clone, Debug, Default)]
pub(super) struct Load {
    pub(super) arrivals: Vec<(u64, Work)>,
    /// By the number of the arrival.
    pub(super) cancels: BTreeMap<u64, u64>,
}

/// When each token of each request came; then when it was done, with its cached tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) tokens: Vec<u64>,
    pub(super) done: Option<(u64, u64)>,
}

struct Sequence {
    key: u64,
    work: Work,
    hold: KvHold,
    cached: u64,
    prefill: u64,
    context: u64,
    made: u64,
}

struct Waiting {
    key: u64,
    work: Work,
    cached: Option<u64>,
    made: u64,
}

/// The slow runner.
pub(super) struct Reference {
    profile: RunnerProfile,
    kv: KvMemory,
    time: u128,
    waiting: Vec<Waiting>,
    running: Vec<Sequence>,
    answers: BTreeMap<u64, Answer>,
    pub(super) preemptions: u64,
}

impl Reference {
    pub(super) fn run(profile: RunnerProfile, load: &Load) -> (BTreeMap<u64, Answer>, u64) {
        let mut runner = Self {
            profile,
            kv: KvMemory::new(&profile),
            time: 0,
            waiting: Vec::new(),
            running: Vec::new(),
            answers: BTreeMap::new(),
            preemptions: 0,
        };
        let mut next = 0;
        loop {
            while let Some((at, work)) = load.arrivals.get(next)
                && u128::from(*at) * FEMTOS_PER_MICRO <= runner.time
            {
                let key = next as u64;
                runner.waiting.push(Waiting { key, work: work.clone(), cached: None, made: 0 });
                next += 1;
            }
            runner.drop_cancelled(&load.cancels);
            if !runner.preempt() {
                runner.admit();
            }
            if !runner.running.is_empty() {
                runner.step();
            } else if let Some((at, _)) = load.arrivals.get(next) {
                runner.time = runner.time.max(u128::from(*at) * FEMTOS_PER_MICRO);
            } else {
                return (runner.answers, runner.preemptions);
            }
        }
    }

    fn drop_cancelled(&mut self, cancels: &BTreeMap<u64, u64>) {
        let time = self.time;
        let is_gone =
            |key: u64| cancels.get(&key).is_some_and(|at| u128::from(*at) * FEMTOS_PER_MICRO <= time);
        self.waiting.retain(|waiting| !is_gone(waiting.key));
        while let Some(at) = self.running.iter().position(|sequence| is_gone(sequence.key)) {
            let sequence = self.running.remove(at);
            self.kv.release(sequence.hold, &sequence.work.prefix, sequence.context);
        }
    }

    fn begins_block(sequence: &Sequence) -> bool {
        sequence.context >= sequence.prefill && sequence.context.is_multiple_of(BLOCK_TOKENS)
    }

    fn preempt(&mut self) -> bool {
        let mut has = false;
        loop {
            let needed = self.running.iter().filter(|sequence| Self::begins_block(sequence)).count() as u64;
            if needed <= self.kv.available() {
                return has;
            }
            has = true;
            self.preemptions += 1;
            let Sequence { key, work, hold, cached, context, made, .. } = self.running.pop().unwrap();
            self.kv.release(hold, &work.prefix, context);
            self.waiting.push(Waiting { key, work, cached: Some(cached), made });
            self.waiting.sort_by_key(|waiting| waiting.key);
        }
    }

    fn admit(&mut self) {
        while (self.running.len() as u32) < self.profile.slots && !self.waiting.is_empty() {
            let first = &self.waiting[0];
            let needed = self.running.iter().filter(|sequence| Self::begins_block(sequence)).count() as u64;
            let reserve = match self.profile.kv {
                KvCapacity::Blocks(blocks) if !self.running.is_empty() => needed + blocks / 100 + 1,
                _ => 0,
            };
            let prefill = first.work.prompt_tokens + first.made;
            let Some((hold, context)) = self.kv.admit(&first.work.prefix, prefill, reserve) else { return };
            let Waiting { key, work, cached, made } = self.waiting.remove(0);
            let cached = cached.unwrap_or(context);
            self.running.push(Sequence { key, work, hold, cached, prefill, context, made });
        }
    }

    fn step(&mut self) {
        let cost = self.profile.cost;
        let of = |each: u64, count: u64| u128::from(each) * u128::from(count);
        let mut budget = u64::from(self.profile.step_tokens);
        let (mut decode_step, mut span) = (0, 0);
        let decodes: Vec<bool> =
            self.running.iter().map(|sequence| sequence.context >= sequence.prefill).collect();
        for (sequence, decodes) in self.running.iter().zip(&decodes) {
            if *decodes {
                (decode_step, budget) = (cost.step, budget - 1);
                span += u128::from(cost.sequence) + of(cost.context_token, sequence.context);
            }
        }
        let mut takes = vec![0; self.running.len()];
        for (at, sequence) in self.running.iter().enumerate().filter(|(at, _)| !decodes[*at]) {
            takes[at] = (sequence.prefill - sequence.context).min(budget);
            budget -= takes[at];
            for token in 0..takes[at] {
                span += u128::from(cost.prefill_token) + of(cost.prefill_pair, sequence.context + token);
            }
        }
        let prefill_step = if takes.iter().any(|tokens| *tokens > 0) { cost.prefill_step } else { 0 };
        span += u128::from(decode_step.max(prefill_step));
        self.time += span;
        for (at, tokens) in takes.into_iter().enumerate() {
            let sequence = &mut self.running[at];
            if decodes[at] && Self::begins_block(sequence) {
                self.kv.grow(1);
            }
            sequence.context += if decodes[at] { 1 } else { tokens };
            if decodes[at] || tokens > 0 && sequence.context == sequence.prefill {
                if !decodes[at] {
                    self.kv.publish(&mut sequence.hold, &sequence.work.prefix, sequence.context);
                }
                if sequence.work.output_tokens > 0 {
                    sequence.made += 1;
                    let at = u64::try_from(self.time.div_ceil(FEMTOS_PER_MICRO)).unwrap();
                    self.answers.entry(sequence.key).or_default().tokens.push(at);
                }
            }
        }
        self.end();
    }

    fn end(&mut self) {
        let is_over = |s: &Sequence| s.context >= s.prefill && s.made >= s.work.output_tokens;
        // In the order of the real one: the prompts that were just taken in, then the rest.
        for fresh in [true, false] {
            let is_fresh = |s: &Sequence| (s.context == s.prefill) == fresh;
            while let Some(at) = self.running.iter().position(|s| is_over(s) && is_fresh(s)) {
                let sequence = self.running.remove(at);
                let at = u64::try_from(self.time.div_ceil(FEMTOS_PER_MICRO)).unwrap();
                self.answers.entry(sequence.key).or_default().done = Some((at, sequence.cached));
                self.kv.release(sequence.hold, &sequence.work.prefix, sequence.context);
            }
        }
    }
}

/// Runs the real one on a load, and checks on the way what holds at any time.
pub(super) fn drive(profile: RunnerProfile, load: &Load) -> (BTreeMap<u64, Answer>, RunnerCounts) {
    let mut runner = RunnerModel::new(profile, UnixMicros(0));
    let mut answers: BTreeMap<u64, Answer> = BTreeMap::new();
    let mut calls: Vec<(u64, u64, bool)> = Vec::new();
    calls.extend(load.arrivals.iter().enumerate().map(|(key, (at, _))| (*at, key as u64, false)));
    calls.extend(load.cancels.iter().map(|(key, at)| (*at, *key, true)));
    calls.sort_unstable();
    let mut calls = calls.into_iter().peekable();
    let mut due: Option<Due> = None;
    loop {
        let call = calls.next_if(|(at, ..)| due.is_none_or(|due| *at < due.at.0));
        let renewed = match (call, due) {
            (Some((at, key, true)), _) => runner.cancel(UnixMicros(at), &key),
            (Some((at, key, false)), _) => {
                let work = load.arrivals[usize::try_from(key).unwrap()].1.clone();
                runner.submit(UnixMicros(at), key, work).unwrap()
            }
            (None, Some(step)) => {
                let progress = runner.step(step.at, step.ticket);
                for event in progress.events {
                    note(&mut answers, step.at.0, event);
                }
                due = None;
                progress.next
            }
            (None, None) => break,
        };
        due = renewed.or(due);
        if let KvCapacity::Blocks(total) = profile.kv {
            let (used, filled) = runner.blocks();
            assert!(used <= filled && filled <= total, "{used} and {filled} of {total} blocks");
        }
        assert!(runner.running() <= runner.slots());
    }
    assert_eq!((runner.running(), runner.waiting(), runner.blocks().0), (0, 0, 0), "nothing is left behind");
    (answers, runner.counts())
}

fn note(answers: &mut BTreeMap<u64, Answer>, at: u64, event: RunnerEvent<u64>) {
    match event {
        RunnerEvent::Tokens { key, from, count } => {
            let tokens = &mut answers.entry(key).or_default().tokens;
            assert_eq!(tokens.len() as u64, from, "tokens come in order and once");
            tokens.extend((0..count).map(|_| at));
        }
        RunnerEvent::Done { key, cached_tokens, output_tokens } => {
            let answer = answers.entry(key).or_default();
            assert_eq!((answer.tokens.len() as u64, answer.done), (output_tokens, None));
            answer.done = Some((at, cached_tokens));
        }
    }
}
