//! What the production strategy does to waiting times on an unequal fleet, held against one that sees everything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod fleet;
mod world;

use fedai_router_agent::core::policy::Policy;
use fleet::{Picker, Trial, forty, run};

fn trial(picker: Picker, liars: usize, info_age_ms: f64, routers: usize) -> Trial {
    let mut servers = forty();
    // Every fifth, so that each size has its liars.
    for server in servers.iter_mut().step_by(5).take(liars) {
        server.lies = true;
    }
    let policy = Policy::default();
    Trial { servers, load: 0.75, jobs: 4_000, routers, info_age_ms, picker, policy, seed: 1 }
}

/// Share of the work that nodes at every fifth place got.
fn share_of_every_fifth(served: &[usize]) -> f64 {
    served.iter().step_by(5).sum::<usize>() as f64 / served.iter().sum::<usize>() as f64
}

#[test]
fn it_is_close_to_one_that_sees_everything_and_liars_cost_little() {
    let bound = run(&trial(Picker::Clairvoyant, 0, 10_000.0, 10));
    let honest = run(&trial(Picker::Production, 0, 10_000.0, 10));
    let lied_to = run(&trial(Picker::Production, 8, 10_000.0, 10));
    let times = |a: f64, b: f64| a / b;
    assert!(times(honest.total_p95_ms, bound.total_p95_ms) < 1.2, "{bound:?}\n{honest:?}");
    assert!(times(honest.ttft_p95_ms, bound.ttft_p95_ms) < 2.0, "{bound:?}\n{honest:?}");
    assert!(times(lied_to.total_p95_ms, honest.total_p95_ms) < 1.15, "{honest:?}\n{lied_to:?}");
    assert!(times(lied_to.ttft_p95_ms, honest.ttft_p95_ms) < 1.3, "{honest:?}\n{lied_to:?}");
    let (before, after) = (share_of_every_fifth(&honest.served), share_of_every_fifth(&lied_to.served));
    assert!(after < before * 1.1, "lying pays: {before} {after}");
}

#[test]
fn a_fresh_network_of_equals_is_spread_over_all() {
    let servers = vec![fleet::Server::new(4, 1.0, 30.0, 3.0); 8];
    let out = run(&Trial { servers, load: 0.4, jobs: 1_500, ..trial(Picker::Production, 0, 10_000.0, 1) });
    let sum: f64 = out.served.iter().map(|n| *n as f64).sum();
    let squares: f64 = out.served.iter().map(|n| (*n as f64).powi(2)).sum();
    assert!(sum * sum / squares / 8.0 > 0.9, "{:?}", out.served);
}

#[test]
#[ignore = "prints a table: cargo test --release -p fedai-router-agent --test unequal_fleet -- --ignored --nocapture"]
fn table() {
    let jobs = 20_000;
    let bound = run(&Trial { jobs, ..trial(Picker::Clairvoyant, 0, 10_000.0, 1) });
    println!("| routers | load is | liars | first token p95 | total p50 | total p95 | to the bound |");
    println!("|---|---|---|---|---|---|---|");
    let row = |who: &str, age: f64, liars: usize, out: &fleet::Outcome| {
        let times = out.total_p95_ms / bound.total_p95_ms;
        let (ttft, p50, p95) = (out.ttft_p95_ms, out.total_p50_ms, out.total_p95_ms);
        println!(
            "| {who} | {age:.0} s old | {liars} | {ttft:.0} ms | {p50:.0} ms | {p95:.0} ms | {times:.2} |"
        );
    };
    row("clairvoyant", 0.0, 0, &bound);
    for routers in [1, 10] {
        for age in [1.0, 10.0, 30.0] {
            for liars in [0, 8] {
                let trial = trial(Picker::Production, liars, age * 1_000.0, routers);
                row(&routers.to_string(), age, liars, &run(&Trial { jobs, ..trial }));
            }
        }
    }
}
