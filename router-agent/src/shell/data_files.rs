//! The small files of a data directory that other processes read: status, heartbeat, decisions. Replaced whole, so that
//! a reader never sees half of one; no socket is needed to look at a running router.

use std::path::{Path, PathBuf};

use fedai_protocol::UnixMicros;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::core::status::RouterStatus;

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Process.
    pub pid: u32,
    /// When.
    pub at: UnixMicros,
    /// Relays connected for requests.
    pub control_relays: usize,
}

/// One relay as the status shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayLine {
    /// URL.
    pub url: String,
    /// Connected, connecting, disconnected.
    pub state: String,
    /// Events received.
    pub received: u64,
    /// Events sent.
    pub sent: u64,
}

/// What `status` shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusFile {
    /// Process.
    pub pid: u32,
    /// Relays.
    pub relays: Vec<RelayLine>,
    /// The router.
    pub router: RouterStatus,
    /// Counters and gauges.
    pub metrics: Value,
}

/// Why a data file is not there.
#[derive(Debug, thiserror::Error)]
pub enum DataFileError {
    /// Cannot be read.
    #[error("{}: {error}\nhint: is a router running with this --data directory?", path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Cannot be understood.
    #[error("{}: {error}\nhint: was it written by another version?", path.display())]
    Parse {
        /// File.
        path: PathBuf,
        /// Why.
        error: serde_json::Error,
    },
}

/// Path of the status.
#[must_use]
pub fn status_path(data: &Path) -> PathBuf {
    data.join("status.json")
}

/// Path of the heartbeat.
#[must_use]
pub fn heartbeat_path(data: &Path) -> PathBuf {
    data.join("heartbeat.json")
}

/// Reads one of the files.
pub fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, DataFileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| DataFileError::Read { path: path.to_owned(), error })?;
    serde_json::from_str(&text).map_err(|error| DataFileError::Parse { path: path.to_owned(), error })
}

/// Replaces a file: written beside and renamed. Not synced: what it says is worthless after a crash.
pub fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, content)?;
    std::fs::rename(&temporary, path)
}
