//! What holds for every decision, whatever the fleet: hard filters are never crossed, ceilings never exceeded, the
//! order of arrival never shows, and the same inputs give the same bytes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use std::collections::BTreeSet;
use std::sync::Arc;

use fedai_protocol::decision_record::Verdict;
use fedai_protocol::limits::DECISION_CANDIDATES_MAX;
use fedai_protocol::payment_offer::PaymentMethod;
use fedai_protocol::quote_request::Mode;
use fedai_protocol::router_profile::RouterFee;
use fedai_protocol::{Msat, PublicKey, QuoteRequest, UnixMicros};
use fedai_router_agent::core::Recording;
use fedai_router_agent::core::candidate::{CandidateView, Fleet, FleetPrior, OfferFacts, method_bits};
use fedai_router_agent::core::explain::travelling;
use fedai_router_agent::core::filter::Filter;
use fedai_router_agent::core::policy::Policy;
use fedai_router_agent::core::prediction::Prediction;
use fedai_router_agent::core::scheduler::{Asked, Decision, NoCandidate, Scratch, plan};
use proptest::prelude::*;
use world::{MODEL, START, event_id, price, request};

const NOW: UnixMicros = START.micros();
const FEE: RouterFee = RouterFee { flat: Msat::saturating(7), ppm: 20_000 };

prop_compose! {
    fn candidate()(
        seed in 0_u64..50,
        input in 0_u64..3_000_000,
        output in 0_u64..9_000_000,
        slots in 1_u32..16,
        in_flight in 0_u32..20,
        prefill in 0.01_f64..20.0,
        decode in 1.0_f64..200.0,
        lease in 0_u64..3,
        heard in 0_u64..1_000,
        (payment, active, routers) in (0_u8..4, any::<bool>(), 0_u8..10),
        (p_ok, trust) in (0.0_f64..1.0, 0.0_f64..1.0),
        (breaker, load) in (0_u64..3, 0_u32..30),
    ) -> CandidateView {
        let price = price(input, output);
        CandidateView {
            node: PublicKey::from_byte_array([u8::try_from(seed % 17).unwrap(); 32]),
            offer: event_id(seed),
            facts: Arc::new(OfferFacts {
                slug: "x".into(), price, slots, quantization: None, modalities: vec!["text".into()],
                features: vec![], regions: vec![],
            }),
            input_price: input as f64 / 1e6,
            output_price: output as f64 / 1e6,
            request_price: 0.0,
            counted_input: 1.0,
            counted_output: 1.0,
            context_tokens: 4_096,
            output_tokens_max: 1_024,
            payment,
            is_text: true,
            is_active: active || routers > 2,
            takes_router: routers > 0,
            lease_until: if lease == 0 { START } else { START.plus(lease) },
            heard_at: START.minus(heard).micros(),
            slots: f64::from(slots),
            learned_cap: if load == 7 { 2.0 } else { 0.0 },
            rtt_ms: 80.0,
            prefill_ms: prefill,
            prefill_sd_ms: prefill / 4.0,
            decode_ms: decode,
            decode_job_ms: decode / 20.0,
            decode_sd_ms: decode / 4.0,
            ttft_p95_ms: 0,
            in_flight,
            load_at: if load % 2 == 0 { UnixMicros(0) } else { START.minus(3).micros() },
            load_jobs: load,
            sent_since_load: 0,
            others: 0.5,
            breaker_until: UnixMicros(if breaker == 0 { NOW.plus_seconds(10).0 } else { 0 }),
            is_probing: false,
            p_ok,
            trust,
            has_misbehaved: load == 5,
        }
    }
}

prop_compose! {
    fn asked_for()(
        mode in prop_oneof![
            Just(Mode::Cheapest), Just(Mode::Fastest), Just(Mode::Balanced), Just(Mode::Trusted)
        ],
        max_cost in prop_oneof![Just(None), (0_u64..4_000).prop_map(Some)],
        previous in prop_oneof![Just(None), (0_u8..17).prop_map(Some)],
        not in proptest::collection::vec(0_u8..17, 0..3),
    ) -> QuoteRequest {
        let key = |n: u8| PublicKey::from_byte_array([n; 32]);
        let mut request = request(mode);
        request.max_cost = max_cost.map(Msat::saturating);
        request.previous_node = previous.map(key);
        request.constraints.not_nodes = not.into_iter().map(key).collect();
        request
    }
}

/// One offer is one candidate: later duplicates of an id are left out.
fn fleet(mut rows: Vec<CandidateView>) -> Fleet {
    let mut seen = BTreeSet::new();
    rows.retain(|row| seen.insert(row.offer));
    Fleet::new(MODEL.into(), FleetPrior { slots: 4.0, ..FleetPrior::default() }, rows)
}

fn decide(request: &QuoteRequest, fleet: &Fleet, seed: u64) -> Result<Decision, NoCandidate> {
    decide_and_record(request, fleet, seed, Recording::Full)
}

