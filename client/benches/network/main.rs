//! What the network adds to a job, and how many jobs one router and one node sustain, measured on real processes.
//!
//! Relay, router and node are the built `fedai` binary, each a process of its own on a port that the kernel chose;
//! the buyers are this process. Prints Markdown tables; asserts nothing. `cargo bench -p fedai-client --bench network`,
//! with `-- --quick` for a short run that only shows that everything works. `-- --upstream HOST:PORT` only serves the
//! runner that costs nothing, for `client/benches/peers.py`. `-- --cancelling` and `-- --streaming MINUTES` measure
//! only that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::disallowed_methods, unreachable_pub, reason = "a benchmark reads the clock")]

mod cancelling;
mod cpu_time;
mod events;
mod latency;
mod processes;
mod purchase;
mod step_costs;
mod streaming;
mod throughput;
mod upstream;

use std::time::Duration;

use fedai_relay_bridge::runtime::{self, Share};

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Size {
    /// Rounds of the latency part; each round asks every target once.
    pub rounds: usize,
    /// Length of one throughput run.
    pub window: Duration,
    /// Time before it that is not counted.
    pub warm_up: Duration,
}

const FULL: Size = Size { rounds: 400, window: Duration::from_secs(10), warm_up: Duration::from_secs(3) };
const QUICK: Size = Size { rounds: 20, window: Duration::from_secs(2), warm_up: Duration::from_millis(500) };

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let has = |word: &str| words.iter().any(|given| given == word);
    let size = if has("--quick") { QUICK } else { FULL };
    if let Some(at) = words.iter().position(|word| word == "--upstream") {
        let runtime = runtime::builder(Share::Whole).build().unwrap();
        return runtime.block_on(upstream::serve(words[at + 1].parse().unwrap()));
    }
    let runtime = runtime::builder(Share::Half).build().unwrap();
    // On a worker thread, as the program's commands are.
    let measuring = runtime.spawn(measure(words, size));
    runtime.block_on(measuring).unwrap();
}

async fn measure(words: Vec<String>, size: Size) {
    let has = |word: &str| words.iter().any(|given| given == word);
    println!("Load average before: {}", cpu_time::load_average());
    if has("--cancelling") {
        return cancelling::run(size).await;
    }
    if let Some(at) = words.iter().position(|word| word == "--streaming") {
        return streaming::run(Duration::from_secs(60) * words[at + 1].parse().unwrap()).await;
    }
    let costs = step_costs::measure();
    if !has("--throughput") {
        Box::pin(latency::run(size)).await;
    }
    if !has("--latency") {
        throughput::run(size, &costs).await;
    }
    println!("\nLoad average after: {}", cpu_time::load_average());
}
