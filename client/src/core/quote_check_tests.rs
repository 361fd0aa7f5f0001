//! Every lie that a quote can tell, and the honest one.

use fedai_protocol::decision_record::DecisionRecord;
use fedai_protocol::message::{Message, Received};
use fedai_protocol::payment_offer::PaymentMethod;
use fedai_protocol::quote::{QuoteCheckError, QuoteOutcome};
use fedai_protocol::quote_request::Mode;
use fedai_protocol::{Dispatch, Msat, Quote, SigningKey};

use super::super::fixture_tests::{Market, NOW, micros, tokens};
use super::*;

/// Bends an honest quote and says what becomes of it.
fn verdict(bend: impl FnOnce(&mut Market, &Question, &mut Quote)) -> Result<Ticket, QuoteProblem> {
    let mut market = Market::new(3);
    let question = market.question();
    let mut quote = market.quote(&question, &[0, 1]);
    bend(&mut market, &question, &mut quote);
    let reply = market.reply(&question, QuoteOutcome::Quote(Box::new(quote)));
    check_reply(&reply, &question, &market.spec(), &[market.node_key(2)], NOW)
}

/// Bends the dispatch of an honest quote.
fn dispatch_verdict(bend: impl FnOnce(&Market, &mut Dispatch)) -> QuoteProblem {
    verdict(|market, _, quote| {
        let mut dispatch = Dispatch::parse(quote.dispatch.as_ref().unwrap()).unwrap().message;
        bend(market, &mut dispatch);
        let router = market.router.clone();
        quote.dispatch = Some(market.sign(&router, &dispatch));
    })
    .unwrap_err()
}

#[test]
fn an_honest_quote_holds() {
    let ticket = verdict(|_, _, _| {}).unwrap();
    assert_eq!(ticket.nodes.len(), 2);
    assert_eq!(ticket.ceiling, Msat::ZERO);
}

#[test]
fn an_altered_price_is_caught_by_the_nodes_own_offer() {
    let problem = verdict(|_, _, quote| {
        quote.nodes[0].max_cost = Msat::saturating(7);
        quote.ceiling = Msat::saturating(7);
    })
    .unwrap_err();
    assert!(matches!(problem, QuoteProblem::Nodes(QuoteCheckError::Price { .. })), "{problem}");
    assert!(problem.is_dishonest());
}

#[test]
fn a_foreign_offer_is_caught() {
    let problem = verdict(|market, _, quote| {
        let other = market.quoted(1);
        quote.nodes[0].offer = other.offer;
    })
    .unwrap_err();
    assert_eq!(problem, QuoteProblem::Nodes(QuoteCheckError::Mismatch));
}

#[test]
fn an_expired_quote_or_lease_is_refused() {
    assert_eq!(verdict(|_, _, quote| quote.expires_at = NOW.minus(1)).unwrap_err(), QuoteProblem::Expired);
    let mut market = Market::new(1);
    let question = market.question();
    let quote = market.quote(&question, &[0]);
    let reply = market.reply(&question, QuoteOutcome::Quote(Box::new(quote)));
    let late = check_reply(&reply, &question, &market.spec(), &[], NOW.plus(31));
    assert_eq!(late.unwrap_err(), QuoteProblem::Expired);
}

#[test]
fn another_model_fewer_tokens_and_a_higher_ceiling_are_refused() {
    assert_eq!(verdict(|_, _, quote| quote.model = "big".into()).unwrap_err(), QuoteProblem::Model);
    let fewer = verdict(|_, _, quote| quote.max_output_tokens = tokens(99)).unwrap_err();
    assert_eq!(fewer, QuoteProblem::Tokens);
    let mut market = Market::new(1);
    let question = market.question();
    let mut quote = market.quote(&question, &[0]);
    quote.ceiling = Msat::saturating(11);
    let reply = market.reply(&question, QuoteOutcome::Quote(Box::new(quote)));
    let spec = JobSpec { max_cost: Some(Msat::saturating(10)), ..market.spec() };
    let dear = check_reply(&reply, &question, &spec, &[], NOW).unwrap_err();
    assert!(matches!(dear, QuoteProblem::Price { .. }));
}

#[test]
fn what_costs_money_is_refused_and_never_assumed_paid() {
    let problem = verdict(|_, _, quote| quote.ceiling = Msat::saturating(1)).unwrap_err();
    assert!(matches!(problem, QuoteProblem::Payment(_)));
    let problem = dispatch_verdict(|_, dispatch| dispatch.payment = PaymentMethod::Ticket);
    assert_eq!(problem, QuoteProblem::Payment("ticket"));
}

