//! What the node shows: the line when it is ready, the status file, the advertisement, the metrics.

use std::path::{Path, PathBuf};

use fedai_protocol::message::Draft;
use fedai_protocol::{EventId, Price, PublicKey, UnixSeconds, VerifiedEvent};
use fedai_relay_bridge::{PublishOutcome, RelayRole, wall_clock};
use nostr::nips::nip19::ToBech32;
use tokio::sync::oneshot;

use super::config::NodeConfig;
use super::metrics::NodeMetrics;
use super::run_loop::NodeReady;
use super::status_file::{AD, NodeAd, NodeStatusFile, STATUS, replace, write_json};
use crate::core::NodeCore;

/// Everything that is shown.
pub(super) struct NodeBoard {
    data_dir: PathBuf,
    metrics_file: Option<PathBuf>,
    ad: NodeAd,
    status: NodeStatusFile,
    price: Price,
    prices: std::collections::BTreeMap<String, Price>,
    ready: Option<oneshot::Sender<NodeReady>>,
    newest_descriptor: UnixSeconds,
    beats: u32,
    public_key: PublicKey,
    /// True when the runner made a token lately.
    pub(super) runner_up: bool,
}

impl NodeBoard {
    pub(super) fn new(
        config: &NodeConfig,
        public_key: PublicKey,
        runner: String,
        ready: oneshot::Sender<NodeReady>,
    ) -> Self {
        let status = NodeStatusFile {
            npub: npub(&public_key),
            public_key: public_key.to_hex(),
            name: config.name.clone(),
            state: "starting".into(),
            pid: std::process::id(),
            updated_at: wall_clock::now_seconds(),
            runner,
            runner_up: false,
            runner_alive_at: UnixSeconds(0),
            models: Vec::new(),
            running: 0,
            queued: 0,
            slots: 0,
            wait_ms: 0,
            receipts: 0,
            relays: Vec::new(),
            advertised_on: 0,
            advertised_of: config.relays.urls(RelayRole::Discovery).len(),
        };
        Self {
            data_dir: config.data_dir.clone(),
            metrics_file: config.metrics_file.clone(),
            ad: NodeAd::default(),
            status,
            price: config.price,
            prices: config.prices.clone(),
            ready: Some(ready),
            newest_descriptor: UnixSeconds(0),
            beats: 0,
            public_key,
            runner_up: false,
        }
    }

    /// The data directory.
    pub(super) fn dir(&self) -> &Path {
        &self.data_dir
    }

    /// A descriptor is about to be signed.
    pub(super) fn descriptor_drafted(&mut self, draft: &Draft) {
        self.newest_descriptor = draft.created_at;
    }

    /// True for the newest descriptor.
    pub(super) fn is_last(&self, event: &VerifiedEvent) -> bool {
        event.created_at() == self.newest_descriptor
    }

    /// An offer was signed.
    pub(super) fn offer(&mut self, event: VerifiedEvent) {
        self.ad.offers.retain(|old| old.tag("d") != event.tag("d"));
        self.ad.offers.push(event);
    }

    /// Those of these offers that were signed in this run.
    pub(super) fn offers(&self, ids: &[EventId]) -> impl Iterator<Item = &VerifiedEvent> {
        self.ad.offers.iter().filter(|offer| ids.contains(&offer.id()))
    }

    /// A descriptor was published, or no relay took it.
    pub(super) fn descriptor(
        &mut self,
        event: VerifiedEvent,
        outcome: &PublishOutcome,
        core: &NodeCore,
        relays: Vec<String>,
    ) {
        let is_active = event.tag("status") == Some("active");
        self.ad.descriptor = Some(event);
        self.status.advertised_on = outcome.acks;
        if outcome.acks == 0 {
            tracing::warn!(rejected = ?outcome.rejected, "no relay took the descriptor yet; it is sent again");
        }
        if !is_active || (outcome.acks == 0 && !outcome.queued) {
            return;
        }
        let line = self.line(core);
        if let Some(ready) = self.ready.take() {
            let models = core.models().map(|model| model.model.clone()).collect();
            let name = self.status.name.clone();
            // Who started the node may not care to know.
            drop(ready.send(NodeReady { public_key: self.public_key, name, models, relays, line }));
        }
    }

    /// True every few beats.
    pub(super) fn is_write_due(&mut self) -> bool {
        self.beats = self.beats.wrapping_add(1);
        self.beats % WRITE_BEATS == 1
    }

    /// Writes status, advertisement and metrics.
    pub(super) fn write(
        &mut self,
        core: &NodeCore,
        metrics: &NodeMetrics,
        relays: Vec<String>,
        alive_at: u64,
    ) {
        let now = wall_clock::now();
        let state = core.state(now);
        let age = now.seconds().since(UnixSeconds(alive_at));
        self.status = NodeStatusFile {
            state: state.announced.map_or("starting", |status| status.as_str()).into(),
            updated_at: now.seconds(),
            runner_up: self.runner_up,
            runner_alive_at: UnixSeconds(alive_at),
            models: core.models().map(|model| model.model.clone()).collect(),
            running: state.running,
            queued: state.queued,
            slots: state.slots,
            wait_ms: state.wait_ms,
            receipts: state.chain.seq,
            relays,
            ..self.status.clone()
        };
        self.save();
        if let Some(path) = &self.metrics_file {
            let text = metrics.render(&state, &self.status.runner, self.runner_up, age);
            complain(replace(path, text.as_bytes()), path);
        }
    }

    /// The node is gone.
    pub(super) fn stopped(&mut self) {
        self.status.state = "stopped".into();
        self.status.updated_at = wall_clock::now_seconds();
        self.save();
    }

    fn save(&self) {
        complain(write_json(&self.data_dir, STATUS, &self.status), &self.data_dir);
        complain(write_json(&self.data_dir, AD, &self.ad), &self.data_dir);
    }

    fn line(&self, core: &NodeCore) -> String {
        let models: Vec<String> = core
            .models()
            .map(|model| {
                format!(
                    "{} ({})",
                    model.model,
                    words(&self.prices.get(&model.model).copied().unwrap_or(self.price))
                )
            })
            .collect();
        format!(
            "{} sells {}; advertised on {}/{} relays",
            self.status.npub,
            models.join(", "),
            self.status.advertised_on,
            self.status.advertised_of
        )
    }
}

/// A key for people.
#[must_use]
pub fn npub(key: &PublicKey) -> String {
    match key.to_bech32() {
        Ok(text) => text,
        Err(never) => match never {},
    }
}

fn words(price: &Price) -> String {
    if price.is_free() { "free".into() } else { format!("in {}, out {}", price.input, price.output) }
}

/// The node goes on without its files: they are for people, not for it.
fn complain(outcome: std::io::Result<()>, path: &Path) {
    if let Err(error) = outcome {
        tracing::warn!(?path, %error, "status could not be written");
    }
}

const WRITE_BEATS: u32 = 3;
