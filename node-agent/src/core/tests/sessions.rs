//! Jobs from open to end: streaming, cancel, resume, faults of the runner at every token, deadlines.

use fedai_protocol::message::Message;
use fedai_protocol::receipt::{Outcome, commitment};
use fedai_protocol::session_frame::{Ack, Chunk, FrameBody};
use fedai_protocol::{JobId, Receipt, Refusal, RefusalCode, VerifiedEvent};

use super::bench::*;
use crate::core::{Action, Input, OperatorCommand};

fn receipt_in(end: &FrameBody) -> Option<Receipt> {
    let event: &VerifiedEvent = match end {
        FrameBody::Final(end) => &end.receipt,
        FrameBody::Error(failure) => failure.receipt.as_ref()?,
        other => panic!("{other:?}"),
    };
    Some(Receipt::parse(event).unwrap().message)
}

fn code_of(end: &FrameBody) -> RefusalCode {
    match end {
        FrameBody::Error(failure) => failure.refusal.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_that_is_not_streamed_comes_in_one_frame_when_it_is_short_and_once_a_second_when_it_is_not() {
    let mut bench = Bench::new();
    let ask = |bench: &mut Bench| {
        let (job, actions) = bench.open(&Ask { body: PROMPT.replace("true", "false"), ..Ask::default() });
        assert!(started(&actions));
        job
    };
    let short = ask(&mut bench);
    assert!(sent(&bench.say(short, "Hello"), short).is_empty());
    assert!(sent(&bench.say(short, ", world"), short).is_empty());
    bench.finish(short, 2);
    let chunks = bench.frames(short).into_iter().filter(|body| matches!(body, FrameBody::Chunk(_))).count();
    assert_eq!((chunks, bench.answer(short).0.as_str()), (1, "Hello, world"));
    let long = ask(&mut bench);
    bench.say(long, "Hello");
    assert_eq!(sent(&bench.pass(5), long).len(), 1, "when they came is measured by the client");
    bench.say(long, ", ");
    assert!(sent(&bench.pass(999), long).is_empty());
    assert_eq!(sent(&bench.pass(1), long).len(), 1);
}

#[test]
fn a_job_is_accepted_streamed_and_ended_with_its_receipt() {
    let mut bench = Bench::new();
    let job = bench.running();
    let first = bench.say(job, "Hello");
    assert_eq!(sent(&first, job).len(), 1, "the first words leave at once");
    assert!(sent(&bench.say(job, ", wor"), job).is_empty(), "later ones wait a little");
    bench.say(job, "ld");
    assert_eq!(sent(&bench.pass(40), job).len(), 1);
    bench.finish(job, 3);
    let (text, end) = bench.answer(job);
    assert_eq!(text, "Hello, world");
    let receipt = receipt_in(&end).unwrap();
    assert_eq!((receipt.seq, receipt.outcome, receipt.usage.output_tokens.get()), (0, Outcome::Complete, 3));
    assert_eq!(receipt.usage.output_bytes, 12);
    let FrameBody::Final(end) = end else { panic!() };
    assert_eq!(receipt.commitment.len(), 64);
    assert_ne!(receipt.commitment, commitment("", "", &end.output_sha256));
}

#[test]
fn nothing_terminal_leaves_before_the_receipt_is_on_disk() {
    let mut bench = Bench::new();
    bench.disk_is_quick = false;
    let job = bench.running();
    bench.say(job, "Hello");
    let actions = bench.finish(job, 1);
    assert!(sent(&actions, job).iter().all(|frame| !frame.body.is_terminal()));
    let actions = bench.store();
    assert!(matches!(sent(&actions, job).last().unwrap().body, FrameBody::Final(_)));
}

#[test]
fn the_same_job_again_gets_its_session_back_and_no_second_run() {
    let mut bench = Bench::new();
    let dispatch = bench.dispatch(&Ask::default(), 0);
    let input = bench.job(&Ask::default(), &dispatch, 0);
    let job = job_of(&input);
    bench.take(input.clone());
    bench.say(job, "Hello");
    let again = bench.take(input.clone());
    assert_eq!(sent(&again, job).iter().map(|frame| frame.s).collect::<Vec<_>>(), [0, 1]);
    bench.finish(job, 1);
    let after = bench.take(input.clone());
    assert!(matches!(sent(&after, job).last().unwrap().body, FrameBody::Final(_)));
    bench.pass(200_000);
    let late = bench.take(input);
    assert_eq!(refusal(&late, job), Some(RefusalCode::Replayed));
    let runs = bench.done.iter().filter(|action| matches!(action, Action::StartRunner { .. })).count();
    assert_eq!((runs, bench.disk.len()), (1, 1));
}

#[test]
fn resume_brings_back_exactly_what_is_missing_also_after_the_end() {
    let mut bench = Bench::new();
    let job = bench.running();
    for n in 0..20 {
        bench.say(job, &format!("word{n} "));
        bench.pass(50);
    }
    let back = bench.frame(job, 0, FrameBody::Resume { from: 7 });
    assert_eq!(sent(&back, job).first().unwrap().s, 7);
    bench.finish(job, 20);
    let all = bench.frames(job).len() as u64;
    let back = bench.frame(job, 0, FrameBody::Resume { from: all - 2 });
    assert_eq!(sent(&back, job).iter().map(|frame| frame.s).collect::<Vec<_>>(), [all - 2, all - 1]);
    assert!(sent(&bench.frame(job, 0, FrameBody::Resume { from: u64::MAX }), job).is_empty());
}

#[test]
fn asking_again_for_ever_is_not_answered_for_ever() {
    let mut bench = Bench::new();
    let job = bench.running();
    let answered: usize =
        (0..2_000).map(|_| sent(&bench.frame(job, 0, FrameBody::Resume { from: 0 }), job).len()).sum();
    assert!((1..=300).contains(&answered), "{answered}");
}

#[test]
fn a_cancel_stops_the_runner_and_ends_the_job_once() {
    for words in [0, 3] {
        let mut bench = Bench::new();
        let job = bench.running();
        (0..words).for_each(|_| drop(bench.say(job, "word ")));
        let actions = bench.frame(job, 0, FrameBody::Cancel);
        assert!(actions.contains(&Action::CancelRunner { job }));
        bench.frame(job, 0, FrameBody::Cancel);
        bench.say(job, "too late");
        bench.finish(job, 3);
        let (_, end) = bench.answer(job);
        assert_eq!(code_of(&end), RefusalCode::Cancelled);
        assert_eq!(receipt_in(&end).is_some(), words > 0, "what was delivered has a receipt");
        assert_eq!(bench.disk.len(), usize::from(words > 0));
        assert!(started(&bench.open(&Ask::default()).1), "the slot is free again");
    }
}

#[test]
fn a_runner_that_breaks_or_hangs_at_any_token_ends_the_job_once() {
    for at in 0..=20 {
        for hangs in [true, false] {
            let mut bench = Bench::new();
            let job = bench.running();
            (0..at).for_each(|_| drop(bench.say(job, "word ")));
            if hangs {
                // The client answers pings all the while.
                for _ in 0..10 {
                    bench.pass(10_000);
                    bench.frame(job, 0, FrameBody::Pong);
                }
            } else {
                let refusal = Refusal::new(RefusalCode::RunnerFailed, "the runner failed");
                bench.take(Input::RunnerError { job, refusal });
            }
            let (text, end) = bench.answer(job);
            assert_eq!(text, "word ".repeat(at));
            let expect = match (hangs, at) {
                (true, _) => RefusalCode::Stalled,
                (false, 0) => RefusalCode::RunnerFailed,
                (false, _) => RefusalCode::RunnerInterrupted,
            };
            assert_eq!(code_of(&end), expect, "at {at}, hangs {hangs}");
            let receipt = receipt_in(&end);
            assert_eq!(receipt.is_some(), at > 0);
            assert!(receipt.as_ref().is_none_or(|r| r.outcome == Outcome::Partial && r.amount.get() == 0));
            let counted = receipt.map_or(0, |r| r.usage.output_tokens.get());
            assert_eq!(counted, at as u64, "what arrived is counted, though the runner said nothing");
        }
    }
}

#[test]
fn missing_usage_and_empty_output_owe_nothing() {
    for (words, usage) in [(5, false), (0, true)] {
        let mut bench = Bench::new();
        let job = bench.running();
        (0..words).for_each(|_| drop(bench.say(job, "word ")));
        if usage {
            bench.finish(job, 5);
        } else {
            bench.take(Input::RunnerDone { job });
        }
        let receipt = receipt_in(&bench.answer(job).1).unwrap();
        assert_eq!(receipt.amount.get(), 0);
        assert!(
            receipt.usage.output_tokens.get() <= 1,
            "never more than the bytes allow, never counted by chunks"
        );
    }
}

#[test]
fn output_past_the_limit_breaks_off_with_a_receipt() {
    let mut bench = Bench::new();
    let job = bench.running();
    let large = "x".repeat(700_000);
    for _ in 0..3 {
        bench.say(job, &large);
        bench.frame(job, 0, FrameBody::Pong);
    }
    let (_, end) = bench.answer(job);
    assert_eq!(code_of(&end), RefusalCode::TooLarge);
    assert!(receipt_in(&end).is_some());
}

#[test]
fn a_silent_client_is_asked_once_and_then_given_up() {
    let mut bench = Bench::with(|p| p.deadlines.stall_ms = 600_000);
    let job = bench.running();
    bench.say(job, "word");
    let actions = bench.pass(25_000);
    let pings = sent(&actions, job).iter().filter(|frame| frame.body == FrameBody::Ping).count();
    assert_eq!(pings, 1);
    bench.frame(job, 0, FrameBody::Pong);
    bench.pass(59_000);
    assert_eq!(bench.node.jobs.open_count(), 1);
    bench.pass(2_000);
    assert_eq!(code_of(&bench.answer(job).1), RefusalCode::Timeout);
}

#[test]
fn a_job_is_over_when_its_time_is() {
    let mut bench = Bench::new();
    let (job, _) = bench.open(&Ask { job_lives: 10, ..Ask::default() });
    bench.pass(11_000);
    assert_eq!(code_of(&bench.answer(job).1), RefusalCode::Timeout);
}

#[test]
fn jobs_beyond_the_slots_run_in_their_order() {
    let mut bench = Bench::new();
    let first = bench.running();
    let (second, actions) = bench.open(&Ask::default());
    assert!(!started(&actions));
    let (third, _) = bench.open(&Ask::default());
    let accepts: Vec<u64> = [first, second, third]
        .iter()
        .map(|job| match &bench.frames(*job)[0] {
            FrameBody::Accept(accept) => accept.queue_ms,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(accepts[0] == 0 && accepts[1] > 0 && accepts[2] > accepts[1], "{accepts:?}");
    bench.say(first, "x");
    let actions = bench.finish(first, 1);
    assert!(actions.iter().any(|a| matches!(a, Action::StartRunner { job, .. } if *job == second)));
}

fn upload(bench: &mut Bench, bytes: usize) -> (JobId, Vec<String>) {
    let body = format!(r#"{{"messages":[{{"content":"{}"}}],"max_tokens":9}}"#, "x".repeat(bytes));
    let (job, actions) = bench.open(&Ask { bulk: true, body, max_input: 100_000, ..Ask::default() });
    assert_eq!(refusal(&actions, job), None);
    (job, bench.pieces.clone())
}

fn piece(data: &str) -> FrameBody {
    FrameBody::Chunk(Chunk { data: data.into(), balance: Default::default() })
}

#[test]
fn a_large_request_arrives_in_any_order_and_what_is_missing_is_asked_for() {
    let mut bench = Bench::new();
    let (job, pieces) = upload(&mut bench, 15_000);
    assert_eq!(pieces.len(), 1);
    let (job_two, pieces) = {
        bench.frame(job, 0, piece(&pieces[0]));
        assert!(bench.done.iter().any(|a| matches!(a, Action::StartRunner { job: of, .. } if *of == job)));
        upload(&mut bench, 15_900)
    };
    let asked = bench.pass(1_100);
    assert!(sent(&asked, job_two).iter().any(|frame| frame.body == FrameBody::Resume { from: 0 }));
    let actions = bench.frame(job_two, 0, piece(&pieces[0]));
    assert!(sent(&actions, job_two).iter().any(|f| matches!(f.body, FrameBody::Ack(Ack { below: 1, .. }))));
    bench.pass(70_000);
    let (job_three, _) = upload(&mut bench, 15_000);
    bench.frame(job_three, 0, piece("AAAA"));
    assert_eq!(code_of(&bench.answer(job_three).1), RefusalCode::Malformed);
    let (job_four, _) = upload(&mut bench, 15_000);
    (0..7).for_each(|_| {
        bench.pass(10_000);
        bench.frame(job_four, 0, FrameBody::Pong);
    });
    assert_eq!(code_of(&bench.answer(job_four).1), RefusalCode::Timeout);
}

#[test]
fn a_drain_lets_jobs_end_and_a_deadline_ends_them() {
    for patient in [true, false] {
        let mut bench = Bench::new();
        let job = bench.running();
        bench.say(job, "word");
        bench.take(Input::Operator(OperatorCommand::Shutdown { patience_ms: 10_000 }));
        assert!(!bench.done.contains(&Action::Exit));
        if patient {
            bench.finish(job, 1);
        } else {
            bench.pass(10_000);
        }
        assert_eq!(bench.done.last(), Some(&Action::Exit));
        let (_, end) = bench.answer(job);
        assert_eq!(matches!(end, FrameBody::Final(_)), patient);
        assert!(receipt_in(&end).is_some());
        let before = bench.done.len();
        bench.say(job, "after the end");
        assert_eq!(bench.done.len(), before, "after the exit nothing follows");
    }
}

#[test]
fn a_failed_disk_closes_the_node() {
    let mut bench = Bench::new();
    bench.disk_is_quick = false;
    let job = bench.running();
    bench.say(job, "word");
    bench.finish(job, 1);
    bench.take(Input::StorageFailed);
    assert_eq!(bench.done.last(), Some(&Action::Exit));
    assert!(
        bench.frames(job).iter().all(|frame| !frame.is_terminal()),
        "nothing is promised that is not on disk"
    );
}

#[test]
fn finished_answers_are_kept_within_their_memory_and_time() {
    let mut bench = Bench::with(|p| {
        p.limits.finished_bytes_max = 20_000;
        p.limits.opens_per_minute = 1_000;
    });
    for _ in 0..8 {
        let job = bench.running();
        bench.say(job, "word");
        bench.finish(job, 1);
    }
    let closed = bench.done.iter().filter(|action| matches!(action, Action::CloseSession { .. })).count();
    assert!((3..8).contains(&closed), "{closed}");
    bench.pass(181_000);
    let closed = bench.done.iter().filter(|action| matches!(action, Action::CloseSession { .. })).count();
    assert_eq!(closed, 8);
}

#[test]
fn a_client_far_behind_slows_the_runner_and_is_not_taken_for_its_fault() {
    use fedai_protocol::limits::UNACKED_FRAMES_MAX;
    let mut bench = Bench::new();
    let job = bench.running();
    let long = "x".repeat(5_000);
    let mut frames = 1;
    let held = loop {
        let actions = bench.say(job, &long);
        frames += sent(&actions, job).len() as u64;
        assert!(frames <= UNACKED_FRAMES_MAX + 1, "bounded");
        if actions.contains(&Action::PaceRunner { job, is_held: true }) {
            break frames;
        }
    };
    assert!(held >= UNACKED_FRAMES_MAX, "not before the limit: {held}");
    // It is alive and slow: the runner waits for it, for longer than a runner may be silent.
    for _ in 0..12 {
        bench.pass(10_000);
        bench.frame(job, 0, FrameBody::Ping);
    }
    let actions = bench.frame(job, 0, FrameBody::Ack(Ack { below: held / 4, payment: None }));
    assert!(
        !actions.contains(&Action::PaceRunner { job, is_held: false }),
        "three quarters are still on their way"
    );
    let actions = bench.frame(job, 0, FrameBody::Ack(Ack { below: held - 8, payment: None }));
    assert!(actions.contains(&Action::PaceRunner { job, is_held: false }));
    assert!(!sent(&bench.say(job, &long), job).is_empty());
    bench.finish(job, 9);
    assert!(matches!(bench.answer(job).1, FrameBody::Final(_)));
}

#[test]
fn a_held_runner_is_stopped_when_the_client_is_silent() {
    let mut bench = Bench::new();
    let job = bench.running();
    while !bench.say(job, &"x".repeat(5_000)).contains(&Action::PaceRunner { job, is_held: true }) {}
    let mut actions = bench.pass(30_000);
    actions.extend(bench.pass(40_000));
    assert!(actions.contains(&Action::CancelRunner { job }));
}
