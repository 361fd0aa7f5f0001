//! Answers a quote request to ourselves: fetches what is announced, lets the core decide, signs quote and ticket with
//! the ticket key. The journey checks the result like any router's.

use std::time::Duration;

use fedai_protocol::event_kinds::{MODEL_OFFER, NODE_DESCRIPTOR};
use fedai_protocol::message::{Message, Received};
use fedai_protocol::quote::QuoteOutcome;
use fedai_protocol::{Entropy, QuoteReply, QuoteRequest, Refusal, SigningKey, VerifiedEvent};
use fedai_relay_bridge::{RelayPool, SystemEntropy, wall_clock};
use fedai_router_agent::core::quote_desk::Asker;
use fedai_router_agent::core::registry::Held;

use super::network_view::{Announced, NetworkView};
use crate::core::journey_step::JourneyInput;
use crate::core::local_router::{Announcements, draft_quote};
use crate::core::quote_check::Question;

/// Wait for the relays to list what is announced.
const FETCH_WAIT: Duration = Duration::from_secs(4);

/// The question and its answer, both signed by `key`.
pub(crate) async fn own_quote(
    pool: &RelayPool,
    request: &QuoteRequest,
    key: &SigningKey,
) -> Vec<JourneyInput> {
    let now = wall_clock::now();
    let Some(asked) = sign(request, key).and_then(|event| QuoteRequest::parse(&event).ok()) else {
        return Vec::new();
    };
    let own = key.public_key();
    let question = Question { router: own, request: asked.id, ticket: own };
    let view = NetworkView::fetch(pool, &[NODE_DESCRIPTOR, MODEL_OFFER], now.seconds(), FETCH_WAIT).await;
    let announced = Announcements {
        descriptors: view.nodes.into_iter().map(held).collect(),
        offers: view.offers.into_iter().map(held).collect(),
    };
    let seed = SystemEntropy.below(u64::MAX);
    let reply = match draft_quote(now, seed, own, &asked, announced) {
        Ok(draft) => {
            let dispatch = draft.dispatch.as_ref().and_then(|dispatch| sign(dispatch, key));
            let asker = Asker { client: own, request: asked.id, sealed: false };
            draft.reply(&asker, dispatch.as_ref())
        }
        Err(refusal) => Some(refused(&asked, refusal)),
    };
    let signed = reply.and_then(|reply| sign(&reply, key));
    let received = signed.and_then(|event| QuoteReply::parse(&event).ok());
    let reply = received.map(|reply| JourneyInput::Reply(Box::new(reply)));
    core::iter::once(JourneyInput::Asked(question)).chain(reply).collect()
}

fn refused(asked: &Received<QuoteRequest>, refusal: Refusal) -> QuoteReply {
    QuoteReply {
        request: asked.id,
        client: asked.author,
        outcome: QuoteOutcome::Refusal(refusal),
        peers: Vec::new(),
        expires_at: asked.message.expires_at,
    }
}

fn sign(message: &impl Message, key: &SigningKey) -> Option<VerifiedEvent> {
    let draft = message.draft(&key.public_key(), wall_clock::now_seconds()).ok()?;
    Some(key.sign(draft, &mut SystemEntropy))
}

fn held<M>(announced: Announced<M>) -> Held<M> {
    Held { received: announced.received, event: Some(announced.event) }
}
