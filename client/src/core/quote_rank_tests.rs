//! Which quote wins, mode by mode.

use fedai_protocol::decision_record::{Candidate, DecisionRecord, Terms, Verdict};
use fedai_protocol::{EventId, Msat, UnixMicros};

use super::super::fixture_tests::{Market, NOW};
use super::super::quote_check::check_reply;
use super::*;

/// A quote of a router of its own: claimed time, price, time that it took to answer, claimed trust.
fn quote(n: u64, ttft_ms: u64, cost: u64, answered_ms: u64, trust: Option<f64>) -> RankedTicket {
    let mut market = Market::new(1);
    market.entropy.0 += 1_000 * (n + 1);
    market.router = fedai_protocol::SigningKey::generate(&mut market.entropy);
    let question = market.question();
    let reply = market.good_reply(&question, &[0]);
    let mut ticket = check_reply(&reply, &question, &market.spec(), &[], NOW).unwrap();
    ticket.nodes[0].expected_ttft_ms = ttft_ms;
    ticket.ceiling = Msat::saturating(cost);
    ticket.record = trust.map(|trust| {
        let terms = Terms { trust, ..Terms::default() };
        let candidate = Candidate {
            node: ticket.nodes[0].node,
            offer: EventId::all_zeros(),
            verdict: Verdict::Chosen,
            code: None,
            terms: Some(terms),
        };
        Box::new(DecisionRecord {
            request: question.request,
            at: UnixMicros(0),
            mode: Mode::Trusted,
            strategy: String::new(),
            seed: 0,
            candidates: vec![candidate],
            considered: 1,
            relaxed: vec![],
            draw: None,
            counterfactual: None,
            regret_msat: 0.0,
            ceiling: Msat::ZERO,
        })
    });
    RankedTicket { ticket, answered_ms }
}

/// Place of the winner.
fn winner(mode: Mode, quotes: &[RankedTicket]) -> usize {
    let best = best(quotes.to_vec(), mode).unwrap();
    quotes.iter().position(|quote| quote.ticket.router == best.router).unwrap()
}

#[test]
fn each_mode_takes_what_it_values() {
    let quotes = [
        quote(0, 100, 1_000, 20, Some(0.5)),
        quote(1, 5_000, 100, 20, Some(0.95)),
        quote(2, 300, 300, 20, Some(0.2)),
    ];
    assert_eq!(winner(Mode::Cheapest, &quotes), 1);
    assert_eq!(winner(Mode::Fastest, &quotes), 0);
    assert_eq!(winner(Mode::Balanced, &quotes), 2);
    assert_eq!(winner(Mode::Trusted, &quotes), 1);
}

#[test]
fn a_claim_below_what_the_router_took_to_answer_is_not_believed() {
    let quotes = [quote(0, 1, 500, 900, None), quote(1, 300, 500, 20, None)];
    assert_eq!(winner(Mode::Fastest, &quotes), 1);
}

#[test]
fn a_millisecond_less_buys_nothing_and_the_price_decides() {
    let quotes = [quote(0, 299, 900, 20, None), quote(1, 300, 100, 20, None)];
    assert_eq!(winner(Mode::Fastest, &quotes), 1);
    let zero = [quote(0, 0, 900, 5, None), quote(1, 40, 100, 5, None)];
    assert_eq!(winner(Mode::Fastest, &zero), 1, "nobody is faster than what is believed at all");
}

#[test]
fn more_trust_than_the_floor_has_no_weight() {
    let quotes = [quote(0, 300, 900, 20, Some(1.0)), quote(1, 300, 100, 20, Some(0.91))];
    assert_eq!(winner(Mode::Trusted, &quotes), 1);
    let unexplained = [quote(0, 300, 100, 20, None), quote(1, 300, 900, 20, Some(0.91))];
    assert_eq!(winner(Mode::Trusted, &unexplained), 1, "a quote without a record shows no trust");
}

#[test]
fn the_order_of_arrival_does_not_matter() {
    let quotes = [quote(0, 300, 100, 20, None), quote(1, 300, 100, 20, None)];
    let turned = [quotes[1].clone(), quotes[0].clone()];
    assert_eq!(winner(Mode::Balanced, &quotes), 1 - winner(Mode::Balanced, &turned));
}
