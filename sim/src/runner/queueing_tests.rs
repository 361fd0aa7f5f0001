//! The runner against closed forms of queueing theory. Its costs are set so that it is such a queue, up to the length
//! of a step.

use std::collections::BTreeMap;

use super::*;
use crate::agenda::Agenda;
use crate::chance::{Chance, Stream};

const STEP_MICROS: u64 = 200;
const SERVICE_MICROS: f64 = 1_000_000.0;

#[derive(Clone, Copy)]
enum Server {
    /// So many at once, each at full speed.
    Slots(u32),
    /// All at once, sharing the speed.
    Shared,
}

impl Server {
    fn profile(self) -> RunnerProfile {
        let step = STEP_MICROS * 1_000_000_000;
        let zero = StepCost {
            step: 0,
            sequence: 0,
            context_token: 0,
            prefill_step: 0,
            prefill_token: 0,
            prefill_pair: 0,
        };
        let (slots, cost) = match self {
            Self::Slots(slots) => (slots, StepCost { step, prefill_step: step, ..zero }),
            Self::Shared => (100_000, StepCost { sequence: step, prefill_token: step, ..zero }),
        };
        let (queue_max, step_tokens) = (u32::MAX, 1 << 20);
        let emit = Emit::Coalesced { max_ms: u64::MAX };
        RunnerProfile { slots, queue_max, step_tokens, cost, kv: KvCapacity::Blocks(1 << 40), emit }
    }
}

/// Mean wait for the first step and mean time in the system, in units of the mean service.
fn means(server: Server, rho: f64, jobs: u64, service: impl Fn(&mut Chance) -> f64) -> (f64, f64) {
    let servers = if let Server::Slots(slots) = server { f64::from(slots) } else { 1.0 };
    let (start, gap) = (UnixMicros(0), SERVICE_MICROS / (rho * servers));
    let (mut runner, mut agenda) = (RunnerModel::new(server.profile(), start), Agenda::new(start));
    let mut chance = Chance::new(11, Stream::Workload);
    let mut arrived: BTreeMap<u64, UnixMicros> = BTreeMap::new();
    let (mut next, mut waits, mut sojourns, mut counted) = (0, 0.0, 0.0, 0_u64);
    agenda.at(start, None);
    while let Some(happening) = agenda.take_next() {
        let now = agenda.now();
        let due = match happening {
            None => {
                arrived.insert(next, now);
                let output_tokens = (service(&mut chance) / STEP_MICROS as f64).round().max(1.0) as u64;
                let work = Work { prompt_tokens: 1, output_tokens, prefix: Prefix::Unshared };
                let due = runner.submit(now, next, work).unwrap();
                next += 1;
                if next < jobs {
                    agenda.at(now.plus(chance.exponential(gap)), None);
                }
                due
            }
            Some(ticket) => {
                let progress = runner.step(now, ticket);
                // The empty system at the start is not the steady state.
                for event in progress.events {
                    match event {
                        RunnerEvent::Tokens { key, from: 0, .. } if key > jobs / 50 => {
                            waits += now.since(arrived[&key]).saturating_sub(STEP_MICROS) as f64;
                        }
                        RunnerEvent::Tokens { .. } => {}
                        RunnerEvent::Done { key, .. } => {
                            let since = arrived.remove(&key).unwrap();
                            if key > jobs / 50 {
                                sojourns += now.since(since) as f64;
                                counted += 1;
                            }
                        }
                    }
                }
                progress.next
            }
        };
        if let Some(due) = due {
            agenda.at(due.at, Some(due.ticket));
        }
    }
    assert!(arrived.is_empty(), "every job ends");
    (waits / counted as f64 / SERVICE_MICROS, sojourns / counted as f64 / SERVICE_MICROS)
}

fn exponential(chance: &mut Chance) -> f64 {
    chance.exponential(SERVICE_MICROS) as f64
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

fn assert_close(what: &str, measured: f64, expected: f64) {
    let error = (measured - expected).abs() / expected;
    println!("{what}: {measured:.4}, closed form {expected:.4}, error {:.2} %", 100.0 * error);
    assert!(error < 0.02, "{what}: {measured} instead of {expected}");
}

#[test]
fn slots_of_equal_speed_are_an_m_m_c_queue() {
    for (slots, rho, jobs) in [(1, 0.7, 300_000), (4, 0.8, 1_000_000)] {
        let offered = rho * f64::from(slots);
        let wait = erlang_c(slots, offered) / (f64::from(slots) - offered);
        let (waited, sojourn) = means(Server::Slots(slots), rho, jobs, exponential);
        assert_close(&format!("wait in M/M/{slots} at {rho}"), waited, wait);
        assert_close(&format!("time in M/M/{slots} at {rho}"), sojourn, wait + 1.0);
    }
}

#[test]
fn one_slot_and_equal_answers_are_an_m_d_1_queue() {
    let rho = 0.7;
    let (waited, _) = means(Server::Slots(1), rho, 300_000, |_| SERVICE_MICROS);
    assert_close("wait in M/D/1 at 0.7", waited, rho / (2.0 * (1.0 - rho)));
}

#[test]
fn a_batch_whose_steps_grow_with_it_shares_the_processor() {
    let rho = 0.7;
    let (_, sojourn) = means(Server::Shared, rho, 300_000, exponential);
    assert_close("time in M/M/1 with processor sharing at 0.7", sojourn, 1.0 / (1.0 - rho));
    // Whatever the distribution of the service.
    let (_, sojourn) = means(Server::Shared, rho, 300_000, |_| SERVICE_MICROS);
    assert_close("time in M/D/1 with processor sharing at 0.7", sojourn, 1.0 / (1.0 - rho));
}
