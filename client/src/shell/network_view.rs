//! What the relays say is there: nodes, offers, routers, ranks. Only what is verified, well-formed and not expired is
//! shown; the newest of each address counts.

use std::time::Duration;

use fedai_protocol::event_kinds::{MODEL_OFFER, NODE_DESCRIPTOR, ROUTER_PROFILE, TRUST_ASSERTION};
use fedai_protocol::message::{Message, Received};
use fedai_protocol::{
    ModelOffer, NodeDescriptor, PublicKey, RouterProfile, TrustAssertion, UnixSeconds, VerifiedEvent,
};
use fedai_relay_bridge::{RelayPool, RelayRole, filters, newest_per_address};

/// A message with the event that carried it.
#[derive(Clone, Debug)]
pub struct Announced<M> {
    /// The message.
    pub received: Received<M>,
    /// Its event, for those who have to show it to others.
    pub event: VerifiedEvent,
}

/// The network as one client sees it at one time.
#[derive(Clone, Debug, Default)]
pub struct NetworkView {
    /// Live nodes.
    pub nodes: Vec<Announced<NodeDescriptor>>,
    /// Offers of live nodes.
    pub offers: Vec<Announced<ModelOffer>>,
    /// Live routers.
    pub routers: Vec<Announced<RouterProfile>>,
    /// Ranks, by whomever.
    pub ranks: Vec<Received<TrustAssertion>>,
    /// Nodes that are announced and take no jobs now: paused, or about to leave.
    pub away: usize,
}

impl NetworkView {
    /// Asks the discovery relays for these kinds.
    pub async fn fetch(pool: &RelayPool, kinds: &[u16], now: UnixSeconds, timeout: Duration) -> Self {
        let events = pool.fetch(RelayRole::Discovery, vec![filters::of_kinds(kinds)], timeout).await;
        Self::read(events, now)
    }

    /// The profiles of these routers, asked for by their keys.
    pub async fn fetch_routers(
        pool: &RelayPool,
        routers: &[PublicKey],
        now: UnixSeconds,
        timeout: Duration,
    ) -> Self {
        let filters = routers.iter().map(|router| filters::of_author(ROUTER_PROFILE, *router)).collect();
        Self::read(pool.fetch(RelayRole::Discovery, filters, timeout).await, now)
    }

    /// Everything that is announced.
    pub async fn fetch_all(pool: &RelayPool, now: UnixSeconds, timeout: Duration) -> Self {
        let kinds = [NODE_DESCRIPTOR, MODEL_OFFER, ROUTER_PROFILE, TRUST_ASSERTION];
        Self::fetch(pool, &kinds, now, timeout).await
    }

    /// Reads events; what does not hold is left out.
    #[must_use]
    pub fn read(events: Vec<VerifiedEvent>, now: UnixSeconds) -> Self {
        let mut view = Self::default();
        for event in newest_per_address(events) {
            if event.check_time(now).is_err() {
                continue;
            }
            match event.kind() {
                NODE_DESCRIPTOR => keep(&mut view.nodes, event),
                MODEL_OFFER => keep(&mut view.offers, event),
                ROUTER_PROFILE => keep(&mut view.routers, event),
                TRUST_ASSERTION => view.ranks.extend(TrustAssertion::parse(&event).ok()),
                _ => {}
            }
        }
        view.nodes.retain(|node| node.received.message.expires_at > now);
        let announced = view.nodes.len();
        view.nodes.retain(|node| node.received.message.is_live(now));
        view.away = announced.saturating_sub(view.nodes.len());
        view.routers.retain(|router| router.received.message.expires_at > now);
        let nodes = &view.nodes;
        view.offers.retain(|offer| {
            let (author, name) = (offer.received.author, &offer.received.message.node);
            nodes.iter().any(|node| node.received.author == author && node.received.message.name == *name)
        });
        view.nodes.sort_by_key(|node| (node.received.message.name.clone(), node.received.author));
        view.offers.sort_by_key(|offer| {
            let message = &offer.received.message;
            (message.model.clone(), message.price.output, offer.received.author)
        });
        // Routers that know more nodes first, for those who read a list.
        view.routers.sort_by_key(|router| {
            (u32::MAX.saturating_sub(router.received.message.nodes), router.received.author)
        });
        view
    }

    /// The mean of the ranks that a node has, when it has any.
    #[must_use]
    pub fn rank_of(&self, node: &PublicKey) -> Option<u64> {
        let ranks: Vec<u64> = self
            .ranks
            .iter()
            .filter(|rank| rank.message.node == *node)
            .map(|rank| u64::from(rank.message.rank))
            .collect();
        ranks.iter().sum::<u64>().checked_div(ranks.len() as u64)
    }
}

fn keep<M: Message>(list: &mut Vec<Announced<M>>, event: VerifiedEvent) {
    if let Ok(received) = M::parse(&event) {
        list.push(Announced { received, event });
    }
}
