//! The local router quotes what a router would quote, to nodes that take it, and to no others.

use fedai_protocol::message::Message;
use fedai_protocol::quote_request::{Constraints, Mode, ModelWanted};
use fedai_protocol::{RefusalCode, VerifiedEvent};

use super::super::fixture_tests::{Market, NOW, descriptor, micros, tokens};
use super::*;

fn held<M: Message>(event: VerifiedEvent) -> Held<M> {
    Held { received: M::parse(&event).unwrap(), event: Some(event) }
}

/// Nodes of which the first takes self-signed dispatches when `takes` says so.
fn draft_among(nodes: usize, takes: bool) -> (Result<QuoteDraft, Refusal>, Option<PublicKey>) {
    let mut market = Market::new(nodes);
    let mut announced = Announcements::default();
    for index in 0..nodes {
        let key = market.nodes[index].clone();
        let mut node = descriptor(&key, &format!("node-{index}"));
        node.accepts_self_dispatch = takes && index == 0;
        let offer = market.offer(index);
        announced.descriptors.push(held(market.sign(&key, &node)));
        announced.offers.push(held(market.sign(&key, &offer)));
    }
    let request = QuoteRequest {
        router: None,
        wanted: ModelWanted { model: Some("smol".into()), ..ModelWanted::default() },
        prompt_tokens: tokens(256),
        max_output_tokens: tokens(256),
        max_cost: None,
        mode: Mode::Balanced,
        constraints: Constraints { payment: vec![PaymentMethod::Free], ..Constraints::default() },
        uses: 4,
        accept_auto: true,
        previous_node: None,
        expires_at: NOW.plus(30),
    };
    let own = market.ticket.clone();
    let event = market.sign(&own, &request);
    let asked = QuoteRequest::parse(&event).unwrap();
    let first = market.nodes.first().map(fedai_protocol::SigningKey::public_key);
    (draft_quote(micros(0), 7, own.public_key(), &asked, announced), first)
}

#[test]
fn only_nodes_that_take_self_signed_dispatches_are_quoted() {
    let (draft, willing) = draft_among(2, true);
    let draft = draft.unwrap();
    let nodes: Vec<PublicKey> = draft.nodes.iter().map(|node| node.choice.node).collect();
    assert_eq!(nodes, [willing.unwrap()]);
    assert_eq!(draft.dispatch.unwrap().uses, 4);
}

#[test]
fn nodes_that_want_a_router_are_told_from_none_at_all() {
    for (nodes, code, text) in [
        (
            2,
            RefusalCode::RouterNotAccepted,
            "2 nodes offer this and none takes a ticket that a client signed",
        ),
        (1, RefusalCode::RouterNotAccepted, "1 node offers this and takes no ticket that a client signed"),
        (0, RefusalCode::UnknownModel, "no live node offers this model"),
    ] {
        let refusal = draft_among(nodes, false).0.unwrap_err();
        assert_eq!(refusal.code, code);
        assert!(refusal.message.starts_with(text), "{}", refusal.message);
    }
}
