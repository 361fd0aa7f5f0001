//! How the scheduler spreads work: by capacity and price, with a bounded share for newcomers, away from busy nodes,
//! and with the previous node while it is worth it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use fedai_protocol::quote_request::Mode;
use fedai_protocol::router_profile::RouterFee;
use fedai_protocol::{PublicKey, QuoteRequest, UnixMicros};
use fedai_router_agent::core::candidate::{CandidateView, Fleet, FleetPrior, OfferFacts};
use fedai_router_agent::core::filter::FilterCode;
use fedai_router_agent::core::policy::Policy;
use fedai_router_agent::core::scheduler::{Asked, Scratch, plan};
use world::{MODEL, START, event_id, price, request};

const NOW: UnixMicros = START.micros();

fn node(n: u8) -> PublicKey {
    PublicKey::from_byte_array([n; 32])
}

/// A healthy node with a record.
fn row(n: u8) -> CandidateView {
    let price = price(1_000_000, 1_000_000);
    CandidateView {
        node: node(n),
        offer: event_id(u64::from(n)),
        facts: Arc::new(OfferFacts {
            slug: "x".into(),
            price,
            slots: 4,
            quantization: Some("q4".into()),
            modalities: vec!["text".into()],
            features: vec!["tools".into()],
            regions: vec!["DE".into()],
        }),
        input_price: 1.0,
        output_price: 1.0,
        request_price: 0.0,
        counted_input: 1.0,
        counted_output: 1.0,
        context_tokens: 8_192,
        output_tokens_max: 2_048,
        payment: 1,
        is_text: true,
        is_active: true,
        takes_router: true,
        lease_until: START.plus(100),
        heard_at: NOW,
        slots: 4.0,
        learned_cap: 0.0,
        rtt_ms: 100.0,
        prefill_ms: 1.0,
        prefill_sd_ms: 0.1,
        decode_ms: 20.0,
        decode_job_ms: 0.0,
        decode_sd_ms: 2.0,
        ttft_p95_ms: 0,
        in_flight: 0,
        load_at: UnixMicros(0),
        load_jobs: 0,
        sent_since_load: 0,
        others: 0.5,
        breaker_until: UnixMicros(0),
        is_probing: false,
        p_ok: 0.9,
        trust: 0.9,
        has_misbehaved: false,
    }
}

fn shares(rows: Vec<CandidateView>, request: &QuoteRequest) -> BTreeMap<PublicKey, f64> {
    let fleet = Fleet::new(MODEL.into(), FleetPrior { slots: 4.0, ..FleetPrior::default() }, rows);
    let asked = Asked { id: event_id(1), request, fee: RouterFee::default(), methods: 1 };
    let mut shares: BTreeMap<PublicKey, f64> = BTreeMap::new();
    for seed in 0..4_000 {
        let decision =
            plan(NOW, seed, &asked, &Policy::default(), &[&fleet], &mut Scratch::default()).unwrap();
        *shares.entry(decision.choices[0].node).or_default() += 1.0 / 4_000.0;
    }
    shares
}

