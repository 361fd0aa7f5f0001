//! A picture of the router for people: what it knows, whom it sends to, what it counted. Contains no secrets.

use fedai_protocol::node_descriptor::NodeStatus;
use fedai_protocol::{Msat, MsatPerMtok, PublicKey, UnixMicros, UnixSeconds};
use serde::{Deserialize, Serialize};

use super::RouterCore;
use super::node_view::NodeView;

/// One model of one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelStatus {
    /// Model.
    pub model: String,
    /// Price of input.
    pub input: MsatPerMtok,
    /// Price of output.
    pub output: MsatPerMtok,
    /// Price of a request.
    pub request: Msat,
    /// Context window.
    pub context_tokens: u64,
    /// Jobs of this router under way.
    pub in_flight: u32,
    /// Measured network time, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Measured output speed, in tokens a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
    /// Median time to first token lately, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_p50_ms: Option<u64>,
    /// 95th percentile of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_p95_ms: Option<u64>,
    /// Nothing is sent there until then, because it kept failing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker_until: Option<UnixMicros>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStatusLine {
    /// Identity key.
    pub node: PublicKey,
    /// Name.
    pub name: String,
    /// What it says of itself.
    pub status: NodeStatus,
    /// True while its lease lasts and it takes jobs.
    pub live: bool,
    /// End of the lease.
    pub lease_until: UnixSeconds,
    /// Rank, 0 to 100.
    pub rank: u8,
    /// Acknowledged receipts behind the rank.
    pub receipts: u64,
    /// Missing numbers in its receipt chain.
    pub chain_gaps: u64,
    /// Forks of its receipt chain.
    pub chain_forks: u64,
    /// Receipts that break their ticket.
    pub breaches: u64,
    /// Its models.
    pub models: Vec<ModelStatus>,
}

/// The router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouterStatus {
    /// Identity key.
    pub router: PublicKey,
    /// Name.
    pub name: String,
    /// When this was written.
    pub at: UnixMicros,
    /// True while it is shutting down.
    pub draining: bool,
    /// Nodes known.
    pub known_nodes: u64,
    /// Nodes live.
    pub live_nodes: u64,
    /// Tickets remembered.
    pub tickets: u64,
    /// Receipts counted in open epochs.
    pub receipts: u64,
    /// The nodes.
    pub nodes: Vec<NodeStatusLine>,
}

/// Draws the picture.
pub(super) fn picture(core: &RouterCore, now: UnixMicros) -> RouterStatus {
    let nodes = core.registry.listed().map(|(node, descriptor, offers)| {
        let trust = core.trust_of(now, &node);
        let (chain_gaps, forks, breaches, _) = core.ledger.flags(&node);
        let models = offers.into_iter().map(|(offer, view)| {
            let measured = view.map(NodeView::measured).unwrap_or_default();
            let percentiles = view.and_then(NodeView::ttft_percentiles);
            ModelStatus {
                model: offer.model.clone(),
                input: offer.price.input,
                output: offer.price.output,
                request: offer.price.request,
                context_tokens: offer.context_tokens.get(),
                in_flight: view.map_or(0, NodeView::in_flight),
                rtt_ms: measured.0,
                tokens_per_second: measured.2.map(|ms| 1_000.0 / ms.max(1e-3)),
                ttft_p50_ms: percentiles.map(|(p50, _)| p50),
                ttft_p95_ms: percentiles.map(|(_, p95)| p95),
                breaker_until: view.map(|view| view.breaker.until()).filter(|until| *until > now),
            }
        });
        NodeStatusLine {
            node,
            name: descriptor.name.clone(),
            status: descriptor.status,
            live: descriptor.is_live(now.seconds()),
            lease_until: descriptor.expires_at,
            rank: (trust.score(now) * 100.0).round() as u8,
            receipts: trust.receipts(),
            chain_gaps,
            chain_forks: forks as u64,
            breaches,
            models: models.collect(),
        }
    });
    RouterStatus {
        router: core.terms.identity,
        name: core.terms.introduction.name.clone(),
        at: now,
        draining: core.draining,
        known_nodes: core.registry.known_nodes() as u64,
        live_nodes: core.registry.live_nodes(now.seconds()) as u64,
        tickets: core.book.len() as u64,
        receipts: core.ledger.receipts() as u64,
        nodes: nodes.collect(),
    }
}
