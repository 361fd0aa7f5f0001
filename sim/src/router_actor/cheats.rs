//! What a router does while a fault makes it lie.

use fedai_protocol::event_kinds::{LOAD_PING, MODEL_OFFER, NODE_DESCRIPTOR, QUOTE_REQUEST};
use fedai_protocol::{Msat, PublicKey};
use fedai_router_agent::core::quote_desk::QuoteDraft;

use super::RouterActor;
use crate::faults::FaultKind;

impl RouterActor {
    /// True when it acts as if this had never come.
    pub(super) fn ignores(&mut self, kind: u16, author: PublicKey) -> bool {
        match kind {
            QUOTE_REQUEST => self.faults.strikes(FaultKind::RouterSilent),
            NODE_DESCRIPTOR | MODEL_OFFER | LOAD_PING => {
                let is_hidden = author.to_bytes().first().is_some_and(|byte| byte % 2 == 0);
                is_hidden && self.is_struck(FaultKind::RouterHidesNode)
            }
            _ => false,
        }
    }

    /// Bends a quote. True when its price is not the node's any more.
    pub(super) fn bend(&mut self, draft: &mut QuoteDraft) -> bool {
        if self.is_struck(FaultKind::RouterPicksFriend) {
            draft.nodes.sort_by_key(|node| core::cmp::Reverse(node.choice.node));
            if let Some(dispatch) = &mut draft.dispatch {
                dispatch.nodes.sort_by_key(|node| core::cmp::Reverse(node.node));
            }
        }
        let alters = self.is_struck(FaultKind::RouterAltersPrice);
        if alters {
            let dearer = |cost: Msat| Msat::saturating(cost.get().saturating_add(1_000));
            draft.nodes.iter_mut().for_each(|node| node.choice.max_cost = dearer(node.choice.max_cost));
            let named = draft.dispatch.iter_mut().flat_map(|dispatch| &mut dispatch.nodes);
            named.for_each(|node| node.max_cost = dearer(node.max_cost));
        }
        alters
    }

    /// The same request, assigned to another node of the quote.
    pub(super) fn second_assignment(&mut self, draft: &QuoteDraft) -> Option<QuoteDraft> {
        if !self.is_struck(FaultKind::RouterAssignsTwice) {
            return None;
        }
        let mut other = draft.clone();
        if !other.nodes.is_empty() {
            other.nodes.rotate_left(1);
            other.dispatch.iter_mut().for_each(|dispatch| dispatch.nodes.rotate_left(1));
        }
        Some(other)
    }

    fn is_struck(&mut self, kind: FaultKind) -> bool {
        let is_struck = self.faults.has(kind);
        if is_struck {
            self.faults.fired(kind);
        }
        is_struck
    }
}
