//! Double-assigning router: gives every job to its friend, whether the friend has room or not, and says that it is
//! quick.
//!
//! - What it does: each quote names the friend's node first and no other, and states times that are a tenth of the
//!   truth.
//! - What it hopes to gain: its fee for every job, and the friend's income.
//! - What meets it: clients ask several routers and take the best *binding* part of a quote; what a router says of
//!   times binds nobody. A node that is full refuses, and the client asks again elsewhere. Prices, ceiling and node
//!   are the node's own signed words: a router can steer, it cannot charge.

use fedai_protocol::{Message, NodeDescriptor, UnixMicros};
use fedai_router_agent::core::quote_desk::{DraftNode, QuoteDraft};

use super::{Adversary, Beneficiaries, SEAT};
use crate::conduct::RouterConduct;

/// The entry of the table.
pub const ADVERSARY: Adversary = Adversary {
    name: "double-assign",
    does: "a router names its friend's node in every quote that it can, full or not, and states a tenth of the time",
    hopes: "its fee for every job, and the friend's income",
    met_by: "client: asks several routers and takes what binds; a full node refuses",
    two_routers: true,
    is_audited: false,
    cast: |_, hooks| {
        hooks.routers.insert(0, Box::new(DoubleAssign));
        Beneficiaries { nodes: vec![SEAT], routers: vec![0] }
    },
};

/// Has a friend.
#[derive(Clone, Copy, Debug, Default)]
pub struct DoubleAssign;

impl RouterConduct for DoubleAssign {
    fn quote(&mut self, _now: UnixMicros, draft: &mut QuoteDraft) {
        let Some(friend) = draft.nodes.iter().position(is_friend) else { return };
        draft.nodes.swap(0, friend);
        draft.nodes.truncate(1);
        if let Some(dispatch) = &mut draft.dispatch {
            dispatch.nodes.swap(0, friend);
            dispatch.nodes.truncate(1);
        }
        for node in &mut draft.nodes {
            node.choice.terms.ttft_ms /= UNDERSTATED;
            node.choice.terms.total_ms /= UNDERSTATED;
        }
    }
}

fn is_friend(node: &DraftNode) -> bool {
    let descriptor = node.signed.as_ref().and_then(|(_, descriptor)| NodeDescriptor::parse(descriptor).ok());
    descriptor.is_some_and(|descriptor| descriptor.message.name == FRIEND)
}

/// Name of the node in the seat.
const FRIEND: &str = "node-0";
/// Times stated are the truth over this.
const UNDERSTATED: f64 = 10.0;
