//! The local router quotes what a router would quote, to nodes that take it, and to no others.

use fedai_protocol::message::Message;
use fedai_protocol::quote_request::{Constraints, Mode, ModelWanted};
use fedai_protocol::{RefusalCode, VerifiedEvent};

use super::super::fixture_tests::{Market, NOW, descriptor, micros, tokens};
use super::*;

fn held<M: Message>(event: VerifiedEvent) -> Held<M> {
    Held { received: M::parse(&event).unwrap(), event: Some(event) }
}

/// Two nodes, of which the first takes self-signed dispatches when `takes` says so.
fn draft(takes: bool) -> (Result<QuoteDraft, Refusal>, PublicKey) {
    let mut market = Market::new(2);
    let mut announced = Announcements::default();
    for index in 0..2 {
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
    (draft_quote(micros(0), 7, own.public_key(), &asked, announced), market.node_key(0))
}

#[test]
fn only_nodes_that_take_self_signed_dispatches_are_quoted() {
    let (draft, willing) = draft(true);
    let draft = draft.unwrap();
    let nodes: Vec<PublicKey> = draft.nodes.iter().map(|node| node.choice.node).collect();
    assert_eq!(nodes, [willing]);
    assert_eq!(draft.dispatch.unwrap().uses, 4);
}

#[test]
fn without_a_willing_node_there_is_a_refusal() {
    let (draft, _) = draft(false);
    let code = draft.unwrap_err().code;
    assert!(matches!(code, RefusalCode::NoNode | RefusalCode::UnknownModel), "{code}");
}
