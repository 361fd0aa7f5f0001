//! The cryptographic steps of one job on each side, as the code takes them, against the processor time that a job was
//! measured to cost.
//!
//! The number of events is counted on the relay; the steps that belong to each event are read from the code, and
//! `docs/benchmarks.md` names the places. One step's cost is measured here, on one core, just before.

use std::hint::black_box;
use std::time::Instant;

use fedai_protocol::entropy::CountingEntropy;
use fedai_protocol::message::Draft;
use fedai_protocol::sealed_session::Conversation;
use fedai_protocol::{SigningKey, UnixSeconds, VerifiedEvent};

/// Microseconds of one step.
pub struct Costs {
    sign: f64,
    verify: f64,
    agree: f64,
    seal: f64,
}

/// What one run of the throughput part measured.
pub struct Measured {
    pub is_cold: bool,
    pub concurrency: usize,
    /// Session frames of one job.
    pub frames: f64,
    pub per_job_ms: Vec<(&'static str, f64)>,
}

/// Steps of one job on one side.
struct Steps {
    side: &'static str,
    signatures: f64,
    verifications: f64,
    agreements: f64,
    seals: f64,
}

/// Measures the steps.
pub fn measure() -> Costs {
    let mut entropy = CountingEntropy(1);
    let keys: [SigningKey; 2] = std::array::from_fn(|_| SigningKey::generate(&mut entropy));
    let draft = || Draft::new(21_438, vec![], "x".repeat(700), UnixSeconds(1_700_000_000));
    let json = keys[0].sign(draft(), &mut entropy).to_json();
    let conversation = Conversation::derive(&keys[0], &keys[1].public_key()).unwrap();
    let text = "x".repeat(512);
    let sealed = conversation.seal(&text, &mut entropy).unwrap();
    let costs = Costs {
        sign: micros(|| drop(black_box(keys[0].sign(draft(), &mut entropy)))),
        verify: micros(|| drop(black_box(VerifiedEvent::from_json(&json).unwrap()))),
        agree: micros(|| {
            black_box(Conversation::derive(&keys[0], &keys[1].public_key()).unwrap());
        }),
        seal: micros(|| drop(black_box(conversation.open(&sealed).unwrap()))),
    };
    println!("\n| step, 700 bytes | µs |\n|---|---|");
    println!("| signature | {:.1} |\n| verification | {:.1} |", costs.sign, costs.verify);
    println!(
        "| key agreement | {:.1} |\n| seal or unseal under a known key | {:.1} |",
        costs.agree, costs.seal
    );
    costs
}

/// Median of batches, so that one interruption does not move the figure.
fn micros(mut step: impl FnMut()) -> f64 {
    let mut batches: Vec<f64> = (0..60)
        .map(|_| {
            let start = Instant::now();
            (0..50).for_each(|_| step());
            start.elapsed().as_secs_f64() * 1e6 / 50.0
        })
        .collect();
    batches.sort_by(f64::total_cmp);
    batches[batches.len() / 2]
}

/// The steps of one job. `frames` counts the accept, the chunks and the final.
fn steps(is_cold: bool, frames: f64) -> [Steps; 4] {
    let quote = if is_cold { 1.0 } else { 0.0 };
    [
        // Each event is verified as it is taken: request and quote, wrap, frames, receipt, word on the
        // receipt; the word carries the receipt again, which the relay does not look into.
        Steps {
            side: "relay",
            signatures: 0.0,
            verifications: 2.0 * quote + 3.0 + frames,
            agreements: 0.0,
            seals: 0.0,
        },
        // Request verified and opened; ticket and reply signed, reply sealed. Every receipt and word is followed:
        // receipt, word, the receipt inside it, and the sealed proof that the ticket was the client's.
        Steps {
            side: "router",
            signatures: 2.0 * quote,
            verifications: quote + 4.0,
            agreements: quote + 1.0,
            seals: 2.0 * quote + 1.0,
        },
        // Wrap, seal and a new ticket verified, two layers opened; one agreement for the session; voucher, frames,
        // receipt.
        Steps {
            side: "node",
            signatures: 1.0 + frames + 1.0,
            verifications: 2.0 + quote,
            agreements: 2.0 + quote,
            seals: 2.0 + frames,
        },
        // Request; reply with offer, descriptor and ticket inside; wrap and seal; frames, voucher, receipt; the word
        // and its proof; two agreements for the next job.
        Steps {
            side: "buyers",
            signatures: quote + 4.0,
            verifications: 4.0 * quote + frames + 2.0,
            agreements: 4.0 * quote + 4.0,
            seals: quote + 3.0 + frames,
        },
    ]
}

/// Prints what the steps add up to, beside what was measured.
pub fn print(costs: &Costs, measured: &[Measured]) {
    println!("\n### Cryptography in a job\n");
    println!(
        "Steps counted, their cost as measured above, and the processor time a job was measured to take.\n"
    );
    println!(
        "| tickets | at once | side | signatures | verifications | agreements | seals | their ms \
         | measured ms | share |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for run in measured {
        for side in steps(run.is_cold, run.frames) {
            let ms = costs.of(&side) / 1e3;
            let Some((_, whole)) = run.per_job_ms.iter().find(|(name, _)| *name == side.side) else {
                continue;
            };
            println!(
                "| {} | {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {ms:.2} | {whole:.2} | {:.0} % |",
                if run.is_cold { "cold" } else { "warm" },
                run.concurrency,
                side.side,
                side.signatures,
                side.verifications,
                side.agreements,
                side.seals,
                100.0 * ms / whole.max(0.001)
            );
        }
    }
}

impl Costs {
    fn of(&self, steps: &Steps) -> f64 {
        steps.signatures * self.sign
            + steps.verifications * self.verify
            + steps.agreements * self.agree
            + steps.seals * self.seal
    }
}
