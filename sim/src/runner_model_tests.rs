//! The runner against closed forms of queueing theory, in virtual time only, and its steps one by one.

use super::*;
use crate::agenda::Agenda;
use crate::chance::{Chance, Stream};

#[derive(Clone, Copy)]
enum Happening {
    Arrival,
    Step(Due<u64>),
}

/// Mean time in the system of `jobs` jobs with exponential gaps and services, in microseconds.
fn mean_sojourn(seed: u64, slots: u32, gap: f64, service: f64, jobs: u64) -> f64 {
    let start = UnixMicros(0);
    let profile =
        RunnerProfile { slots, prefill_per_second: 1, decode_per_second: 1, batch_cost_permille: 0 };
    let mut runner = RunnerModel::new(profile, start);
    let mut agenda = Agenda::new(start);
    let mut chance = Chance::new(seed, Stream::Workload);
    let mut arrived: BTreeMap<u64, UnixMicros> = BTreeMap::new();
    let (mut next, mut sum, mut counted) = (0, 0.0, 0_u64);
    agenda.at(start, Happening::Arrival);
    while let Some(happening) = agenda.take_next() {
        let now = agenda.now();
        let due = match happening {
            Happening::Arrival => {
                arrived.insert(next, now);
                let work = Work { prefill_micros: chance.exponential(service), token_micros: 0, tokens: 0 };
                let due = runner.submit(now, next, work);
                next += 1;
                if next < jobs {
                    agenda.at(now.plus(chance.exponential(gap)), Happening::Arrival);
                }
                due
            }
            Happening::Step(due) => match runner.step(now, due.key, due.ticket) {
                Step::Done(started) => {
                    let since = arrived.remove(&due.key).unwrap();
                    // The empty system at the start is not the steady state.
                    if due.key > jobs / 50 {
                        sum += now.since(since) as f64;
                        counted += 1;
                    }
                    started
                }
                other => panic!("{other:?}"),
            },
        };
        if let Some(due) = due {
            agenda.at(due.at, Happening::Step(due));
        }
    }
    assert!(arrived.is_empty(), "every job ends");
    sum / counted as f64
}

/// Erlang C: probability that a job waits in M/M/c with offered load `a`.
fn erlang_c(servers: u32, a: f64) -> f64 {
    let mut blocked = 1.0;
    for n in 1..=servers {
        blocked = a * blocked / (f64::from(n) + a * blocked);
    }
    let rho = a / f64::from(servers);
    blocked / (1.0 - rho * (1.0 - blocked))
}

#[test]
fn the_runner_and_the_agenda_are_an_m_m_c_queue() {
    for (slots, rho) in [(1, 0.5), (1, 0.7), (3, 0.8)] {
        let service = 1_000_000.0;
        let gap = service / (rho * f64::from(slots));
        let rest = f64::from(slots) / service - 1.0 / gap;
        let expected = service + erlang_c(slots, rho * f64::from(slots)) / rest;
        let measured = mean_sojourn(42, slots, gap, service, 200_000);
        let error = (measured - expected).abs() / expected;
        assert!(error < 0.05, "M/M/{slots} at {rho}: {measured} instead of {expected}");
    }
}

fn profile(slots: u32) -> RunnerProfile {
    RunnerProfile { slots, prefill_per_second: 1_000, decode_per_second: 100, batch_cost_permille: 500 }
}

#[test]
fn a_request_is_prefill_then_tokens_and_a_fuller_batch_is_slower() {
    let mut runner = RunnerModel::new(profile(2), UnixMicros(0));
    let work = profile(2).work(100, 2);
    let due = runner.submit(UnixMicros(0), 'a', work).unwrap();
    assert_eq!(due.at, UnixMicros(100_000));
    let Step::Token(0, due) = runner.step(due.at, 'a', due.ticket) else { panic!() };
    assert_eq!(due.at, UnixMicros(110_000));
    runner.submit(due.at, 'b', work).unwrap();
    let Step::Token(1, due) = runner.step(due.at, 'a', due.ticket) else { panic!() };
    assert_eq!(due.at, UnixMicros(125_000), "half as much again with one more in the batch");
    assert_eq!(runner.submit(due.at, 'c', work), None, "both slots are taken");
    let Step::Done(Some(next)) = runner.step(due.at, 'a', due.ticket) else { panic!() };
    assert_eq!((next.key, runner.running(), runner.waiting()), ('c', 2, 0));
    assert_eq!(runner.busy_micros(due.at), 125_000 + 15_000);
}

#[test]
fn a_hang_holds_everything_and_a_recovery_goes_on_without_repeating() {
    let mut runner = RunnerModel::new(profile(1), UnixMicros(0));
    let due = runner.submit(UnixMicros(0), 'a', profile(1).work(0, 1)).unwrap();
    runner.hang();
    assert_eq!(runner.step(due.at, 'a', due.ticket), Step::Nothing);
    let fresh = runner.recover(UnixMicros(5_000_000));
    assert_eq!(runner.step(due.at, 'a', due.ticket), Step::Nothing, "the old plan is void");
    let Step::Token(0, due) = runner.step(fresh[0].at, 'a', fresh[0].ticket) else { panic!() };
    assert_eq!(runner.step(due.at, 'a', due.ticket), Step::Done(None));
}
