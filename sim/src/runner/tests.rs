//! The runner step by step, and against a second one that counts token by token.

use std::sync::Arc;

use proptest::prelude::*;

use super::reference::{Answer, Load, Reference, drive};
use super::*;

/// Steps of 10 ms, or 15 ms with prompts in them, 1 ms a sequence, 1 ms a prompt token: whole numbers to look at.
fn profile(slots: u32, blocks: u64) -> RunnerProfile {
    const MS: u64 = 1_000_000_000_000;
    let cost = StepCost {
        step: 10 * MS,
        sequence: MS,
        context_token: 0,
        prefill_step: 15 * MS,
        prefill_token: MS,
        prefill_pair: 0,
    };
    let kv = KvCapacity::Blocks(blocks);
    RunnerProfile { slots, queue_max: 10, step_tokens: 64, cost, kv, emit: Emit::EveryToken }
}

fn work(prompt_tokens: u64, output_tokens: u64) -> Work {
    Work { prompt_tokens, output_tokens, prefix: Prefix::Unshared }
}

fn session(session: u64, prompt_tokens: u64, output_tokens: u64) -> Work {
    let prefix = Prefix::Session { session, instructions: 1, instruction_tokens: 128 };
    Work { prompt_tokens, output_tokens, prefix }
}

fn load(arrivals: &[(u64, Work)]) -> Load {
    Load { arrivals: arrivals.to_vec(), ..Load::default() }
}

#[test]
fn a_prompt_is_taken_in_by_chunks_beside_what_decodes() {
    let (answers, counts) = drive(profile(4, 100), &load(&[(0, work(10, 4)), (25_000, work(100, 1))]));
    // The first: 15 + 10 ms, then a token every 11 ms; the second joins after the step under way.
    let joint = 25_000 + 11_000;
    let (chunk, rest) = (15_000 + 1_000 + 63_000, 15_000 + 1_000 + 37_000);
    assert_eq!(answers[&0].tokens, [25_000, joint, joint + chunk, joint + chunk + rest]);
    assert_eq!(answers[&1].tokens, [joint + chunk + rest]);
    assert_eq!((counts.prefill_tokens, counts.output_tokens), (110, 5));
}

#[test]
fn no_more_run_than_slots_and_the_queue_has_an_end() {
    let mut runner = RunnerModel::new(profile(2, 100), UnixMicros(0));
    for key in 0..12 {
        assert!(runner.submit(UnixMicros(0), key, work(16, 8)).is_ok(), "{key}");
    }
    assert_eq!((runner.running(), runner.waiting()), (1, 11), "the others wait for the step under way");
    assert_eq!(runner.submit(UnixMicros(0), 99, work(16, 8)), Err(RunnerRefusal::QueueFull));
    assert_eq!(runner.submit(UnixMicros(0), 99, work(1_600, 8)), Err(RunnerRefusal::TooLarge));
}

#[test]
fn the_last_one_is_preempted_and_computed_again() {
    // Two sequences of 3 blocks each in 5: they meet the end of the memory together.
    let tight = profile(2, 5);
    let arrivals = load(&[(0, work(20, 25)), (0, work(20, 25))]);
    let (answers, counts) = drive(tight, &arrivals);
    assert_eq!(counts.preemptions, 1);
    assert!(counts.prefill_tokens > 40, "{counts:?}: what was dropped is computed again");
    assert_eq!(counts.output_tokens, 50, "and no token is made twice");
    assert!(answers[&0].done < answers[&1].done);
    let (roomy, _) = drive(profile(2, 50), &arrivals);
    assert!(roomy[&1].done < answers[&1].done, "it costs time");
}

#[test]
fn an_answer_ends_where_the_memory_ends() {
    let (answers, _) = drive(profile(2, 5), &load(&[(0, work(20, 1_000))]));
    assert_eq!(answers[&0].tokens.len(), 60);
}

#[test]
fn a_known_beginning_is_not_computed_again() {
    let turns =
        load(&[(0, session(7, 200, 60)), (5_000_000, session(7, 300, 5)), (9_000_000, session(8, 300, 5))]);
    let (answers, counts) = drive(profile(2, 100), &turns);
    let cached: Vec<u64> = answers.values().map(|answer| answer.done.unwrap().1).collect();
    // 259 tokens are in memory after the first turn, in whole units 256; another conversation shares the instructions.
    assert_eq!(cached, [0, 256, 128]);
    assert_eq!(counts.prefill_tokens, 200 + 44 + 172);
    let ttft = |key: u64, at: u64| answers[&key].tokens[0] - at;
    assert!(ttft(1, 5_000_000) < ttft(2, 9_000_000) && ttft(2, 9_000_000) < ttft(0, 0) + 100_000);
}

