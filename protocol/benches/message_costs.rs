//! What each cryptographic step of a job costs on this machine, and what the steps of one job add up to.
//!
//! Prints a table; asserts nothing. `cargo bench -p fedai-protocol`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "../tests/samples/mod.rs"]
mod samples;

use std::hint::black_box;
use std::time::{Duration, Instant};

use fedai_protocol::entropy::CountingEntropy;
use fedai_protocol::message::{Draft, Message};
use fedai_protocol::sealed_session::Conversation;
use fedai_protocol::session_frame::Direction;
use fedai_protocol::{JobOpen, QuoteReply, SessionFrame, VerifiedEvent};

/// Median of batches, so that one interruption does not move the figure.
fn micros(mut step: impl FnMut()) -> f64 {
    let mut batches: Vec<f64> = Vec::new();
    let begin = Instant::now();
    while batches.len() < 15 || begin.elapsed() < Duration::from_millis(400) {
        let start = Instant::now();
        for _ in 0..20 {
            step();
        }
        batches.push(start.elapsed().as_secs_f64() * 1e6 / 20.0);
    }
    batches.sort_by(f64::total_cmp);
    batches[batches.len() / 2]
}

fn row(name: &str, cost: f64) -> f64 {
    println!("| {name} | {cost:.1} |");
    cost
}

fn main() {
    let keys = samples::keys();
    let mut entropy = CountingEntropy(1);
    let draft = |bytes: usize| Draft {
        kind: 21_438,
        tags: vec![],
        content: "x".repeat(bytes),
        created_at: samples::AT,
    };
    let quote_json = samples::sign(&samples::quote_reply(), &keys.router).to_json();
    let small_json = keys.node.sign(draft(300), &mut entropy).to_json();
    let inbox = keys.inbox.public_key();
    let open = samples::job_open();
    let wrap = open.wrap(&keys.ticket, &inbox, samples::AT, samples::AT, &mut entropy).unwrap().wrap;
    let ours = samples::conversation(&keys.node_session, &keys.session);
    let theirs = samples::conversation(&keys.session, &keys.node_session);
    let (_, frame) = samples::frames().remove(1);
    let client = keys.session.public_key();
    let sealed = frame.seal(&ours, &keys.node_session, &client, samples::AT, &mut entropy).unwrap();

    println!("| step | µs (median, one core) |\n|---|---|");
    let sign = row(
        "sign an event of 300 bytes (id + Schnorr)",
        micros(|| {
            black_box(keys.node.sign(draft(300), &mut entropy));
        }),
    );
    let verify = row(
        "read and verify an event of 300 bytes",
        micros(|| {
            black_box(VerifiedEvent::from_json(&small_json).unwrap());
        }),
    );
    let derive = row(
        "derive a conversation key (ECDH + HKDF)",
        micros(|| {
            black_box(Conversation::derive(&keys.node, &client).unwrap());
        }),
    );
    row(
        "seal a frame under a cached key, without signature",
        micros(|| {
            black_box(ours.seal(&" ".repeat(256), &mut entropy).unwrap());
        }),
    );
    let frame_out = row(
        "seal and sign a frame",
        micros(|| {
            black_box(frame.seal(&ours, &keys.node_session, &client, samples::AT, &mut entropy).unwrap());
        }),
    );
    row(
        "open a verified frame",
        micros(|| {
            black_box(SessionFrame::open(&sealed, &theirs, frame.job, Direction::ToClient).unwrap());
        }),
    );
    let wrap_cost = row(
        "wrap a job open (2 signatures, 2 key agreements)",
        micros(|| {
            black_box(open.wrap(&keys.ticket, &inbox, samples::AT, samples::AT, &mut entropy).unwrap());
        }),
    );
    let unwrap = row(
        "unwrap a job open (seal and ticket verified, 2 key agreements)",
        micros(|| {
            black_box(JobOpen::unwrap(&wrap, &keys.inbox).unwrap());
        }),
    );
    let quote = row(
        "read a quote with its embedded offer, descriptor and ticket (4 verifications)",
        micros(|| {
            let event = VerifiedEvent::from_json(&quote_json).unwrap();
            black_box(QuoteReply::parse(&event).unwrap());
        }),
    );
    println!("\nOne cold job, first token (relay not counted):");
    println!(
        "- client: {:.0} µs (quote request, quote, wrap, accept with voucher, first frame)",
        sign + derive + quote + wrap_cost + derive + 3.0 * verify
    );
    println!(
        "- router: {:.0} µs (verify and open the request, sign ticket and quote, seal)",
        verify + derive + 2.0 * sign
    );
    println!(
        "- node: {:.0} µs (verify wrap, unwrap, one key agreement, voucher, accept, first frame)",
        verify + unwrap + derive + sign + 2.0 * frame_out
    );
}
