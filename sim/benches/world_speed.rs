//! How fast a world runs: requests a second with the production cores of router, nodes and clients on the typed wire.
//!
//! `cargo bench -p fedai-sim --bench world_speed -- [NODES:REQUESTS]…` prints a line for each world.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::time::Instant;

use fedai_sim::report::Report;
use fedai_sim::scenario::{Scenario, WorkloadKind};
use fedai_sim::world::World;

/// Three quarters of what the nodes can do.
const LOAD: f64 = 0.75;

fn main() {
    let asked: Vec<(usize, usize)> = std::env::args().skip(1).filter_map(|word| parse(&word)).collect();
    let sizes = [(100, 20_000), (300, 20_000), (1_000, 20_000), (1_000, 100_000)];
    println!("   nodes   requests   seconds   requests/s   us/request   done %   events/request   peak MB");
    for (nodes, requests) in if asked.is_empty() { sizes.to_vec() } else { asked } {
        let scenario = Scenario::market_at_load(WorkloadKind::Poisson, nodes, requests, LOAD, 1).typed();
        let begin = Instant::now();
        let log = World::new(scenario).run(&mut |_| {}).unwrap_or_else(|violation| panic!("{violation}"));
        let seconds = begin.elapsed().as_secs_f64();
        let report = Report::new(&log);
        let of_each = |sum: f64| sum / requests as f64;
        println!(
            "{nodes:>8} {requests:>10} {seconds:>9.2} {:>12.0} {:>12.1} {:>8.2} {:>16.1} {:>9}",
            requests as f64 / seconds,
            of_each(seconds * 1e6),
            of_each(report.requests.done as f64) * 100.0,
            of_each(log.events as f64),
            peak_megabytes(),
        );
    }
}

fn parse(word: &str) -> Option<(usize, usize)> {
    let (nodes, requests) = word.split_once(':')?;
    Some((nodes.parse().ok()?, requests.parse().ok()?))
}

/// The most memory that this process has had so far.
fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) / 1_024
}
