//! Why a router does not run, and the exit code that says so.

use fedai_relay_bridge::created_at::CreatedAtError;
use fedai_relay_bridge::data_dir::DataDirError;
use fedai_relay_bridge::key_file::KeyFileError;
use fedai_relay_bridge::{JournalError, NotReady};

/// Why a router does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The record of publication times.
    #[error(transparent)]
    CreatedAt(#[from] CreatedAtError),
    /// The decision log.
    #[error("decision log: {0}\nhint: is there room on the disk, and may this user write there?")]
    DecisionLog(#[from] std::io::Error),
    /// No relay.
    #[error(transparent)]
    NotReady(#[from] NotReady),
}

impl RunError {
    /// Exit code of the process.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::DataDir(_) | Self::Key(_) | Self::Journal(_) | Self::CreatedAt(_) => 3,
            Self::DecisionLog(_) => 1,
            Self::NotReady(_) => 4,
        }
    }
}
