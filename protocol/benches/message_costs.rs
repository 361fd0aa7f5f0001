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

fn row(name: &str, step: impl FnMut()) -> f64 {
    let cost = micros(step);
    println!("| {name} | {cost:.1} |");
    cost
}

fn main() {
    println!("| step | µs (median, one core) |\n|---|---|");
    let (sign, verify, derive, frame_out) = event_steps();
    let (wrap, unwrap, quote) = job_steps();
    println!("\nOne cold job, first token (relay not counted):");
    let client = sign + derive + quote + wrap + derive + 3.0 * verify;
    println!("- client: {client:.0} µs (quote request, quote, wrap, accept with voucher, first frame)");
    let router = verify + derive + 2.0 * sign;
    println!("- router: {router:.0} µs (verify and open the request, sign ticket and quote, seal)");
    let node = verify + unwrap + derive + sign + 2.0 * frame_out;
    println!("- node: {node:.0} µs (verify wrap, unwrap, one key agreement, voucher, accept, first frame)");
}

/// Steps on single events and frames: sign, verify, derive, seal and sign a frame.
fn event_steps() -> (f64, f64, f64, f64) {
    let (keys, mut entropy) = (samples::keys(), CountingEntropy(1));
    let draft = || Draft::new(21_438, vec![], "x".repeat(300), samples::AT);
    let json = keys.node.sign(draft(), &mut entropy).to_json();
    let client = keys.session.public_key();
    let ours = samples::conversation(&keys.node_session, &keys.session);
    let theirs = samples::conversation(&keys.session, &keys.node_session);
    let (_, frame) = samples::frames().remove(1);
    let sealed = frame.seal(&ours, &keys.node_session, &client, samples::AT, &mut entropy).unwrap();
    let sign = row("sign an event of 300 bytes (id + Schnorr)", || {
        black_box(keys.node.sign(draft(), &mut entropy));
    });
    let verify = row("read and verify an event of 300 bytes", || {
        black_box(VerifiedEvent::from_json(&json).unwrap());
    });
    let derive = row("derive a conversation key (ECDH + HKDF)", || {
        black_box(Conversation::derive(&keys.node, &client).unwrap());
    });
    row("seal a frame under a cached key, without signature", || {
        black_box(ours.seal(&" ".repeat(256), &mut entropy).unwrap());
    });
    let frame_out = row("seal and sign a frame", || {
        black_box(frame.seal(&ours, &keys.node_session, &client, samples::AT, &mut entropy).unwrap());
    });
    row("open a verified frame", || {
        black_box(SessionFrame::open(&sealed, &theirs, frame.job, Direction::ToClient).unwrap());
    });
    (sign, verify, derive, frame_out)
}

/// Steps on whole messages: wrap and unwrap a job open, read a quote.
fn job_steps() -> (f64, f64, f64) {
    let (keys, mut entropy) = (samples::keys(), CountingEntropy(2));
    let quote_json = samples::sign(&samples::quote_reply(), &keys.router).to_json();
    let (open, inbox) = (samples::job_open(), keys.inbox.public_key());
    let wrapped = open.wrap(&keys.ticket, &inbox, samples::AT, samples::AT, &mut entropy).unwrap().wrap;
    let wrap = row("wrap a job open (2 signatures, 2 key agreements)", || {
        black_box(open.wrap(&keys.ticket, &inbox, samples::AT, samples::AT, &mut entropy).unwrap());
    });
    let unwrap = row("unwrap a job open (seal and ticket verified, 2 key agreements)", || {
        black_box(JobOpen::unwrap(&wrapped, &keys.inbox).unwrap());
    });
    let quote = row("read a quote with its embedded offer, descriptor and ticket (4 verifications)", || {
        let event = VerifiedEvent::from_json(&quote_json).unwrap();
        black_box(QuoteReply::parse(&event).unwrap());
    });
    (wrap, unwrap, quote)
}
