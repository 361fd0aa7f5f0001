//! Whatever comes in, in whatever order: one end and one receipt a job, no amount above the ticket, nothing
//! after a close.

use std::collections::{BTreeMap, BTreeSet};

use fedai_protocol::message::Message;
use fedai_protocol::session_frame::{Ack, FrameBody};
use fedai_protocol::{JobId, Receipt, Refusal, RefusalCode};
use proptest::prelude::*;

use super::bench::*;
use crate::core::metering::ReportedUsage;
use crate::core::{Action, Input, OperatorCommand};

#[derive(Clone, Debug)]
enum Move {
    Open { client: usize, uses: u16, fresh_ticket: bool },
    Repeat { job: usize },
    Say { job: usize, bytes: usize },
    Usage { job: usize, tokens: u64 },
    Done { job: usize },
    Break { job: usize },
    Frame { job: usize, kind: u8, number: u64 },
    Runner { up: bool },
    Models { count: usize },
    Operator { command: u8 },
    Store,
    Pass { millis: u64 },
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => (0..3_usize, 1..3_u16, any::<bool>())
            .prop_map(|(client, uses, fresh_ticket)| Move::Open { client, uses, fresh_ticket }),
        2 => (0..8_usize).prop_map(|job| Move::Repeat { job }),
        6 => (0..8_usize, 0..600_usize).prop_map(|(job, bytes)| Move::Say { job, bytes }),
        2 => (0..8_usize, any::<u64>()).prop_map(|(job, tokens)| Move::Usage { job, tokens }),
        3 => (0..8_usize).prop_map(|job| Move::Done { job }),
        1 => (0..8_usize).prop_map(|job| Move::Break { job }),
        4 => (0..8_usize, 0..7_u8, 0..12_u64).prop_map(|(job, kind, number)| Move::Frame { job, kind, number }),
        1 => any::<bool>().prop_map(|up| Move::Runner { up }),
        1 => (0..3_usize).prop_map(|count| Move::Models { count }),
        1 => (0..3_u8).prop_map(|command| Move::Operator { command }),
        3 => Just(Move::Store),
        3 => (0..70_000_u64).prop_map(|millis| Move::Pass { millis }),
    ]
}

fn play(
    bench: &mut Bench,
    jobs: &mut Vec<Input>,
    tickets: &mut Vec<fedai_protocol::VerifiedEvent>,
    step: Move,
) {
    let at = |job: usize| jobs.get(job).map(job_of);
    let input = match step {
        Move::Open { client, uses, fresh_ticket } => {
            let ask = Ask { uses, ..Ask::default() };
            if fresh_ticket || tickets.is_empty() {
                tickets.push(bench.dispatch(&ask, client));
            }
            let Some(ticket) = tickets.last().cloned() else { return };
            let input = bench.job(&ask, &ticket, client);
            jobs.push(input.clone());
            Some(input)
        }
        Move::Repeat { job } => jobs.get(job).cloned(),
        Move::Say { job, bytes } => {
            if let Some(job) = at(job) {
                bench.say(job, &"x".repeat(bytes));
            }
            None
        }
        Move::Usage { job, tokens } => at(job).map(|job| {
            let usage = ReportedUsage {
                input_tokens: tokens,
                output_tokens: tokens,
                cached_tokens: 0,
                reasoning_tokens: 0,
            };
            Input::RunnerUsage { job, usage }
        }),
        Move::Done { job } => at(job).map(|job| Input::RunnerDone { job }),
        Move::Break { job } => at(job).map(|job| Input::RunnerError {
            job,
            refusal: Refusal::new(RefusalCode::RunnerFailed, "it failed"),
        }),
        Move::Frame { job, kind, number } => {
            let body = match kind {
                0 => FrameBody::Cancel,
                1 => FrameBody::Ping,
                2 => FrameBody::Pong,
                3 | 4 => FrameBody::Resume { from: number },
                _ => FrameBody::Ack(Ack { below: number, payment: None }),
            };
            if let Some(job) = at(job) {
                bench.frame(job, number, body);
            }
            None
        }
        Move::Runner { up } => Some(if up { Input::RunnerUp } else { Input::RunnerDown }),
        Move::Models { count } => Some(Input::ModelsChanged(
            ["words", "other"].iter().take(count).map(|name| model(name)).collect(),
        )),
        Move::Operator { command } => Some(Input::Operator(operator(command))),
        Move::Store => {
            bench.store();
            None
        }
        Move::Pass { millis } => {
            bench.pass(millis);
            None
        }
    };
    if let Some(input) = input {
        bench.take(input);
    }
}