#[test]
fn each_hard_filter_has_its_code() {
    type Change = fn(&mut CandidateView, &mut QuoteRequest);
    let table: [(FilterCode, Change); 13] = [
        (FilterCode::LeaseExpired, |row, _| row.lease_until = START),
        (FilterCode::NotActive, |row, _| row.is_active = false),
        (FilterCode::RouterNotAccepted, |row, _| row.takes_router = false),
        (FilterCode::NodeExcluded, |_, request| request.constraints.not_nodes = vec![node(1)]),
        (FilterCode::Quantization, |_, request| request.wanted.quantizations = vec!["q8".into()]),
        (FilterCode::Modality, |row, _| row.is_text = false),
        (FilterCode::Feature, |_, request| request.wanted.features = vec!["json".into()]),
        (FilterCode::Region, |_, request| request.constraints.regions = vec!["FR".into()]),
        (FilterCode::Context, |row, _| row.context_tokens = 700),
        (FilterCode::MaxTokens, |row, _| row.output_tokens_max = 255),
        (FilterCode::Payment, |row, _| row.payment = 2),
        (FilterCode::PriceCeiling, |_, request| {
            request.max_cost = Some(fedai_protocol::Msat::saturating(512 + 256 - 1));
        }),
        (FilterCode::Saturated, |row, _| row.in_flight = 16),
    ];
    for (code, change) in table {
        let (mut row, mut request) = (row(1), request(Mode::Balanced));
        change(&mut row, &mut request);
        let fleet = Fleet::new(MODEL.into(), FleetPrior::default(), vec![row]);
        let asked = Asked { id: event_id(1), request: &request, fee: RouterFee::default(), methods: 1 };
        let none = plan(NOW, 1, &asked, &Policy::default(), &[&fleet], &mut Scratch::default()).unwrap_err();
        assert_eq!(none.rejected, vec![(code, 1)], "{}", code.as_str());
    }
}

#[test]
fn exactly_the_ceiling_is_affordable() {
    let mut request = request(Mode::Balanced);
    request.max_cost = Some(fedai_protocol::Msat::saturating(512 + 256));
    assert_eq!(shares(vec![row(1)], &request).len(), 1);
}

#[test]
fn soft_filters_are_relaxed_only_when_nothing_else_is_left_and_it_is_said() {
    let silent = CandidateView { heard_at: START.minus(1_000).micros(), ..row(1) };
    let broken = CandidateView { breaker_until: NOW.plus_seconds(10), ..row(2) };
    let request_balanced = request(Mode::Balanced);
    let both = shares(vec![silent.clone(), row(3)], &request_balanced);
    assert_eq!(both.keys().copied().collect::<Vec<_>>(), vec![node(3)]);
    let asked = Asked { id: event_id(1), request: &request_balanced, fee: RouterFee::default(), methods: 1 };
    let fleet = Fleet::new(MODEL.into(), FleetPrior::default(), vec![silent, broken.clone()]);
    let decision = plan(NOW, 1, &asked, &Policy::default(), &[&fleet], &mut Scratch::default()).unwrap();
    assert_eq!(decision.choices[0].node, node(1), "staleness is given up before the breaker");
    assert_eq!(decision.record.relaxed, vec!["stale"]);
    let fleet = Fleet::new(MODEL.into(), FleetPrior::default(), vec![broken]);
    let decision = plan(NOW, 1, &asked, &Policy::default(), &[&fleet], &mut Scratch::default()).unwrap();
    assert_eq!(decision.record.relaxed, vec!["stale", "trust_floor", "breaker_open"]);
}

#[test]
fn a_decision_says_what_chance_did_and_whom_other_rules_would_have_chosen() {
    let request = request(Mode::Balanced);
    // Only one is dear, and all that is known of another one is nothing.
    let unproven = CandidateView { p_ok: 0.0, ..row(3) };
    let rows = vec![row(1), CandidateView { decode_ms: 90.0, ..row(2) }, unproven];
    let fleet = Fleet::new(MODEL.into(), FleetPrior { slots: 4.0, ..FleetPrior::default() }, rows);
    let asked = Asked { id: event_id(1), request: &request, fee: RouterFee::default(), methods: 1 };
    let policy = Policy { draws: 2, exploration_share: 0.3, ..Policy::default() };
    let mut explored = 0;
    for seed in 0..200 {
        let decision = plan(NOW, seed, &asked, &policy, &[&fleet], &mut Scratch::default()).unwrap();
        let (record, chosen) = (&decision.record, decision.choices[0].node);
        let (draw, other) = (record.draw.as_ref().unwrap(), record.counterfactual.unwrap());
        assert_eq!((draw.drawn.len(), draw.exploration), (2, 0.3));
        assert!(draw.drawn.iter().all(|drawn| (0.0..1.0).contains(&drawn.number)));
        let least = record.candidates.iter().filter_map(|c| Some((c.terms?.utility_msat, c.node)));
        let least = least.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        assert_eq!((other.best.utility_msat, other.best.node), least);
        let by_draw = other.drawn.unwrap();
        assert!(draw.drawn.iter().any(|drawn| drawn.node == by_draw.node));
        match draw.explored {
            Some(tried) => assert_eq!((chosen, draw.number < 0.3), (tried.node, true)),
            None => assert_eq!(chosen, by_draw.node, "nothing but the draw decided"),
        }
        assert!(other.runner_up.is_none_or(|next| next.node != chosen));
        explored += usize::from(draw.explored.is_some());
    }
    assert!((30..90).contains(&explored), "{explored}");
}

