//! Several routers answer one round: honest ones decide it, liars only when nobody else says anything.

use fedai_protocol::quote::{QuoteCheckError, QuoteOutcome};
use fedai_protocol::quote_request::Mode;
use fedai_protocol::{RefusalCode, UnixSeconds};

use super::super::fixture_tests::{Market, NOW, micros};
use super::*;

enum Says {
    No(Refusal),
    Lie,
    Late,
}

/// Each answer comes from a router of its own.
fn conclude(answers: Vec<Says>) -> RoundResult {
    let mut round = QuoteRound::new(micros(0), answers.len());
    for (n, says) in (0..).zip(answers) {
        let mut market = Market::new(1);
        market.entropy.0 += 1_000 * (n + 1);
        market.router = fedai_protocol::SigningKey::generate(&mut market.entropy);
        let question = market.question();
        round.asked(question);
        let reply = match says {
            Says::No(refusal) => market.reply(&question, QuoteOutcome::Refusal(refusal)),
            Says::Lie => {
                let mut quote = market.quote(&question, &[0]);
                quote.dispatch = None;
                market.reply(&question, QuoteOutcome::Quote(Box::new(quote)))
            }
            Says::Late => {
                let mut quote = market.quote(&question, &[0]);
                quote.expires_at = UnixSeconds(NOW.0 - 1);
                market.reply(&question, QuoteOutcome::Quote(Box::new(quote)))
            }
        };
        round.reply(NOW.micros(), &reply, &market.spec(), &[]);
    }
    round.conclude(Mode::Balanced)
}

fn code(result: &RoundResult) -> RefusalCode {
    result.refusal.as_ref().unwrap().code
}

fn busy() -> Says {
    Says::No(Refusal::new(RefusalCode::Busy, "full").retry_after(1_000))
}

fn none() -> Says {
    Says::No(Refusal::new(RefusalCode::NoNode, "none"))
}

#[test]
fn a_refusal_worth_a_later_try_is_kept_whatever_the_order() {
    assert_eq!(code(&conclude(vec![busy(), none()])), RefusalCode::Busy);
    assert_eq!(code(&conclude(vec![none(), busy()])), RefusalCode::Busy);
    assert_eq!(code(&conclude(vec![none(), none()])), RefusalCode::NoNode);
}

#[test]
fn a_lie_decides_only_when_no_router_was_honest() {
    for answers in [vec![Says::Lie, none()], vec![none(), Says::Lie]] {
        let result = conclude(answers);
        assert_eq!((code(&result), result.dishonest), (RefusalCode::NoNode, None));
    }
    let result = conclude(vec![Says::Lie]);
    assert_eq!(code(&result), RefusalCode::Malformed);
    assert!(result.dishonest.is_some());
}

#[test]
fn what_came_too_late_is_no_lie() {
    let result = conclude(vec![Says::Late]);
    assert_eq!((code(&result), result.dishonest), (RefusalCode::Expired, None));
    assert!(!QuoteProblem::Nodes(QuoteCheckError::Expired).is_dishonest());
}
