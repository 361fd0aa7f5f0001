//! Keeps the files fresh that other processes look at: heartbeat, status, metrics.

use std::path::{Path, PathBuf};

use fedai_protocol::UnixMicros;
use fedai_relay_bridge::{RelayRole, wall_clock};

use super::data_files::{self, Heartbeat, RelayLine, StatusFile};
use super::run_loop::Router;

/// Nodes up to which the status is written every second; above, every ten.
const STATUS_NODES_EVERY_SECOND: usize = 500;

impl Router {
    /// Writes what is due this second.
    pub(super) fn write_files(&mut self) {
        self.seconds = self.seconds.wrapping_add(1);
        let now = wall_clock::now();
        let pid = std::process::id();
        let control_relays = self.pool.connected(RelayRole::Control);
        let known = self.core.registry().known_nodes();
        let live = self.core.registry().live_nodes(now.seconds());
        self.metrics.set("fed_router_known_nodes", "live", live as f64);
        self.metrics.set("fed_router_known_nodes", "stale", known.saturating_sub(live) as f64);
        let mut files = vec![(
            data_files::heartbeat_path(self.data.path()),
            serde_json::to_vec(&Heartbeat { pid, at: now, control_relays }).unwrap_or_default(),
        )];
        if known <= STATUS_NODES_EVERY_SECOND || self.seconds.is_multiple_of(10) {
            files.push((data_files::status_path(self.data.path()), self.status(now, pid)));
        }
        if let Some(path) = &self.metrics_file {
            files.push((path.clone(), self.metrics.text().into_bytes()));
        }
        self.beside("files", async move {
            let written = tokio::task::spawn_blocking(move || write_all(&files)).await;
            if let Ok(Err(error)) = written {
                tracing::warn!(%error, "status files could not be written");
            }
        });
    }

    fn status(&self, now: UnixMicros, pid: u32) -> Vec<u8> {
        let relays = self.pool.status().into_iter().map(|relay| RelayLine {
            url: relay.url,
            state: format!("{:?}", relay.state).to_lowercase(),
            received: relay.received,
            sent: relay.sent,
        });
        let status = StatusFile {
            pid,
            relays: relays.collect(),
            router: self.core.status(now),
            metrics: self.metrics.json(),
        };
        serde_json::to_vec(&status).unwrap_or_default()
    }
}

fn write_all(files: &[(PathBuf, Vec<u8>)]) -> std::io::Result<()> {
    files.iter().try_for_each(|(path, content): &(_, Vec<u8>)| data_files::replace(Path::new(path), content))
}