#[test]
fn exploration_leaves_out_who_is_known_to_be_dear_or_has_a_job_of_ours() {
    let request = request(Mode::Balanced);
    let asked = Asked { id: event_id(1), request: &request, fee: RouterFee::default(), methods: 1 };
    let policy = Policy { exploration_share: 1.0, ..Policy::default() };
    let slow = CandidateView { p_ok: 0.0, decode_ms: 500.0, prefill_ms: 50.0, ..row(2) };
    let tried = CandidateView { p_ok: 0.0, in_flight: 1, ..row(3) };
    let idle = CandidateView { p_ok: 0.0, ..row(4) };
    for (row_of_unproven, is_tried) in [(slow, false), (tried, false), (idle, true)] {
        let proven = CandidateView { p_ok: 1.0, ..row(1) };
        let fleet = Fleet::new(MODEL.into(), FleetPrior::default(), vec![proven, row_of_unproven]);
        let decision = plan(NOW, 1, &asked, &policy, &[&fleet], &mut Scratch::default()).unwrap();
        assert_eq!(decision.record.draw.as_ref().unwrap().explored.is_some(), is_tried);
    }
}

#[test]
fn a_client_is_to_wait_as_long_as_the_next_node_is_no_better() {
    let request = request(Mode::Balanced);
    let asked = Asked { id: event_id(1), request: &request, fee: RouterFee::default(), methods: 1 };
    let patience = |second: CandidateView| {
        let fleet = Fleet::new(MODEL.into(), FleetPrior::default(), vec![row(1), second]);
        let policy = Policy { draws: 8, exploration_share: 0.0, ..Policy::default() };
        let decision = plan(NOW, 1, &asked, &policy, &[&fleet], &mut Scratch::default()).unwrap();
        assert_eq!(decision.choices[0].node, node(1));
        let all: Vec<Option<u64>> = decision.choices.iter().map(|choice| choice.patience_ms).collect();
        assert_eq!(all[1], Some(100), "at the last one hardly more than expected");
        all[0].unwrap()
    };
    let next = |rtt_ms: f64| CandidateView { rtt_ms: row(2).rtt_ms + rtt_ms, ..row(2) };
    let (alike, slower) = (patience(next(1.0)), patience(next(701.0)));
    assert!((95..=110).contains(&alike), "no longer than going on takes: {alike}");
    assert!((695..=705).contains(&(slower - alike)), "seven tenths of a second longer: {alike} {slower}");
}

#[test]
fn the_trusted_mode_never_relaxes_its_floor() {
    let request = request(Mode::Trusted);
    let fleet =
        Fleet::new(MODEL.into(), FleetPrior::default(), vec![CandidateView { trust: 0.89, ..row(1) }]);
    let asked = Asked { id: event_id(1), request: &request, fee: RouterFee::default(), methods: 1 };
    let none = plan(NOW, 1, &asked, &Policy::default(), &[&fleet], &mut Scratch::default()).unwrap_err();
    assert_eq!(none.rejected, vec![(FilterCode::TrustFloor, 1)]);
}

