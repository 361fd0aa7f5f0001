//! Standings on their way to nodes: what the core counted, and by which relays the node was heard, which only the shell
//! knows. Sealed beside the loop, since each costs a key agreement; not kept for a relay that is away, since the next
//! one follows soon.

use std::collections::BTreeMap;
use std::sync::Arc;

use fedai_protocol::event_kinds::{LOAD_PING, MODEL_OFFER, NODE_DESCRIPTOR};
use fedai_protocol::limits::ANNOUNCED_URLS_MAX;
use fedai_protocol::node_standing::HeardOn;
use fedai_protocol::{NodeStanding, PublicKey, UnixSeconds};
use fedai_relay_bridge::{RelayRole, Sightings, Subscription};

use super::run_loop::Router;

/// By which relays nodes are heard.
#[derive(Default)]
pub(super) struct HeardBy {
    descriptors: Option<Arc<Sightings>>,
    pings: Option<Arc<Sightings>>,
}

impl HeardBy {
    /// Watches the subscriptions of announcements and of load pings.
    pub(super) fn watch(announced: &Subscription, control: &Subscription) -> Self {
        Self {
            descriptors: Some(announced.watch(&[NODE_DESCRIPTOR, MODEL_OFFER])),
            pings: Some(control.watch(&[LOAD_PING])),
        }
    }

    /// Every relay that is read, and when the node was heard on it.
    fn of(&self, node: &PublicKey, discovery: Vec<String>, control: Vec<String>) -> Vec<HeardOn> {
        let mut relays: BTreeMap<String, HeardOn> = discovery
            .into_iter()
            .chain(control)
            .map(|relay| (relay.clone(), HeardOn { relay, load_ping: None, descriptor: None }))
            .collect();
        let mut note = |sightings: &Option<Arc<Sightings>>, set: fn(&mut HeardOn, UnixSeconds)| {
            for (relay, at) in sightings.iter().flat_map(|sightings| sightings.of(node)) {
                let heard = HeardOn { relay: relay.clone(), load_ping: None, descriptor: None };
                set(relays.entry(relay).or_insert(heard), at);
            }
        };
        note(&self.descriptors, |heard, at| heard.descriptor = Some(at));
        note(&self.pings, |heard, at| heard.load_ping = Some(at));
        relays.into_values().take(ANNOUNCED_URLS_MAX).collect()
    }
}

impl Router {
    /// Tells a node how it stands.
    pub(super) fn post_standing(&mut self, now: UnixSeconds, mut standing: NodeStanding) {
        let (discovery, control) =
            (self.pool.connected_urls(RelayRole::Discovery), self.pool.connected_urls(RelayRole::Control));
        standing.heard = self.heard.of(&standing.node, discovery, control);
        self.metrics.count("fed_router_signatures_total", "standing");
        let (signer, pool) = (Arc::clone(&self.signer), self.pool.clone());
        self.beside("standing", async move {
            match signer.seal_standing(&standing, now) {
                Ok(event) => {
                    if pool.publish_ephemeral(event, RelayRole::Discovery) == 0 {
                        tracing::debug!(node = %standing.node, "no relay is connected; a standing is lost");
                    }
                }
                Err(error) => {
                    tracing::error!(%error, node = %standing.node, "a standing could not be written")
                }
            }
        });
    }
}
