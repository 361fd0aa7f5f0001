//! What a million requests of 200 tokens cost on one simulated runner, without a network around it.
//!
//! Prints a table; asserts nothing. `cargo bench -p fedai-sim --bench million_requests`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::sync::Arc;
use std::time::Instant;

use fedai_protocol::UnixMicros;
use fedai_sim::agenda::Agenda;
use fedai_sim::chance::{Chance, Stream};
use fedai_sim::runner::{Emit, Prefix, RunnerEvent, RunnerModel, RunnerProfile, Work};

fn main() {
    let rarely = Emit::Coalesced { max_ms: u64::MAX };
    let cases = [
        ("first and last token of each", rarely, 1_000_000, false),
        ("pieces of 250 ms", Emit::Coalesced { max_ms: 250 }, 1_000_000, false),
        ("first and last token, shared prompts", rarely, 1_000_000, true),
        ("every token", Emit::EveryToken, 100_000, false),
    ];
    println!("| handed out | requests | events | seconds |\n|---|---|---|---|");
    for (name, emit, requests, shares) in cases {
        let begin = Instant::now();
        let events = run(RunnerProfile::of_rates(64, 20_000, 60, 20).emitting(emit), requests, shares);
        println!("| {name} | {requests} | {events} | {:.2} |", begin.elapsed().as_secs_f64());
    }
}

/// Runs so many requests at nine tenths of the runner's capacity. Gives how many events came out.
fn run(profile: RunnerProfile, requests: u64, shares: bool) -> u64 {
    let mut runner = RunnerModel::new(profile, UnixMicros(0));
    let (mut agenda, mut chance) = (Agenda::new(UnixMicros(0)), Chance::new(1, Stream::Workload));
    let (mut next, mut done, mut events) = (0, 0, 0);
    agenda.at(UnixMicros(0), None);
    while let Some(happening) = agenda.take_next() {
        let now = agenda.now();
        let due = match happening {
            None => {
                let prompt_tokens = chance.between(100, 1_500);
                let prefix = if shares { listed(chance.between(0, 500)) } else { Prefix::Unshared };
                let due =
                    runner.submit(now, next, Work { prompt_tokens, output_tokens: 200, prefix }).unwrap();
                next += 1;
                if next < requests {
                    agenda.at(now.plus(chance.exponential(160_000.0)), None);
                }
                due
            }
            Some(ticket) => {
                let progress = runner.step(now, ticket);
                events += progress.events.len() as u64;
                let is_done = |event: &&RunnerEvent<u64>| matches!(event, RunnerEvent::Done { .. });
                done += progress.events.iter().filter(is_done).count() as u64;
                progress.next
            }
        };
        if let Some(due) = due {
            agenda.at(due.at, Some(due.ticket));
        }
    }
    assert_eq!(done, requests);
    events
}

/// One of 500 beginnings.
fn listed(name: u64) -> Prefix {
    Prefix::Listed(Arc::new([name * 4, name * 4 + 1, name * 4 + 2]))
}