fn decide_and_record(
    request: &QuoteRequest,
    fleet: &Fleet,
    seed: u64,
    recording: Recording,
) -> Result<Decision, NoCandidate> {
    let methods = method_bits(&[PaymentMethod::Free]);
    let asked = Asked { id: event_id(1), request, fee: FEE, methods };
    plan(NOW, seed, &asked, &Policy::default(), &[fleet], &mut Scratch::recording(recording))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_filtered_node_is_never_picked(
        rows in proptest::collection::vec(candidate(), 0..40), request in asked_for(), seed in any::<u64>()
    ) {
        let fleet = fleet(rows);
        let policy = Policy::default();
        let filter = Filter::new(NOW, &request, &policy, FEE, 1);
        let prediction = Prediction::new(NOW, &request, &policy, &fleet);
        let is_hard = |row: &CandidateView| filter.hard(row, prediction.jobs(row)).is_some();
        match decide(&request, &fleet, seed) {
            Ok(decision) => {
                prop_assert!(!decision.choices.is_empty() && decision.choices.len() <= 3);
                let nodes: BTreeSet<PublicKey> = decision.choices.iter().map(|choice| choice.node).collect();
                prop_assert_eq!(nodes.len(), decision.choices.len(), "distinct nodes");
                for choice in &decision.choices {
                    let row = fleet.rows().iter().find(|row| row.offer == choice.offer).unwrap();
                    prop_assert!(!is_hard(row));
                    let floor = policy.of(request.mode);
                    prop_assert!(!floor.trust_floor_is_hard || row.trust >= floor.trust_floor);
                    let soft = filter.soft(row);
                    prop_assert!(soft == 0 || !decision.record.relaxed.is_empty(), "relaxed in silence");
                }
            }
            Err(none) => {
                let floor = policy.of(request.mode);
                let served = fleet.rows().iter().any(|row| {
                    !is_hard(row) && (!floor.trust_floor_is_hard || row.trust >= floor.trust_floor)
                });
                prop_assert!(!served, "somebody could have served");
                prop_assert_eq!(none.considered as usize, fleet.rows().len());
            }
        }
    }

    #[test]
    fn the_ceiling_is_never_exceeded(
        rows in proptest::collection::vec(candidate(), 1..40), request in asked_for(), seed in any::<u64>()
    ) {
        let fleet = fleet(rows);
        if let Ok(decision) = decide(&request, &fleet, seed) {
            for choice in &decision.choices {
                let row = fleet.rows().iter().find(|row| row.offer == choice.offer).unwrap();
                let signed = row.facts.price.ceiling(request.prompt_tokens, request.max_output_tokens).unwrap();
                prop_assert_eq!(choice.max_cost, signed);
                prop_assert!(choice.max_cost.checked_add(decision.fee).unwrap() <= decision.ceiling);
            }
            prop_assert!(request.max_cost.is_none_or(|max| decision.ceiling <= max));
            prop_assert_eq!(decision.record.ceiling, decision.ceiling);
        }
    }

    #[test]
    fn the_order_of_candidates_changes_nothing(
        rows in proptest::collection::vec(candidate(), 1..40), request in asked_for(), seed in any::<u64>()
    ) {
        let straight = fleet(rows);
        let mut reversed = straight.rows().to_vec();
        reversed.reverse();
        let reversed = fleet(reversed);
        prop_assert_eq!(decide(&request, &straight, seed), decide(&request, &reversed, seed));
    }

    #[test]
    fn the_same_seed_and_inputs_give_the_same_bytes(
        rows in proptest::collection::vec(candidate(), 1..40), request in asked_for(), seed in any::<u64>()
    ) {
        let fleet = fleet(rows);
        if let (Ok(one), Ok(two)) = (decide(&request, &fleet, seed), decide(&request, &fleet, seed)) {
            let json = |decision: &Decision| serde_json::to_string(&*decision.record).unwrap();
            prop_assert_eq!(json(&one), json(&two));
            prop_assert_eq!(one.record.digest(), two.record.digest());
        }
    }

    #[test]
    fn a_short_record_changes_nothing_but_the_record(
        rows in proptest::collection::vec(candidate(), 1..60), request in asked_for(), seed in any::<u64>()
    ) {
        let fleet = fleet(rows);
        let full = decide_and_record(&request, &fleet, seed, Recording::Full);
        let short = decide_and_record(&request, &fleet, seed, Recording::Named);
        if let (Ok(full), Ok(short)) = (&full, &short) {
            prop_assert!(short.record.candidates.len() <= full.record.candidates.len());
            let named = |decision: &Decision| (decision.record.draw.clone(), decision.record.counterfactual);
            prop_assert_eq!(named(short), named(full));
        }
        let decided = |decision: Result<Decision, NoCandidate>| {
            decision.map(|decision| (decision.choices, decision.fee, decision.ceiling, decision.hedge_after_ms))
        };
        prop_assert_eq!(decided(short), decided(full));
    }

    #[test]
    fn a_travelling_record_keeps_everybody_who_was_drawn(
        rows in proptest::collection::vec(candidate(), 1..40), request in asked_for(), seed in any::<u64>()
    ) {
        if let Ok(decision) = decide(&request, &fleet(rows), seed) {
            let cut = travelling(&decision.record, DECISION_CANDIDATES_MAX);
            prop_assert!(cut.candidates.len() <= DECISION_CANDIDATES_MAX);
            let chosen = cut.candidates.iter().filter(|c| c.verdict == Verdict::Chosen).count();
            let fallbacks = cut.candidates.iter().filter(|c| c.verdict == Verdict::Fallback).count();
            prop_assert_eq!(chosen, 1);
            prop_assert_eq!(fallbacks + 1, decision.choices.len());
            prop_assert_eq!(cut.clone().cut(), cut, "short enough for the protocol");
        }
    }
}
