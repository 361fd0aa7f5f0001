//! The client's own receipts, appended to one file that anyone can check: each line names the hash of the line before.
//!
//! Several processes may append: the file is locked while one does. A line is on the disk before the command that
//! bought it ends. A torn last line (power loss) is cut off at the next append.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fedai_protocol::VerifiedEvent;
use fedai_protocol::receipts_file::{GENESIS, ReceiptLine, line_hash, write_file};

use super::private_file;

/// File name inside the data folder.
pub const FILE_NAME: &str = "receipts.jsonl";

/// Receipts of one data folder.
#[derive(Clone, Debug)]
pub struct ReceiptStore {
    path: PathBuf,
}

/// Why receipts cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptStoreError {
    /// The disk.
    #[error("{path}: {source}\nhint: name another folder with --data")]
    Disk {
        /// File.
        path: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// A line that is no entry.
    #[error("{path}: line {line} is not an entry\nhint: see what is wrong: fedai receipts verify {path}")]
    Damaged {
        /// File.
        path: String,
        /// Line, from 1.
        line: usize,
    },
}

impl ReceiptStore {
    /// The store of a data folder; nothing is created before the first receipt.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self { path: data.join(FILE_NAME) }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one entry; it is on the disk when this returns.
    pub fn append(
        &self,
        dispatch: &VerifiedEvent,
        receipt: &VerifiedEvent,
        ack: &VerifiedEvent,
    ) -> Result<(), ReceiptStoreError> {
        let disk = |source| self.disk(source);
        if let Some(folder) = self.path.parent() {
            private_file::create_folder(folder).map_err(disk)?;
        }
        let mut file = private_file::private_options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.path)
            .map_err(disk)?;
        file.lock().map_err(disk)?;
        let outcome = self.append_locked(&mut file, dispatch, receipt, ack);
        file.unlock().map_err(disk)?;
        outcome
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> Result<Vec<ReceiptLine>, ReceiptStoreError> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.disk(error)),
        };
        let whole = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
        let read = |(line, text): (usize, &str)| {
            serde_json::from_str(text)
                .map_err(|_| ReceiptStoreError::Damaged { path: self.path.display().to_string(), line })
        };
        (1..).zip(whole.lines()).map(read).collect()
    }

    /// The file in the form that is handed to others: with an end line, so that a cut tail shows.
    pub fn export(&self) -> Result<String, ReceiptStoreError> {
        let entries: Vec<_> =
            self.entries()?.into_iter().map(|line| (line.dispatch, line.receipt, line.ack)).collect();
        Ok(write_file(&entries))
    }

    fn append_locked(
        &self,
        file: &mut File,
        dispatch: &VerifiedEvent,
        receipt: &VerifiedEvent,
        ack: &VerifiedEvent,
    ) -> Result<(), ReceiptStoreError> {
        let disk = |source| self.disk(source);
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(disk)?;
        let end = text.rfind('\n').map_or(0, |at| at.saturating_add(1));
        let last = text.get(..end).and_then(|whole| whole.lines().last());
        let (n, prev) = match last {
            None => (0, GENESIS.to_owned()),
            Some(line) => {
                let number = text.get(..end).map_or(0, |whole| whole.lines().count());
                let entry: ReceiptLine = serde_json::from_str(line).map_err(|_| {
                    ReceiptStoreError::Damaged { path: self.path.display().to_string(), line: number }
                })?;
                (entry.n.saturating_add(1), line_hash(line))
            }
        };
        let line = ReceiptLine {
            n,
            prev,
            dispatch: Some(dispatch.clone()),
            receipt: receipt.clone(),
            ack: Some(ack.clone()),
        };
        let mut line = serde_json::to_string(&line).map_err(|error| disk(error.into()))?;
        line.push('\n');
        file.set_len(end as u64).map_err(disk)?;
        file.seek(SeekFrom::Start(end as u64)).map_err(disk)?;
        file.write_all(line.as_bytes()).map_err(disk)?;
        file.sync_all().map_err(disk)
    }

    fn disk(&self, source: std::io::Error) -> ReceiptStoreError {
        ReceiptStoreError::Disk { path: self.path.display().to_string(), source }
    }
}

#[cfg(test)]
#[path = "receipt_store_tests.rs"]
mod tests;
