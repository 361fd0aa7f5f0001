//! Time to first token and to the whole answer: straight from the runner, and through the network with and without a
//! ticket at hand. The targets take turns, so that what else the machine does falls on all of them.

use std::time::{Duration, Instant};

use fedai_client::shell::buyer::HeldTicket;
use hdrhistogram::Histogram;

use crate::processes::Network;
use crate::purchase::{self, Moments};
use crate::{Size, cpu_time, upstream};

const QUANTILES: [(&str, f64); 3] = [("p50", 0.50), ("p95", 0.95), ("p99", 0.99)];
/// Rounds before those that count.
const WARM_UP_ROUNDS: usize = 10;

/// What was measured of one target.
struct Target {
    name: &'static str,
    first: Histogram<u64>,
    complete: Histogram<u64>,
    checked: Histogram<u64>,
    settled: Histogram<u64>,
    retries: usize,
    errors: Vec<String>,
}

impl Target {
    fn new(name: &'static str) -> Self {
        let histogram = || Histogram::new(3).unwrap();
        Self {
            name,
            first: histogram(),
            complete: histogram(),
            checked: histogram(),
            settled: histogram(),
            retries: 0,
            errors: Vec::new(),
        }
    }

    fn record(&mut self, moments: &Moments) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap();
        self.first.record(micros(moments.first)).unwrap();
        self.complete.record(micros(moments.complete)).unwrap();
        self.checked.record(micros(moments.checked)).unwrap();
        self.settled.record(micros(moments.settled)).unwrap();
        self.retries += moments.retries;
    }
}

/// Measures and prints.
pub async fn run(size: Size) {
    let url = upstream::start().await;
    let network = Network::start(&["--runner", &url, "--runner-kind", "openai", "--slots", "8"]).await;
    let (buyer, contacts) = network.buyer("buyer").await;
    let http = reqwest::Client::builder().tcp_nodelay(true).build().unwrap();
    let (_, mut held) = purchase::buy(&buyer, &contacts, None).await.unwrap();
    let mut targets = [Target::new("direct"), Target::new("cold"), Target::new("warm")];
    let (busy, all) = cpu_time::machine();
    for round in 0..size.rounds + WARM_UP_ROUNDS {
        held = renewed(held, &buyer, &contacts).await;
        let direct = ask_directly(&http, &url).await;
        let cold = purchase::buy(&buyer, &contacts, None).await.map(|(moments, _)| moments);
        let warm = match purchase::buy(&buyer, &contacts, Some(held)).await {
            Ok((moments, ticket)) => {
                held = ticket;
                Ok(moments)
            }
            Err(code) => {
                held = purchase::buy(&buyer, &contacts, None).await.unwrap().1;
                Err(code)
            }
        };
        if round < WARM_UP_ROUNDS {
            continue;
        }
        for (target, outcome) in targets.iter_mut().zip([Ok(direct), cold, warm]) {
            match outcome {
                Ok(moments) => target.record(&moments),
                Err(code) => target.errors.push(code),
            }
        }
    }
    let (busy_after, all_after) = cpu_time::machine();
    buyer.close().await;
    print(&targets, size.rounds);
    let share = (busy_after - busy) as f64 / (all_after - all).max(1) as f64;
    println!("\nProcessors busy in all, others' work included: {:.0} %.", share * 100.0);
}

/// A ticket that will cover the next job; a used-up one is replaced outside of what is measured.
async fn renewed(
    held: HeldTicket,
    buyer: &fedai_client::shell::buyer::Buyer,
    contacts: &[fedai_client::shell::buyer::RouterContact],
) -> HeldTicket {
    let left = held.ticket.dispatch.expires_at.since(fedai_relay_bridge::wall_clock::now_seconds());
    if held.used < held.ticket.dispatch.uses && left > 30 {
        return held;
    }
    purchase::buy(buyer, contacts, None).await.unwrap().1
}

/// The same request, streamed straight from the runner over a kept connection.
async fn ask_directly(http: &reqwest::Client, url: &str) -> Moments {
    let body = purchase::request(Some(upstream::MODEL)).to_string();
    let begun = Instant::now();
    let mut answer = http
        .post(format!("{url}/v1/chat/completions"))
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await
        .unwrap();
    let (mut text, mut first) = (Vec::new(), None);
    while let Some(piece) = answer.chunk().await.unwrap() {
        text.extend_from_slice(&piece);
        let has_output = || String::from_utf8_lossy(&text).contains("\"content\":\"word");
        if first.is_none() && has_output() {
            first = Some(begun.elapsed());
        }
        if text.ends_with(b"data: [DONE]\n\n") {
            break;
        }
    }
    let complete = begun.elapsed();
    let whole = String::from_utf8_lossy(&text).into_owned();
    assert!(whole.contains("word15 ") && whole.contains("[DONE]"), "a whole answer");
    Moments { first: first.unwrap(), complete, checked: complete, settled: complete, retries: 0 }
}

fn print(targets: &[Target; 3], rounds: usize) {
    println!("\n### Latency ({rounds} rounds, one at a time, targets in turn; milliseconds)\n");
    println!("| | direct p50 / p95 / p99 | cold p50 / p95 / p99 | warm p50 / p95 / p99 |\n|---|---|---|---|");
    type Pick = fn(&Target) -> &Histogram<u64>;
    let rows: [(&str, Pick); 4] = [
        ("first token", |target| &target.first),
        ("answer complete", |target| &target.complete),
        ("receipt checked (whole ms)", |target| &target.checked),
        ("receipt kept, word on it stored by the relay", |target| &target.settled),
    ];
    for (name, pick) in rows {
        let cells = targets.iter().map(|target| cell(|quantile| at(pick(target), quantile)));
        println!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    println!("\nAdded over direct: difference of the percentiles above, not percentiles of differences.\n");
    println!("| | cold p50 / p95 / p99 | warm p50 / p95 / p99 |\n|---|---|---|");
    for (name, pick) in rows.iter().take(2) {
        let added =
            |target: &Target| cell(|quantile| at(pick(target), quantile) - at(pick(&targets[0]), quantile));
        println!("| {name} | {} | {} |", added(&targets[1]), added(&targets[2]));
    }
    println!();
    for target in targets {
        println!(
            "{}: {} answers, {} retries, errors {:?}",
            target.name,
            target.first.len(),
            target.retries,
            target.errors
        );
    }
}

fn at(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e3
}

fn cell(value: impl Fn(f64) -> f64) -> String {
    QUANTILES.map(|(_, quantile)| format!("{:.2}", value(quantile))).join(" / ")
}
