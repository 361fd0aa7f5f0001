//! Time to first token and to the whole answer: straight from the runner, and through the network with and without a
//! ticket at hand, by a relay and straight to the node. The targets take turns, so that what else the machine does
//! falls on all of them.

use std::time::{Duration, Instant};

use fedai_client::core::direct_way::DirectWish;
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

/// The ways a job can take, beside straight from the runner: with a quote first, or with a ticket at hand; by the
/// relay, or straight to the node's own.
const WAYS: [(&str, bool, DirectWish); 4] = [
    ("cold, relay", false, DirectWish::Never),
    ("warm, relay", true, DirectWish::Never),
    ("cold, gateway", false, DirectWish::Auto),
    ("warm, gateway", true, DirectWish::Auto),
];

/// Measures and prints.
pub async fn run(size: Size) {
    let url = upstream::start().await;
    let network = Network::with_gateway(&url, 8).await;
    let (buyer, contacts) = network.buyer("buyer").await;
    let http = reqwest::Client::builder().tcp_nodelay(true).build().unwrap();
    let mut runner = Target::new("runner");
    let mut ways = Vec::new();
    for (name, is_warm, wish) in WAYS {
        let buyer = buyer.clone().going(wish);
        let (_, held) = purchase::buy(&buyer, &contacts, None).await.unwrap();
        ways.push((Target::new(name), buyer, is_warm.then_some(held)));
    }
    let (busy, all) = cpu_time::machine();
    for round in 0..size.rounds + WARM_UP_ROUNDS {
        let is_counted = round >= WARM_UP_ROUNDS;
        let moments = ask_directly(&http, &url).await;
        if is_counted {
            runner.record(&moments);
        }
        for (target, buyer, held) in &mut ways {
            let ticket = match held.take() {
                Some(ticket) => Some(renewed(ticket, buyer, &contacts).await),
                None => None,
            };
            let is_warm = ticket.is_some();
            let outcome = purchase::buy(buyer, &contacts, ticket).await;
            let (moments, rest) = match outcome {
                Ok((moments, rest)) => (Ok(moments), Some(rest)),
                Err(code) => (Err(code), None),
            };
            if is_warm {
                *held = match rest {
                    Some(rest) => Some(rest),
                    None => Some(purchase::buy(buyer, &contacts, None).await.unwrap().1),
                };
            }
            match moments {
                Ok(moments) if is_counted => target.record(&moments),
                Err(code) if is_counted => target.errors.push(code),
                _ => {}
            }
        }
    }
    let (busy_after, all_after) = cpu_time::machine();
    let targets: Vec<Target> =
        std::iter::once(runner).chain(ways.into_iter().map(|(target, ..)| target)).collect();
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

fn print(targets: &[Target], rounds: usize) {
    println!(
        "\n### Latency ({rounds} rounds, one at a time, targets in turn; milliseconds, p50 / p95 / p99)\n"
    );
    let heading = |targets: &[Target]| {
        let names: Vec<&str> = targets.iter().map(|target| target.name).collect();
        println!("| | {} |\n|{}", names.join(" | "), "---|".repeat(names.len() + 1));
    };
    type Pick = fn(&Target) -> &Histogram<u64>;
    let rows: [(&str, Pick); 4] = [
        ("first token", |target| &target.first),
        ("answer complete", |target| &target.complete),
        ("receipt checked (whole ms)", |target| &target.checked),
        ("receipt and word on it kept on disk", |target| &target.settled),
    ];
    heading(targets);
    for (name, pick) in rows {
        let cells = targets.iter().map(|target| cell(|quantile| at(pick(target), quantile)));
        println!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    println!(
        "\nAdded to the runner's own: difference of the percentiles above, not percentiles of differences.\n"
    );
    let Some((runner, ways)) = targets.split_first() else { return };
    heading(ways);
    for (name, pick) in rows.iter().take(2) {
        let added =
            |target: &Target| cell(|quantile| at(pick(target), quantile) - at(pick(runner), quantile));
        println!("| {name} | {} |", ways.iter().map(added).collect::<Vec<_>>().join(" | "));
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
