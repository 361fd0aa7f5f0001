//! Judging from columns and judging from rows is the same, bit for bit, for candidates of every kind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use fedai_protocol::payment_offer::PaymentMethod;
use fedai_protocol::quote_request::{Constraints, Mode, ModelWanted};
use fedai_protocol::router_profile::RouterFee;
use fedai_protocol::{
    EventId, Msat, MsatPerMtok, Price, PublicKey, QuoteRequest, Tokens, UnixMicros, UnixSeconds,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use super::super::candidate::{FleetPrior, OfferFacts};
use super::super::policy::Policy;
use super::*;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fn row(rng: &mut ChaCha8Rng) -> CandidateView {
    let mut upto = |n: u64| rng.next_u64() % n;
    let (input, output) = (upto(3_000_000), upto(9_000_000));
    let mut key = [0; 32];
    key[..8].copy_from_slice(&upto(60).to_be_bytes());
    let mut offer = [1; 32];
    offer[..8].copy_from_slice(&upto(u64::MAX).to_be_bytes());
    let price = Price {
        input: MsatPerMtok::saturating(input),
        output: MsatPerMtok::saturating(output),
        ..Price::FREE
    };
    CandidateView {
        node: PublicKey::from_byte_array(key),
        offer: EventId::from_byte_array(offer),
        facts: Arc::new(OfferFacts {
            slug: "x".into(),
            price,
            slots: 4,
            quantization: None,
            modalities: vec!["text".into()],
            features: vec![],
            regions: vec![],
        }),
        input_price: input as f64 / 1e6,
        output_price: output as f64 / 1e6,
        request_price: 0.0,
        counted_input: 1.0,
        counted_output: 1.0 + upto(3) as f64 * 0.2,
        context_tokens: 2_048 << upto(3),
        output_tokens_max: 128 << upto(4),
        payment: upto(8) as u8,
        is_text: upto(20) > 0,
        is_active: upto(20) > 0,
        takes_router: upto(20) > 0,
        lease_until: NOW.plus(upto(10)),
        heard_at: NOW.minus(upto(500)).micros(),
        slots: upto(16) as f64 / 1.5,
        learned_cap: [0.0, 0.0, 3.0][upto(3) as usize],
        rtt_ms: upto(900) as f64 / 3.0,
        prefill_ms: upto(900) as f64 / 70.0,
        prefill_sd_ms: upto(90) as f64 / 70.0,
        decode_ms: upto(9_000) as f64 / 70.0,
        decode_job_ms: upto(90) as f64 / 70.0,
        decode_sd_ms: upto(90) as f64 / 7.0,
        ttft_p95_ms: upto(5_000),
        in_flight: upto(12) as u32,
        load_at: UnixMicros(NOW.micros().0 - upto(60_000_000)),
        load_jobs: upto(20) as u32,
        sent_since_load: upto(3) as u32,
        others: upto(30) as f64 / 7.0,
        breaker_until: [UnixMicros(0), UnixMicros(0), NOW.plus(5).micros()][upto(3) as usize],
        is_probing: upto(2) == 0,
        p_ok: upto(1_000) as f64 / 1e3,
        trust: upto(1_000) as f64 / 1e3,
        has_misbehaved: upto(12) == 0,
    }
}

fn asked(rng: &mut ChaCha8Rng) -> QuoteRequest {
    let modes = [Mode::Cheapest, Mode::Fastest, Mode::Balanced, Mode::Trusted];
    QuoteRequest {
        router: None,
        wanted: ModelWanted { model: Some("m".into()), ..ModelWanted::default() },
        prompt_tokens: Tokens::saturating(rng.next_u64() % 4_000),
        max_output_tokens: Tokens::saturating(rng.next_u64() % 500),
        max_cost: rng.next_u64().is_multiple_of(2).then(|| Msat::saturating(rng.next_u64() % 9_000)),
        mode: modes[(rng.next_u64() % 4) as usize],
        constraints: Constraints {
            payment: vec![PaymentMethod::Free, PaymentMethod::Ticket],
            ..Constraints::default()
        },
        uses: 1,
        accept_auto: true,
        previous_node: None,
        expires_at: NOW.plus(60),
    }
}

fn judged(fleet: &Fleet, request: &QuoteRequest, policy: &Policy) -> Scratch {
    let fee = RouterFee { flat: Msat::saturating(7), ppm: 20_000 };
    let filter = Filter::new(NOW.micros(), request, policy, fee, 3);
    let prediction = Prediction::new(NOW.micros(), request, policy, fleet);
    let mut scratch = Scratch::default();
    scratch.judge(&[fleet], &[prediction], &filter);
    scratch
}

#[test]
fn columns_and_rows_judge_the_same() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (policy, mut picked) = (Policy::default(), 0);
    for n in 0..300 {
        let rows: Vec<CandidateView> = (0..n % 41).map(|_| row(&mut rng)).collect();
        let fleet = Fleet::new("m".into(), FleetPrior { slots: 4.0, ..FleetPrior::default() }, rows);
        let mut request = asked(&mut rng);
        request.previous_node = fleet.rows().first().map(|row| row.node).filter(|_| n % 3 == 0);
        let by_column = judged(&fleet, &request, &policy);
        // A list of allowed nodes, all of them, has every row looked at.
        request.constraints.only_nodes = fleet.rows().iter().map(|row| row.node).collect();
        let by_row = judged(&fleet, &request, &policy);
        assert_eq!(by_column.blocks, by_row.blocks, "fleet {n}");
        assert_eq!(by_column.counts, by_row.counts);
        assert_eq!(by_column.retry_after_ms, by_row.retry_after_ms);
        picked += (0..fleet.rows().len()).filter(|at| by_column.is_eligible(*at)).count();
    }
    assert!(picked > 200, "the samples say something: {picked}");
}

#[test]
fn a_changed_fleet_is_judged_like_one_made_anew() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let rows: Vec<CandidateView> = (0..40).map(|_| row(&mut rng)).collect();
    let mut grown = Fleet::new("m".into(), FleetPrior::default(), rows[..20].to_vec());
    for row in &rows[20..] {
        grown.insert(row.clone());
    }
    for row in &rows[5..12] {
        grown.remove(&row.node, &row.offer);
    }
    grown.change(&rows[30].node, |row| row.in_flight += 3);
    let anew = Fleet::new("m".into(), FleetPrior::default(), grown.rows().to_vec());
    assert_eq!(grown, anew);
}
