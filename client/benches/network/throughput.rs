//! How many jobs a second one router and one node sustain with a runner that costs nothing, where the processor time
//! goes, and how much of it is cryptography.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fedai_client::shell::buyer::{Buyer, RouterContact};
use tokio::sync::Mutex;

use crate::events::{self, EventCounts};
use crate::processes::Network;
use crate::step_costs::{self, Costs};
use crate::{Size, cpu_time, purchase};

const CONCURRENCY: [usize; 3] = [1, 8, 32];
/// Jobs at once that share a buyer's connection and receipts file.
const WORKERS_PER_BUYER: usize = 8;
const RUNNER: &str = "mock://local?tokens=16&token_ms=0&prefill_ms=0&slots=64";

/// Whether every job asks for a quote.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tickets {
    Cold,
    Warm,
}

/// What the workers counted inside the window.
#[derive(Default)]
struct Counts {
    jobs: u64,
    retries: u64,
    errors: BTreeMap<String, u64>,
}

/// One finished run.
struct Outcome {
    tickets: Tickets,
    concurrency: usize,
    counts: Counts,
    seconds: f64,
    /// Processor time of relay, router, node and buyers.
    cpu: Vec<(&'static str, Duration)>,
    others: f64,
}

/// Measures and prints.
pub async fn run(size: Size, costs: &Costs) {
    let network = Network::start(&["--runner", RUNNER, "--runner-kind", "mock", "--slots", "64"]).await;
    let events = events::count(&network).await;
    let mut outcomes = Vec::new();
    for tickets in [Tickets::Cold, Tickets::Warm] {
        for concurrency in CONCURRENCY {
            outcomes.push(measure(&network, tickets, concurrency, size).await);
        }
    }
    print(&outcomes, size);
    step_costs::print(costs, &outcomes.iter().map(|outcome| outcome.summary(&events)).collect::<Vec<_>>());
}

async fn measure(network: &Network, tickets: Tickets, concurrency: usize, size: Size) -> Outcome {
    let name = if tickets == Tickets::Cold { "cold" } else { "warm" };
    let mut buyers = Vec::new();
    for number in 0..concurrency.div_ceil(WORKERS_PER_BUYER) {
        buyers.push(network.buyer(&format!("{name}-{concurrency}-{number}")).await);
    }
    let from = Instant::now() + size.warm_up;
    let until = from + size.window;
    let counts = Arc::new(Mutex::new(Counts::default()));
    let workers: Vec<_> = (0..concurrency)
        .map(|worker| {
            let (buyer, contacts) = buyers[worker % buyers.len()].clone();
            tokio::spawn(work(buyer, contacts, tickets, (from, until), counts.clone()))
        })
        .collect();
    tokio::time::sleep_until(from.into()).await;
    let before = snapshot(network);
    tokio::time::sleep_until(until.into()).await;
    let after = snapshot(network);
    for worker in workers {
        worker.await.unwrap();
    }
    for (buyer, _) in buyers {
        buyer.close().await;
    }
    let cpu: Vec<_> =
        after.0.iter().zip(&before.0).map(|((name, end), (_, begin))| (*name, *end - *begin)).collect();
    let ours: f64 = cpu.iter().map(|(_, time)| time.as_secs_f64()).sum();
    let seconds = size.window.as_secs_f64();
    let others = (after.1 - before.1) as f64 / 100.0 - ours;
    let counts = std::mem::take(&mut *counts.lock().await);
    Outcome { tickets, concurrency, counts, seconds, cpu, others: others / seconds }
}

async fn work(
    buyer: Buyer,
    contacts: Vec<RouterContact>,
    tickets: Tickets,
    (from, until): (Instant, Instant),
    counts: Arc<Mutex<Counts>>,
) {
    let mut held = None;
    while Instant::now() < until {
        let outcome = purchase::buy(&buyer, &contacts, held.take()).await;
        let is_counted = (from..until).contains(&Instant::now());
        let mut counts = counts.lock().await;
        match outcome {
            Ok((moments, ticket)) => {
                counts.jobs += u64::from(is_counted);
                counts.retries += moments.retries as u64;
                held = Some(ticket).filter(|_| tickets == Tickets::Warm);
            }
            Err(code) => *counts.errors.entry(code).or_default() += 1,
        }
    }
}

fn snapshot(network: &Network) -> (Vec<(&'static str, Duration)>, u64) {
    let mut cpu = network.cpu();
    cpu.push(("buyers", cpu_time::used_by(std::process::id())));
    (cpu, cpu_time::machine().0)
}

impl Outcome {
    fn summary(&self, events: &EventCounts) -> step_costs::Measured {
        step_costs::Measured {
            frames: events.frames,
            is_cold: self.tickets == Tickets::Cold,
            concurrency: self.concurrency,
            per_job_ms: self.cpu.iter().map(|(name, time)| (*name, self.per_job(*time))).collect(),
        }
    }

    fn per_job(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e3 / self.counts.jobs.max(1) as f64
    }
}

fn print(outcomes: &[Outcome], size: Size) {
    println!("\n### Throughput (mock runner, 16 tokens at once, {:?} each)\n", size.window);
    println!(
        "Processor time in milliseconds a job. Buyers are all in one process. Others: processors taken by"
    );
    println!("whatever else ran on the machine and by the kernel.\n");
    println!(
        "| tickets | at once | jobs/s | relay | router | node | buyers | sum | others | retries | errors |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for outcome in outcomes {
        let tickets = if outcome.tickets == Tickets::Cold { "cold" } else { "warm" };
        let times: Vec<f64> = outcome.cpu.iter().map(|(_, time)| outcome.per_job(*time)).collect();
        let cells: Vec<String> = times.iter().map(|time| format!("{time:.2}")).collect();
        println!(
            "| {tickets} | {} | {:.1} | {} | {:.2} | {:.2} | {} | {:?} |",
            outcome.concurrency,
            outcome.counts.jobs as f64 / outcome.seconds,
            cells.join(" | "),
            times.iter().sum::<f64>(),
            outcome.others,
            outcome.counts.retries,
            outcome.counts.errors
        );
    }
}
