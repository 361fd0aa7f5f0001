//! Time of one decision by number of candidates: `cargo bench -p fedai-router-agent`.
//!
//! Medians of many short rounds, so that other work on the machine lands in few of them; one decision is the whole of
//! `plan`, with its record.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::Instant;

use fedai_protocol::payment_offer::PaymentMethod;
use fedai_protocol::quote_request::{Constraints, Mode, ModelWanted};
use fedai_protocol::router_profile::RouterFee;
use fedai_protocol::{
    EventId, Msat, MsatPerMtok, Price, PublicKey, QuoteRequest, Tokens, UnixMicros, UnixSeconds,
    domain_separation::digest,
};
use fedai_router_agent::core::candidate::{CandidateView, Fleet, FleetPrior, OfferFacts};
use fedai_router_agent::core::policy::Policy;
use fedai_router_agent::core::scheduler::{Asked, Scratch, plan};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const ROUNDS: usize = 401;
/// Candidates judged in one round: about a millisecond.
const ROUND_CANDIDATES: u64 = 50_000;

fn row(n: u64) -> CandidateView {
    let bytes = digest("bench", &[&n.to_be_bytes()]);
    let (price, speed) = (500_000 + u64::from(bytes[0]) * 4_000, 10.0 + f64::from(bytes[1]) / 4.0);
    let facts = OfferFacts {
        slug: "x".into(),
        price: Price {
            input: MsatPerMtok::saturating(price),
            output: MsatPerMtok::saturating(price * 3),
            ..Price::FREE
        },
        slots: 4,
        quantization: None,
        modalities: vec!["text".into()],
        features: vec![],
        regions: vec![],
    };
    CandidateView {
        node: PublicKey::from_byte_array(bytes),
        offer: EventId::from_byte_array(bytes),
        facts: Arc::new(facts),
        input_price: price as f64 / 1e6,
        output_price: price as f64 * 3e-6,
        request_price: 0.0,
        counted_input: 1.0,
        counted_output: 1.0,
        context_tokens: 8_192,
        output_tokens_max: 2_048,
        payment: 1,
        is_text: true,
        is_active: true,
        takes_router: true,
        lease_until: NOW.plus(if bytes[3] < 10 { 0 } else { 600 }),
        heard_at: NOW.micros(),
        slots: 4.0,
        learned_cap: 0.0,
        rtt_ms: 50.0 + f64::from(bytes[4]),
        prefill_ms: 1.0,
        prefill_sd_ms: 0.2,
        decode_ms: speed,
        decode_job_ms: speed / 40.0,
        decode_sd_ms: speed / 8.0,
        ttft_p95_ms: 900,
        in_flight: u32::from(bytes[5] % 6),
        load_at: NOW.minus(u64::from(bytes[6] % 20)).micros(),
        load_jobs: u32::from(bytes[7] % 8),
        sent_since_load: u32::from(bytes[8] % 3),
        others: 0.5,
        breaker_until: UnixMicros(0),
        is_probing: false,
        p_ok: f64::from(bytes[9]) / 256.0,
        trust: f64::from(bytes[10]) / 256.0,
        has_misbehaved: false,
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn main() {
    println!("| candidates | fastest | median | 95 % within |\n|---|---|---|---|");
    for count in [100_u64, 1_000, 10_000] {
        let fleet = Fleet::new("m".into(), FleetPrior::default(), (0..count).map(row).collect());
        let request = QuoteRequest {
            router: None,
            wanted: ModelWanted { model: Some("m".into()), ..ModelWanted::default() },
            prompt_tokens: Tokens::saturating(512),
            max_output_tokens: Tokens::saturating(256),
            max_cost: Some(Msat::saturating(1_000_000)),
            mode: Mode::Balanced,
            constraints: Constraints { payment: vec![PaymentMethod::Free], ..Constraints::default() },
            uses: 1,
            accept_auto: true,
            previous_node: None,
            expires_at: NOW.plus(60),
        };
        let id = EventId::all_zeros();
        let asked = Asked { id, request: &request, fee: RouterFee::default(), methods: 1 };
        let (policy, mut scratch) = (Policy::default(), Scratch::default());
        let decisions = ROUND_CANDIDATES / count;
        let mut rounds: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let began = Instant::now();
                for seed in 0..decisions {
                    let plan = plan(NOW.micros(), seed, &asked, &policy, &[&fleet], &mut scratch);
                    std::hint::black_box(plan.unwrap());
                }
                began.elapsed().as_secs_f64() * 1e6 / decisions as f64
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        let [fastest, median, most] = [0, ROUNDS / 2, ROUNDS * 95 / 100].map(|at| rounds[at]);
        println!("| {count} | {fastest:.1} µs | {median:.1} µs | {most:.1} µs |");
    }
}