#[test]
fn a_node_of_twice_the_capacity_gets_more_and_the_small_one_is_not_starved() {
    let big = CandidateView { slots: 8.0, ..row(1) };
    let small = CandidateView { slots: 2.0, ..row(2) };
    let shares = shares(vec![big, small], &request(Mode::Balanced));
    let big = shares[&node(1)];
    assert!((0.7..0.97).contains(&big), "{shares:?}");
}

#[test]
fn the_cheapest_mode_prefers_the_cheap_one_and_the_fastest_mode_the_fast_one() {
    let cheap = CandidateView { output_price: 0.2, input_price: 0.2, decode_ms: 60.0, ..row(1) };
    let fast = CandidateView { decode_ms: 10.0, ..row(2) };
    let both = vec![cheap, fast];
    let policy_is_visible = |mode| {
        let shares = shares(both.clone(), &request(mode));
        shares.get(&node(1)).copied().unwrap_or_default()
    };
    assert!(policy_is_visible(Mode::Cheapest) > 0.5);
    assert!(policy_is_visible(Mode::Fastest) < 0.1);
}

#[test]
fn own_jobs_push_work_elsewhere() {
    let busy = CandidateView { in_flight: 8, ..row(1) };
    let shares = shares(vec![busy, row(2)], &request(Mode::Balanced));
    assert!(shares[&node(2)] > 0.95, "{shares:?}");
}

#[test]
fn a_thousand_newcomers_together_get_a_bounded_share() {
    let mut rows = vec![row(0)];
    rows.extend((1..=200).map(|n| CandidateView { p_ok: 0.0, trust: 0.0, ..row(n) }));
    let request = request(Mode::Balanced);
    let shares = shares(rows, &request);
    let honest = shares[&node(0)];
    // 5 % of the draw, and 1 % of decisions that explore.
    assert!(honest > 0.9, "{honest}");
    let newcomers: f64 = shares.iter().filter(|(key, _)| **key != node(0)).map(|(_, share)| share).sum();
    assert!(newcomers > 0.0, "they are tried");
}

#[test]
fn the_previous_node_is_kept_while_it_is_not_much_dearer() {
    let mut request = request(Mode::Balanced);
    request.previous_node = Some(node(1));
    let equal = shares(vec![row(1), row(2), row(3)], &request);
    assert_eq!(equal.get(&node(1)).copied().unwrap_or_default().round(), 1.0, "{equal:?}");
    let dear = CandidateView { in_flight: 12, ..row(1) };
    let left = shares(vec![dear, row(2), row(3)], &request);
    assert!(left.get(&node(1)).copied().unwrap_or_default() < 0.05, "{left:?}");
}

#[test]
fn who_signed_proof_against_itself_gets_nothing_while_anybody_else_is_there() {
    let request = request(Mode::Balanced);
    let misbehaved = CandidateView { has_misbehaved: true, ..row(1) };
    let both = shares(vec![misbehaved.clone(), row(2)], &request);
    assert_eq!(both.keys().copied().collect::<Vec<_>>(), vec![node(2)], "nor is it tried out");
    let asked = Asked { id: event_id(1), request: &request, fee: RouterFee::default(), methods: 1 };
    let broken = CandidateView { breaker_until: NOW.plus_seconds(10), ..row(2) };
    for (other, chosen) in [(vec![broken], node(2)), (vec![], node(1))] {
        let rows = other.into_iter().chain([misbehaved.clone()]).collect();
        let fleet = Fleet::new(MODEL.into(), FleetPrior::default(), rows);
        let decision = plan(NOW, 1, &asked, &Policy::default(), &[&fleet], &mut Scratch::default()).unwrap();
        assert_eq!(decision.choices.iter().map(|choice| choice.node).collect::<Vec<_>>(), vec![chosen]);
        let is_said = decision.record.relaxed.contains(&"misbehaved".to_owned());
        assert_eq!(is_said, chosen == node(1), "given up last, and said: {:?}", decision.record.relaxed);
    }
}
