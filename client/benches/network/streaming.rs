//! Many long answers at once through one node: tokens a second, whether any is lost, and the memory of each process.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fedai_client::core::direct_way::DirectWish;
use fedai_client::shell::buyer::{Buyer, OutputSink, RouterContact};
use fedai_protocol::output_stream::OutputLine;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::processes::Network;
use crate::purchase::{self, Wish};
use crate::{cpu_time, upstream};

/// Clients, each with a connection of its own.
const CLIENTS: usize = 50;
/// Tokens of an answer.
const TOKENS: u32 = 1_500;
/// Milliseconds from token to token of one answer: 50 of them make 6,250 tokens a second.
const PAUSE_MS: u64 = 8;
/// Looks at the memory.
const LOOKS: u32 = 6;

#[derive(Default)]
struct Counts {
    tokens: AtomicU64,
    lines: AtomicU64,
    answers: AtomicU64,
    short: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
}

struct Counter<'a> {
    counts: &'a Counts,
    words: u64,
}

impl OutputSink for Counter<'_> {
    fn deliver(&mut self, lines: &[OutputLine]) -> ControlFlow<()> {
        let words: usize = lines.iter().map(|line| line.text.matches("word ").count()).sum();
        self.words += words as u64;
        self.counts.tokens.fetch_add(words as u64, Ordering::Relaxed);
        self.counts.lines.fetch_add(lines.len() as u64, Ordering::Relaxed);
        ControlFlow::Continue(())
    }

    fn restarted(&mut self) {}
}

/// Measures and prints.
pub async fn run(window: Duration) {
    let url = upstream::start().await;
    let network = Network::with_gateway(&url, 64).await;
    let counts = Arc::new(Counts::default());
    let until = Instant::now() + window;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let (buyer, contacts) = network.buyer(&format!("stream-{number}")).await;
        let work = work(buyer.going(DirectWish::Auto), contacts, until, Arc::clone(&counts));
        clients.push(tokio::spawn(work));
    }
    println!(
        "\n### Streaming ({CLIENTS} clients by the gateway, answers of {TOKENS} tokens, one each {PAUSE_MS} ms)\n"
    );
    println!("| after, s | tokens/s | node MB | router MB | relay MB |\n|---|---|---|---|---|");
    let (begun, mut before) = (Instant::now(), (0, Instant::now()));
    for look in 1..=LOOKS {
        let at = begun + (until - begun) * look / LOOKS;
        tokio::time::sleep_until(at.into()).await;
        let tokens = counts.tokens.load(Ordering::Relaxed);
        let rate = (tokens - before.0) as f64 / before.1.elapsed().as_secs_f64();
        before = (tokens, Instant::now());
        let of = |part: &str| network.memory_mb(part);
        println!(
            "| {:.0} | {rate:.0} | {:.1} | {:.1} | {:.1} |",
            begun.elapsed().as_secs_f64(),
            of("node"),
            of("router"),
            of("relay")
        );
    }
    for client in clients {
        client.await.unwrap();
    }
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "\n{} answers, {} of them short of a token, {} tokens in {} lines, errors {:?}; load average {}.",
        load(&counts.answers),
        load(&counts.short),
        load(&counts.tokens),
        load(&counts.lines),
        counts.errors.lock().await,
        cpu_time::load_average()
    );
}

async fn work(buyer: Buyer, contacts: Vec<RouterContact>, until: Instant, counts: Arc<Counts>) {
    let wish = Wish { prompt: format!("pace {PAUSE_MS}"), tokens: TOKENS };
    let mut held = None;
    while Instant::now() < until {
        let mut sink = Counter { counts: &counts, words: 0 };
        let cancel = CancellationToken::new();
        let spec = purchase::spec(&contacts, &wish);
        match buyer.run(spec, &contacts, held.take(), &mut sink, &cancel).await {
            Ok(bought) => {
                let is_whole = sink.words == u64::from(TOKENS)
                    && bought.answer.usage.output_tokens.get() == sink.words
                    && bought.answer.settlement.verdict.is_ok();
                counts.answers.fetch_add(1, Ordering::Relaxed);
                counts.short.fetch_add(u64::from(!is_whole), Ordering::Relaxed);
                held = Some(bought.held);
            }
            Err(failure) => {
                let code = failure.refusal.code.as_str().to_owned();
                *counts.errors.lock().await.entry(code).or_default() += 1;
            }
        }
    }
    buyer.close().await;
}
