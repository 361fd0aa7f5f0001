//! `--router self`: the routers' own scheduler, run here on what the relays announce. Nobody is asked, nobody is told.
//!
//! Only nodes that take self-signed dispatches are candidates. The quote is drafted exactly as a router drafts it, so
//! everything that checks a router's quote checks this one too. Where it comes to nothing, the nodes that were left out
//! are counted: what looks like an empty network is mostly one that wants a router.

use std::collections::BTreeSet;

use fedai_protocol::message::Received;
use fedai_protocol::payment_offer::PaymentMethod;
use fedai_protocol::router_profile::RouterFee;
use fedai_protocol::{ModelOffer, NodeDescriptor, PublicKey, QuoteRequest, Refusal, RefusalCode, UnixMicros};
use fedai_router_agent::core::candidate::method_bits;
use fedai_router_agent::core::policy::Policy;
use fedai_router_agent::core::quote_desk::{QuoteDesk, QuoteDraft, QuoteTerms};
use fedai_router_agent::core::rate_limit::Rate;
use fedai_router_agent::core::registry::{Held, Registry};
use fedai_router_agent::core::scheduler::{Asked, Scratch, plan};
use fedai_router_agent::core::trust::Trust;

/// Payment methods that this client can use.
const METHODS: [PaymentMethod; 1] = [PaymentMethod::Free];

/// What is announced, as far as a decision needs it.
#[derive(Clone, Debug, Default)]
pub struct Announcements {
    /// Nodes.
    pub descriptors: Vec<Held<NodeDescriptor>>,
    /// Offers.
    pub offers: Vec<Held<ModelOffer>>,
}

/// Decides as a router would, and drafts the quote and the ticket that `own` has to sign. `seed` is all randomness.
pub fn draft_quote(
    now: UnixMicros,
    seed: u64,
    own: PublicKey,
    request: &Received<QuoteRequest>,
    announced: Announcements,
) -> Result<QuoteDraft, Refusal> {
    let policy = Policy::default();
    let mut registry = Registry::new(own, policy.clone());
    let stranger = Trust::default();
    let unwilling = announced.unwilling(request.message.wanted.model.as_deref());
    for held in announced.descriptors {
        if held.received.message.accepts_self_dispatch {
            registry.descriptor(now, held, &stranger);
        }
    }
    for held in announced.offers {
        registry.offer(now, held, &stranger);
    }
    registry.refresh(now, |_| Trust::default());
    let asked = Asked {
        id: request.id,
        request: &request.message,
        fee: RouterFee::default(),
        methods: method_bits(&METHODS),
    };
    let fleets = registry.fleets(request.message.wanted.model.as_deref());
    let desk = QuoteDesk::new(own, terms());
    match plan(now, seed, &asked, &policy, &fleets, &mut Scratch::default()) {
        Ok(decision) => Ok(desk.draft(now, request, decision, &registry)),
        Err(none) if none.rejected.is_empty() && unwilling > 0 => Err(left_out(unwilling)),
        Err(none) => Err(desk.refusal(&none)),
    }
}

impl Announcements {
    /// Nodes that offer the model, whichever it is where none is named, and take no ticket that a client signed.
    fn unwilling(&self, model: Option<&str>) -> usize {
        let willing = |offer: &ModelOffer, author: &PublicKey| {
            self.descriptors.iter().any(|held| {
                let node = &held.received;
                node.author == *author
                    && node.message.name == offer.node
                    && node.message.accepts_self_dispatch
            })
        };
        let offers = self.offers.iter().map(|held| &held.received);
        let fitting = offers.filter(|offer| model.is_none_or(|model| offer.message.model == model));
        let nodes: BTreeSet<PublicKey> = fitting
            .filter(|offer| !willing(&offer.message, &offer.author))
            .map(|offer| offer.author)
            .collect();
        nodes.len()
    }
}

/// The refusal where a router could have quoted somebody.
fn left_out(nodes: usize) -> Refusal {
    let who = match nodes {
        1 => "1 node offers this and takes no ticket".to_owned(),
        many => format!("{many} nodes offer this and none takes a ticket"),
    };
    Refusal::new(
        RefusalCode::RouterNotAccepted,
        format!("{who} that a client signed for itself, as --router self does"),
    )
}

fn terms() -> QuoteTerms {
    let boundless = Rate { per_second: 1_000.0, burst: 1_000.0 };
    QuoteTerms {
        fee: RouterFee::default(),
        quote_seconds: 30,
        dispatch_seconds: 900,
        methods: METHODS.to_vec(),
        per_key: boundless,
        global: boundless,
    }
}

#[cfg(test)]
#[path = "local_router_tests.rs"]
mod tests;