#[test]
fn what_was_longest_not_used_makes_room() {
    let turn = |at: u64, name| (at, session(name, 448, 1));
    // Room for two conversations, and a third one comes.
    let order =
        load(&[turn(0, 1), turn(2_000_000, 2), turn(4_000_000, 1), turn(6_000_000, 3), turn(8_000_000, 1)]);
    let (answers, _) = drive(profile(1, 64), &order);
    let cached: Vec<u64> = answers.values().map(|answer| answer.done.unwrap().1).collect();
    assert_eq!(cached, [0, 128, 384, 128, 384]);
}

#[test]
fn units_of_a_trace_are_shared() {
    let listed = |names: &[u64]| Prefix::Listed(Arc::from(names));
    let asked = |names: &[u64]| Work { prompt_tokens: 1_500, output_tokens: 3, prefix: listed(names) };
    let order =
        load(&[(0, asked(&[1, 2, 3])), (9_000_000, asked(&[1, 2, 4])), (18_000_000, asked(&[5, 2, 3]))]);
    let (answers, _) = drive(profile(2, 400), &order);
    let cached: Vec<u64> = answers.values().map(|answer| answer.done.unwrap().1).collect();
    assert_eq!(cached, [0, 1_024, 0]);
}

#[test]
fn a_slot_knows_only_what_it_said_last() {
    let slots = RunnerProfile { kv: KvCapacity::PerSlot(2_048), ..profile(1, 0) };
    let turn = |at: u64, name| (at, session(name, 400, 10));
    let order = load(&[turn(0, 1), turn(2_000_000, 1), turn(4_000_000, 2), turn(6_000_000, 1)]);
    let (answers, _) = drive(slots, &order);
    let cached: Vec<u64> = answers.values().map(|answer| answer.done.unwrap().1).collect();
    assert_eq!(cached, [0, 399, 128, 128]);
}

#[test]
fn a_hang_holds_everything_and_a_recovery_goes_on_without_repeating() {
    let mut runner = RunnerModel::new(profile(2, 100), UnixMicros(0));
    let due = runner.submit(UnixMicros(0), 'a', work(10, 3)).unwrap().unwrap();
    let progress = runner.step(due.at, due.ticket);
    assert_eq!(progress.events, [RunnerEvent::Tokens { key: 'a', from: 0, count: 1 }]);
    runner.hang(UnixMicros(30_000));
    let due = progress.next.unwrap();
    assert_eq!(runner.step(due.at, due.ticket), Progress { events: vec![], next: None });
    assert_eq!(runner.submit(UnixMicros(40_000), 'b', work(10, 1)), Ok(None));
    let fresh = runner.recover(UnixMicros(5_000_000)).unwrap();
    assert_eq!(
        runner.step(due.at, due.ticket),
        Progress { events: vec![], next: None },
        "the old plan is void"
    );
    let progress = runner.step(fresh.at, fresh.ticket);
    let token = |key, from| RunnerEvent::Tokens { key, from, count: 1 };
    assert!(
        progress.events.contains(&token('a', 1)) && progress.events.contains(&token('b', 0)),
        "{progress:?}"
    );
    runner.crash(UnixMicros(6_000_000));
    assert_eq!((runner.running(), runner.waiting(), runner.blocks()), (0, 0, (0, 0)));
}

#[test]
fn who_gives_up_leaves_with_the_step_and_is_not_heard_of() {
    let mut arrivals = load(&[(0, work(10, 1_000)), (0, work(10, 3)), (100_000, work(10, 2))]);
    arrivals.cancels.insert(0, 90_000);
    let (answers, counts) = drive(profile(1, 100), &arrivals);
    assert!(answers[&0].done.is_none());
    assert_eq!((answers[&1].tokens.len(), answers[&2].tokens.len()), (3, 2));
    assert!(counts.output_tokens < 20, "{counts:?}");
}

