//! The node's own relay as its loop sees it, also when there is none.
//!
//! The rule: it is a way for events like any relay. What cannot go this way goes another, and a client that lost
//! something on it is answered on all.

use std::sync::Arc;

use fedai_protocol::{PublicKey, VerifiedEvent};
use fedai_relay_bridge::dev_relay::DevRelayError;
use fedai_relay_bridge::{GatewayOptions, GatewayRelay, Handed};
use tokio::sync::mpsc;

use super::config::NodeConfig;

/// The gateway, or nothing.
#[derive(Default)]
pub(super) struct FrontGate(Option<(Arc<GatewayRelay>, mpsc::Receiver<VerifiedEvent>)>);

impl FrontGate {
    /// Opens what the configuration asks for; gives the URL to announce.
    pub(super) async fn open(
        config: &NodeConfig,
        node: PublicKey,
    ) -> Result<(Self, Option<String>), DevRelayError> {
        let Some(choice) = &config.gateway else { return Ok((Self::default(), None)) };
        let options = GatewayOptions {
            operator: config.operator,
            ..GatewayOptions::new(choice.listen, node, config.name.clone())
        };
        let (relay, written) = GatewayRelay::start(options).await?;
        let url = choice.url.clone().unwrap_or_else(|| relay.url().to_owned());
        tracing::info!(listen = %relay.url(), announced = %url, "gateway");
        Ok((Self(Some((Arc::new(relay), written))), Some(url)))
    }

    /// The relay, for who has something to show there.
    pub(super) fn relay(&self) -> Option<Arc<GatewayRelay>> {
        self.0.as_ref().map(|(relay, _)| Arc::clone(relay))
    }

    /// The next event that a client wrote to this node; `None` at once where there is no gateway. Cancel-safe.
    pub(super) async fn recv(&mut self) -> Option<VerifiedEvent> {
        self.0.as_mut()?.1.recv().await
    }

    /// Clients may write to this key.
    pub(super) fn listen_for(&self, key: PublicKey) {
        if let Some((relay, _)) = &self.0 {
            relay.listen_for(key);
        }
    }

    /// They may no longer.
    pub(super) fn forget(&self, keys: impl IntoIterator<Item = PublicKey>) {
        if let Some((relay, _)) = &self.0 {
            keys.into_iter().for_each(|key| relay.forget(&key));
        }
    }

    /// True when a client listens here for frames to this key.
    pub(super) fn is_asked_for(&self, key: &PublicKey) -> bool {
        self.0.as_ref().is_some_and(|(relay, _)| relay.is_asked_for(key))
    }

    /// Hands an event to the client that listens here; false when none does. A reader that is too slow for it asks
    /// again when it has caught up.
    pub(super) fn hand_over(&self, event: &VerifiedEvent) -> bool {
        self.0.as_ref().is_some_and(|(relay, _)| relay.hand_over(event) != Handed::Nobody)
    }
}
