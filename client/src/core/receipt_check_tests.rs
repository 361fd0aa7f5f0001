//! Every dispute code is reached by exactly one bent field; the honest receipt is accepted.

use fedai_protocol::payment_offer::PaymentMethod;
use fedai_protocol::{MsatPerMtok, Price, SigningKey};

use super::super::fixture_tests::{Market, NOW, REQUEST, line, tokens};
use super::super::quote_check::check_reply;
use super::*;

/// An honest job, bent by `bend` (the receipt) and `bend_known` (what the client knows).
fn verdict(
    bend: impl FnOnce(&mut Receipt, &mut Market),
    bend_known: impl for<'a> FnOnce(&mut KnownJob<'a>),
    signer: Option<SigningKey>,
) -> Result<Receipt, ReceiptDispute> {
    let mut market = Market::new(1);
    let question = market.question();
    let reply = market.good_reply(&question, &[0]);
    let ticket = check_reply(&reply, &question, &market.spec(), &[], NOW).unwrap();
    let opened = market.opened(1);
    let stream = [line("red, "), line("green, blue")].concat();
    let mut output = OutputCounter::default();
    output.push(&stream).unwrap();
    let offer = market.quoted(0).offer;
    let mut node = ticket.nodes[0].clone();
    let mut receipt = market.receipt(0, &offer, &ticket.dispatch_event, &opened, &stream);
    receipt.offer = node.offer.id;
    bend(&mut receipt, &mut market);
    let key = signer.unwrap_or_else(|| market.nodes[0].clone());
    let event = market.sign(&key, &receipt);
    let hash = hex::encode(fedai_protocol::job_open::request_hash(REQUEST.as_bytes()));
    // A priced offer, for the checks of amounts.
    if receipt.model_digest.as_deref() == Some("priced") {
        let offer = std::sync::Arc::make_mut(&mut node.offer.message);
        offer.digest = Some("priced".into());
        offer.price = Price { output: MsatPerMtok::saturating(1_000_000), ..Price::FREE };
        node.max_cost = Msat::saturating(4);
    }
    let mut known = KnownJob {
        job: opened.job,
        session: opened.session,
        nonce: &opened.nonce,
        request_hash: &hash,
        request_bytes: REQUEST.len() as u64,
        messages: 1,
        payment: PaymentMethod::Free,
        dispatch: ticket.dispatch_event.id(),
        router: ticket.router,
        node: &node,
        output: &output,
        outcome: Outcome::Complete,
        claimed_sha256: None,
    };
    bend_known(&mut known);
    check_receipt(&event, &known)
}

fn bent(bend: impl FnOnce(&mut Receipt, &mut Market)) -> ReceiptDispute {
    verdict(bend, |_| {}, None).unwrap_err()
}

#[test]
fn an_honest_receipt_is_accepted() {
    assert!(verdict(|_, _| {}, |_| {}, None).is_ok());
}

#[test]
fn each_bent_field_is_disputed_by_its_own_code() {
    use ReceiptDispute as D;
    let other = |market: &Market| market.ticket.public_key();
    assert_eq!(bent(|r, _| r.job = JobId(EventId::all_zeros())), D::WrongJob);
    assert_eq!(bent(|r, _| r.dispatch = EventId::all_zeros()), D::WrongDispatch);
    assert_eq!(bent(|r, m| r.router = other(m)), D::WrongDispatch);
    assert_eq!(bent(|r, m| r.client = other(m)), D::WrongClient);
    assert_eq!(bent(|r, _| r.offer = EventId::all_zeros()), D::WrongOffer);
    assert_eq!(bent(|r, _| r.offer_address.identifier = "x".into()), D::WrongOffer);
    assert_eq!(bent(|r, _| r.model = "big".into()), D::WrongModel);
    assert_eq!(bent(|r, _| r.model_digest = Some("sha256:other".into())), D::WrongModel);
    assert_eq!(bent(|r, _| r.outcome = Outcome::Partial), D::WrongOutcome);
    assert_eq!(bent(|r, _| r.payment.method = PaymentMethod::Credit), D::WrongPayment);
    assert_eq!(bent(|r, _| r.usage.output_bytes += 1), D::UsageBounds);
    assert_eq!(bent(|r, _| r.usage.output_tokens = tokens(1_000)), D::UsageBounds);
    assert_eq!(bent(|r, _| r.usage.input_tokens = tokens(1_000)), D::UsageBounds);
    assert_eq!(bent(|r, _| r.commitment = "0".repeat(64)), D::WrongCommitment);
    assert_eq!(bent(|r, _| r.amount = Msat::saturating(1)), D::WrongAmount);
}

#[test]
fn the_signer_and_the_output_count_too() {
    let stranger = Market::new(5).nodes[4].clone();
    let foreign = verdict(|_, _| {}, |_| {}, Some(stranger));
    assert_eq!(foreign.unwrap_err(), ReceiptDispute::WrongNode);
    let output = verdict(|_, _| {}, |known| known.claimed_sha256 = Some("00"), None);
    assert_eq!(output.unwrap_err(), ReceiptDispute::WrongOutput);
}

#[test]
fn the_right_price_is_taken_up_to_the_ceiling_and_not_beyond() {
    let priced = |n: u64, amount: u64| {
        verdict(
            |r, _| {
                r.model_digest = Some("priced".into());
                r.usage.output_tokens = tokens(n);
                r.amount = Msat::saturating(amount);
            },
            |_| {},
            None,
        )
    };
    assert!(priced(4, 4).is_ok());
    assert_eq!(priced(5, 5).unwrap_err(), ReceiptDispute::AboveCeiling);
    assert!(priced(5, 4).is_ok(), "what passes the ceiling is cut to it");
    assert_eq!(priced(4, 3).unwrap_err(), ReceiptDispute::WrongAmount);
    assert_eq!(priced(4, 5).unwrap_err(), ReceiptDispute::WrongAmount);
}

#[test]
fn another_kind_of_event_is_no_receipt() {
    let mut market = Market::new(1);
    let offer = market.quoted(0).offer;
    let node = {
        let question = market.question();
        let reply = market.good_reply(&question, &[0]);
        check_reply(&reply, &question, &market.spec(), &[], NOW).unwrap().nodes[0].clone()
    };
    let opened = market.opened(1);
    let known = KnownJob {
        job: opened.job,
        session: opened.session,
        nonce: &opened.nonce,
        request_hash: "",
        request_bytes: 0,
        messages: 1,
        payment: PaymentMethod::Free,
        dispatch: offer.id(),
        router: market.router.public_key(),
        node: &node,
        output: &OutputCounter::default(),
        outcome: Outcome::Complete,
        claimed_sha256: None,
    };
    assert_eq!(check_receipt(&offer, &known).unwrap_err(), ReceiptDispute::Malformed);
}
