//! What a running node tells other processes of the same user: a status file, its advertisement, and a word back.
//!
//! No socket: the node writes `status.json` and `ad.json` into its data directory every few seconds and looks
//! there for a
//! command. Files are replaced whole, so a reader never sees half of one.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use fedai_protocol::{UnixSeconds, VerifiedEvent};
use serde::{Deserialize, Serialize};

use crate::core::OperatorCommand;

/// A node as `status` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeStatusFile {
    /// Public key, npub.
    pub npub: String,
    /// Public key, hex.
    pub public_key: String,
    /// Name.
    pub name: String,
    /// `starting`, `active`, `draining`, `paused` or `stopped`.
    pub state: String,
    /// Process.
    pub pid: u32,
    /// When this was written.
    pub updated_at: UnixSeconds,
    /// The runner.
    pub runner: String,
    /// True when the runner made a token lately.
    pub runner_up: bool,
    /// Last sign of life of the runner.
    pub runner_alive_at: UnixSeconds,
    /// Models offered.
    pub models: Vec<String>,
    /// Jobs on the runner.
    pub running: usize,
    /// Jobs in line.
    pub queued: usize,
    /// Jobs at once.
    pub slots: u32,
    /// Predicted wait of one more job, in milliseconds.
    pub wait_ms: u64,
    /// Receipts in the chain.
    pub receipts: u64,
    /// Relays that are connected, by URL.
    pub relays: Vec<String>,
    /// Relays that took the last descriptor.
    pub advertised_on: usize,
    /// Relays that it was offered to.
    pub advertised_of: usize,
}

/// The node's announcements as published.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NodeAd {
    /// The descriptor (kind 31434).
    pub descriptor: Option<VerifiedEvent>,
    /// The offers (kind 31435), newest of each model.
    pub offers: Vec<VerifiedEvent>,
}

/// Name of the status file.
pub const STATUS: &str = "status.json";
/// Name of the advertisement file.
pub const AD: &str = "ad.json";
/// Name of the command file.
pub const COMMAND: &str = "command";

/// How old a status may be before its node is taken to be gone.
pub const STALE_SECONDS: u64 = 20;

/// Replaces a file as a whole.
pub fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    replace_with(path, |file| file.write_all(bytes))
}

/// [`replace`], with what `write` writes.
pub fn replace_with<T, E: From<std::io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut File) -> Result<T, E>,
) -> Result<T, E> {
    // A name alone lies in this folder.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    let outcome = write(file.as_file_mut())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(outcome)
}

/// Writes a value as JSON.
pub fn write_json<T: Serialize>(dir: &Path, name: &str, value: &T) -> std::io::Result<()> {
    replace(&dir.join(name), &serde_json::to_vec_pretty(value).unwrap_or_default())
}

/// Why a file of a node cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path}: {reason}\nhint: is a node running with this data directory? Start one with `node-agent run --data DIR`"
)]
pub struct ReadStatusError {
    path: String,
    reason: String,
}

/// Reads a value.
pub fn read_json<T: for<'de> Deserialize<'de>>(dir: &Path, name: &str) -> Result<T, ReadStatusError> {
    let path = dir.join(name);
    let fail = |reason: String| ReadStatusError { path: path.display().to_string(), reason };
    let bytes = std::fs::read(&path).map_err(|error| fail(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|_| fail("not a file of this version".into()))
}

/// Takes the command that another process left, once.
pub(super) fn take_command(dir: &Path, patience_ms: u64) -> Option<OperatorCommand> {
    let path = dir.join(COMMAND);
    let text = std::fs::read_to_string(&path).ok()?;
    // Gone before it is obeyed: a command is never obeyed twice.
    std::fs::remove_file(&path).ok()?;
    match text.trim() {
        "pause" => Some(OperatorCommand::Pause),
        "resume" => Some(OperatorCommand::Resume),
        "drain" => Some(OperatorCommand::Drain),
        "stop" => Some(OperatorCommand::Shutdown { patience_ms }),
        other => {
            tracing::warn!(command = ?other.chars().take(32).collect::<String>(), "unknown command");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_taken_once_and_garbage_is_none() {
        let dir = tempfile::tempdir().unwrap();
        replace(&dir.path().join(COMMAND), b"pause\n").unwrap();
        assert_eq!(take_command(dir.path(), 0), Some(OperatorCommand::Pause));
        assert_eq!(take_command(dir.path(), 0), None);
        replace(&dir.path().join(COMMAND), b"explode").unwrap();
        assert_eq!(take_command(dir.path(), 0), None);
        assert!(!dir.path().join(COMMAND).exists());
    }
}