#[test]
fn only_a_way_of_paying_that_the_client_has_is_taken_and_free_is_what_costs_nothing() {
    use PaymentMethod::{Credit, Free, Ticket, Unknown};
    let rows: [(&[PaymentMethod], PaymentMethod, u64, bool); 7] = [
        (&[Free], Free, 0, true),
        (&[Free], Free, 1, false),
        (&[Free], Credit, 1, false),
        (&[Free, Credit], Credit, 1, true),
        (&[Free, Credit], Credit, 0, false),
        (&[Credit], Ticket, 1, false),
        (&[Credit, Unknown], Unknown, 1, false),
    ];
    for (have, method, ceiling, holds) in rows {
        let mut market = Market::new(1);
        let question = market.question();
        let mut quote = market.quote(&question, &[0]);
        let mut dispatch = Dispatch::parse(quote.dispatch.as_ref().unwrap()).unwrap().message;
        dispatch.payment = method;
        let router = market.router.clone();
        quote.dispatch = Some(market.sign(&router, &dispatch));
        quote.ceiling = Msat::saturating(ceiling);
        let reply = market.reply(&question, QuoteOutcome::Quote(Box::new(quote)));
        let mut spec = market.spec();
        spec.constraints.payment = have.to_vec();
        let ticket = check_reply(&reply, &question, &spec, &[], NOW);
        assert_eq!(ticket.is_ok(), holds, "{have:?}, {method:?} and {ceiling} msat");
        assert!(ticket.is_err() || ticket.unwrap().is_free() == (method == Free), "{method:?}");
    }
}

#[test]
fn an_excluded_node_and_another_question_are_refused() {
    let mut market = Market::new(3);
    let question = market.question();
    let reply = market.good_reply(&question, &[2]);
    let avoid = [market.node_key(2)];
    let excluded = check_reply(&reply, &question, &market.spec(), &avoid, NOW).unwrap_err();
    assert_eq!(excluded, QuoteProblem::ExcludedNode);
    let other = market.question();
    let foreign = check_reply(&reply, &other, &market.spec(), &[], NOW).unwrap_err();
    assert_eq!(foreign, QuoteProblem::NotForUs);
}

#[test]
fn a_dispatch_that_says_something_else_is_refused() {
    let missing = verdict(|_, _, quote| quote.dispatch = None).unwrap_err();
    assert_eq!(missing, QuoteProblem::NoDispatch);
    let bends: [fn(&Market, &mut Dispatch); 6] = [
        |market, dispatch| dispatch.client = market.node_key(0),
        |_, dispatch| dispatch.model = "big".into(),
        |_, dispatch| dispatch.max_output_tokens = tokens(1),
        |_, dispatch| dispatch.expires_at = NOW,
        |_, dispatch| dispatch.nodes[0].max_cost = Msat::saturating(1),
        |_, dispatch| dispatch.nodes.truncate(1),
    ];
    for bend in bends {
        let problem = dispatch_verdict(bend);
        assert!(matches!(problem, QuoteProblem::Dispatch(_)), "{problem}");
    }
    let foreign = verdict(|market, _, quote| {
        let dispatch = Dispatch::parse(quote.dispatch.as_ref().unwrap()).unwrap().message;
        let stranger = SigningKey::generate(&mut market.entropy);
        quote.dispatch = Some(market.sign(&stranger, &dispatch));
    });
    assert_eq!(foreign.unwrap_err(), QuoteProblem::Dispatch("signed by somebody else"));
}

#[test]
fn a_dispatch_that_would_not_fit_a_job_open_is_refused() {
    let padded_to = |bytes: usize| {
        verdict(|market, _, quote| {
            let dispatch = Dispatch::parse(quote.dispatch.as_ref().unwrap()).unwrap().message;
            let mut draft = dispatch.draft(&market.router.public_key(), NOW).unwrap();
            let size = quote.dispatch.as_ref().unwrap().to_json().len();
            draft.content.push_str(&" ".repeat(bytes - size));
            quote.dispatch = Some(market.router.sign(draft, &mut market.entropy));
        })
    };
    assert!(padded_to(DISPATCH_BYTES_MAX).is_ok());
    let problem = padded_to(DISPATCH_BYTES_MAX + 1).unwrap_err();
    assert_eq!(problem, QuoteProblem::Dispatch("too large for a job open"));
}

#[test]
fn another_decision_record_than_the_one_committed_to_is_refused() {
    let record = |question: &Question| DecisionRecord {
        request: question.request,
        at: micros(0),
        mode: Mode::Balanced,
        strategy: "test/1".into(),
        seed: 1,
        candidates: Vec::new(),
        considered: 0,
        relaxed: Vec::new(),
        draw: None,
        counterfactual: None,
        regret_msat: 0.5,
        ceiling: Msat::ZERO,
    };
    let good = verdict(|_, question, quote| {
        let record = record(question);
        quote.decision = record.digest();
        quote.record = Some(Box::new(record));
    });
    assert!(good.is_ok());
    let bad = verdict(|_, question, quote| {
        let record = record(question);
        quote.decision = record.digest();
        quote.record = Some(Box::new(DecisionRecord { seed: 2, ..record }));
    });
    assert_eq!(bad.unwrap_err(), QuoteProblem::Record);
}

#[test]
fn a_ticket_covers_what_it_was_quoted_for_and_no_more() {
    let mut market = Market::new(1);
    let question = market.question();
    let reply: Received<QuoteReply> = market.good_reply(&question, &[0]);
    let spec = market.spec();
    let ticket = check_reply(&reply, &question, &spec, &[], NOW).unwrap();
    assert!(ticket.covers(&spec, 7, NOW));
    assert!(!ticket.covers(&spec, 8, NOW), "used up");
    assert!(!ticket.covers(&spec, 0, NOW.plus(596)), "about to expire");
    assert!(ticket.covers(&JobSpec { prompt_tokens: tokens(256), ..spec.clone() }, 0, NOW));
    assert!(!ticket.covers(&JobSpec { prompt_tokens: tokens(257), ..spec }, 0, NOW));
}