#[test]
fn what_is_left_is_foretold_and_falls_to_nothing() {
    let mut runner = RunnerModel::new(profile(2, 100), UnixMicros(0));
    let mut due = None;
    for key in 0..5 {
        due = runner.submit(UnixMicros(0), key, work(50, 20)).unwrap().or(due);
    }
    let (mut now, begun) = (UnixMicros(0), runner.remaining_micros(UnixMicros(0)));
    while let Some(next) = due {
        now = next.at;
        due = runner.step(now, next.ticket).next;
    }
    assert_eq!(runner.remaining_micros(now), 0);
    let error = begun.abs_diff(now.0) as f64 / now.0 as f64;
    assert!(error < 0.2, "{begun} foretold, {now:?} taken");
}

fn any_work() -> impl Strategy<Value = Work> {
    let sizes = (1_u64..300, 0_u64..120);
    let prefix = prop_oneof![
        Just(Prefix::Unshared),
        (0_u64..4, 0_u64..2).prop_map(|(session, instructions)| Prefix::Session {
            session,
            instructions,
            instruction_tokens: 150
        }),
    ];
    (sizes, prefix).prop_map(|((prompt_tokens, output_tokens), prefix)| Work {
        prompt_tokens,
        output_tokens,
        prefix,
    })
}

fn any_load() -> impl Strategy<Value = Load> {
    let arrivals = prop::collection::vec((0_u64..400_000, any_work()), 1..25);
    let cancels = prop::collection::btree_map(0_u64..25, 0_u64..20_000_000, 0..5);
    (arrivals, cancels).prop_map(|(gaps, mut cancels)| {
        let mut at = 0;
        let mut arrivals = Vec::new();
        for (gap, work) in gaps {
            at += gap;
            arrivals.push((at, work));
        }
        cancels.retain(|key, _| usize::try_from(*key).unwrap() < arrivals.len());
        for (key, after) in &mut cancels {
            *after += arrivals[usize::try_from(*key).unwrap()].0 + 1;
        }
        Load { arrivals, cancels }
    })
}

fn any_profile() -> impl Strategy<Value = RunnerProfile> {
    let kv = prop_oneof![
        (27_u64..120).prop_map(KvCapacity::Blocks),
        (420_u64..2_000).prop_map(KvCapacity::PerSlot)
    ];
    let costs = prop::array::uniform6(0_u64..9_000_000_000_000);
    (1_u32..7, 16_u32..200, costs, kv).prop_map(|(slots, step_tokens, costs, kv)| {
        let [step, sequence, context, prefill_step, prefill_token, pair] = costs;
        let cost = StepCost {
            step: step + 1_000_000_007,
            sequence,
            context_token: context / 300,
            prefill_step: prefill_step + 1_000_000_007,
            prefill_token,
            prefill_pair: pair / 900,
        };
        RunnerProfile { slots, queue_max: 1_000, step_tokens, cost, kv, emit: Emit::EveryToken }
    })
}

/// What is known of a request up to the time when it was given up.
fn known(answer: Option<&Answer>, until: Option<&u64>) -> Answer {
    let mut answer = answer.cloned().unwrap_or_default();
    if let Some(until) = until {
        answer.tokens.retain(|at| at < until);
        answer.done = answer.done.filter(|(at, _)| at < until);
    }
    answer
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_closed_form_is_what_single_steps_come_to(
        profile in any_profile(), load in any_load(), max_ms in 1_u64..3_000
    ) {
        let (expected, preemptions) = Reference::run(profile, &load);
        let (each, counts) = drive(profile, &load);
        let (few, few_counts) = drive(profile.emitting(Emit::Coalesced { max_ms }), &load);
        prop_assert_eq!(counts, few_counts);
        prop_assert!(counts.preemptions == preemptions || !load.cancels.is_empty());
        for key in 0..load.arrivals.len() as u64 {
            let until = load.cancels.get(&key);
            let expected = known(expected.get(&key), until);
            prop_assert_eq!(&known(each.get(&key), until), &expected, "request {}", key);
            let few = known(few.get(&key), until);
            prop_assert_eq!(few.done, expected.done);
            prop_assert_eq!(few.tokens.first(), expected.tokens.first());
            if until.is_none() {
                let work = &load.arrivals[usize::try_from(key).unwrap()].1;
                prop_assert_eq!(expected.tokens.len() as u64, work.output_tokens);
                prop_assert_eq!(few.tokens.last(), expected.tokens.last());
                let late = few.tokens.iter().zip(&expected.tokens).map(|(told, made)| told - made).max();
                let step = 20_000_000;
                prop_assert!(late.unwrap_or(0) <= max_ms * 1_000 + step);
            }
        }
    }
}