fn operator(command: u8) -> OperatorCommand {
    match command {
        0 => OperatorCommand::Pause,
        1 => OperatorCommand::Resume,
        _ => OperatorCommand::Drain,
    }
}

fn assert_invariants(bench: &Bench) {
    // A refused job may be tried again in a session of its own: numbers and ends are judged a session.
    let mut open: BTreeMap<JobId, (BTreeMap<u64, FrameBody>, usize)> = BTreeMap::new();
    let mut runs: BTreeSet<JobId> = BTreeSet::new();
    for action in &bench.done {
        match action {
            Action::OpenSession { job, .. } => {
                assert!(open.insert(*job, Default::default()).is_none(), "a session was opened twice");
            }
            Action::CloseSession { job } => {
                let (_, ends) = open.remove(job).expect("a session is closed that is not open");
                assert_eq!(ends, 1, "a session was closed without its end");
            }
            Action::Send { job, frame } => {
                let (numbers, ends) = open.get_mut(job).expect("a frame after the close");
                if frame.body.is_numbered() {
                    let next = numbers.len() as u64;
                    assert!(frame.s <= next, "a number was skipped");
                    if frame.s == next {
                        assert_eq!(*ends, 0, "a numbered frame after the terminal one");
                        *ends += usize::from(frame.body.is_terminal());
                    }
                    let before = numbers.insert(frame.s, frame.body.clone());
                    assert!(before.is_none_or(|body| body == frame.body), "a number was used twice");
                }
            }
            Action::StartRunner { job, .. } => {
                // Again only after an earlier run that left no receipt.
                runs.insert(*job);
            }
            _ => {}
        }
    }
    let mut receipted = BTreeSet::new();
    for (seq, event) in bench.disk.iter().enumerate() {
        let receipt = Receipt::parse(event).unwrap().message;
        assert!(receipted.insert(receipt.job), "two receipts for one job");
        assert!(runs.contains(&receipt.job));
        assert_eq!(receipt.seq, seq as u64);
        assert!(receipt.amount.get() <= 1_000);
        assert!(receipt.usage.output_tokens.get() <= receipt.usage.output_bytes + 1);
    }
    let state = bench.node.state(bench.now);
    assert!(state.open <= 6 && state.queued <= 2 && state.running <= 1, "{state:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_inputs_in_any_order_keep_the_promises(script in proptest::collection::vec(moves(), 1..60)) {
        let mut bench = Bench::with(|policy| {
            policy.limits.jobs_max = 6;
            policy.limits.queue_max = 2;
        });
        bench.disk_is_quick = false;
        let (mut jobs, mut tickets) = (Vec::new(), Vec::new());
        for step in script {
            play(&mut bench, &mut jobs, &mut tickets, step);
            assert_invariants(&bench);
        }
        bench.take(Input::Operator(OperatorCommand::Shutdown { patience_ms: 1_000 }));
        bench.store();
        bench.pass(1_000);
        bench.store();
        bench.pass(6_000);
        prop_assert_eq!(bench.done.last(), Some(&Action::Exit));
        assert_invariants(&bench);
        prop_assert_eq!(bench.node.poll_timeout(), None);
    }
}
