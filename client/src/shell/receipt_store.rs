//! The client's own receipts, appended to one file that anyone can check: each line names the hash of the line before,
//! and an end line shows a cut tail.
//!
//! Several processes may append: the file is locked while one does. A line is on the disk before the command that
//! bought it ends. What a crash leaves behind (a torn line, no end line) is cut after the last whole entry and closed
//! again by the next who reads or appends. Receipts that were disputed are evidence, not purchases: they have a file of
//! their own.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fedai_protocol::VerifiedEvent;
use fedai_protocol::limits::RECEIPTS_LINE_BYTES_MAX;
use fedai_protocol::receipts_file::{EndLine, GENESIS, ReceiptLine, line_hash, write_file};
use serde::Serialize;
use tokio::sync::oneshot;

use super::private_file;

/// How much of the file's end is read at first: a whole line, the end line, and a torn one after it.
const TAIL_BYTES: u64 = 2 * RECEIPTS_LINE_BYTES_MAX as u64 + 1_024;

/// File name inside the data folder.
pub const FILE_NAME: &str = "receipts.jsonl";
/// Name of the file of disputed receipts, beside it.
pub const DISPUTES_FILE_NAME: &str = "disputes.jsonl";

/// Receipts of one data folder. Clones share what they know of the file's end.
#[derive(Clone, Debug)]
pub struct ReceiptStore {
    path: PathBuf,
    end: Arc<Mutex<Option<KnownEnd>>>,
    waiting: Arc<Mutex<Vec<Waiting>>>,
    /// Whose turn it is to write.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// An entry that waits for its turn, and who wants to know whether it is kept.
type Waiting = (ReceiptEntry, oneshot::Sender<bool>);

/// One purchase: a ticket, the receipt under it, and the client's word on that.
#[derive(Clone, Debug)]
pub struct ReceiptEntry {
    /// The ticket (kind 21437).
    pub dispatch: VerifiedEvent,
    /// The receipt (kind 1434).
    pub receipt: VerifiedEvent,
    /// The word (kind 1435).
    pub ack: VerifiedEvent,
}

/// The end of the file as this process left it. Whoever appends makes the file longer: it holds while the length does.
#[derive(Clone, Debug)]
struct KnownEnd {
    length: u64,
    next: NextEntry,
}

/// Where the next entry goes, its number, and the hash of the line before.
#[derive(Clone, Debug)]
struct NextEntry {
    at: u64,
    n: u64,
    prev: String,
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
    /// A line that is no entry, or does not belong where it is.
    #[error("{path}: line {line} is not an entry\nhint: see what is wrong: fedai receipts verify {path}")]
    Damaged {
        /// File.
        path: String,
        /// Line, from 1.
        line: usize,
    },
    /// An entry that no reader of the file would take.
    #[error(
        "{path}: the entry has {bytes} bytes, a line may have {RECEIPTS_LINE_BYTES_MAX}\n\
         hint: its dispatch names too much; ask another router: --router"
    )]
    TooLong {
        /// File.
        path: String,
        /// Bytes of the line.
        bytes: usize,
    },
}

/// A receipt that was refused, with what proves it.
#[derive(Serialize)]
struct Dispute<'a> {
    dispatch: &'a VerifiedEvent,
    receipt: &'a VerifiedEvent,
    ack: &'a VerifiedEvent,
}

impl ReceiptStore {
    /// The store of a data folder; nothing is created before the first receipt.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        let (end, waiting, turn) = (Arc::default(), Arc::default(), Arc::default());
        Self { path: data.join(FILE_NAME), end, waiting, turn }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps an entry; true when it is on the disk. Entries that come while the disk is busy share one sync.
    pub(crate) async fn keep(&self, entry: ReceiptEntry) -> bool {
        let (tell, is_kept) = oneshot::channel();
        self.waiting().push((entry, tell));
        // Whoever had the turn before may have kept this one, too.
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let batch = core::mem::take(&mut *self.waiting());
        if !batch.is_empty() {
            let store = self.clone();
            let work = tokio::task::spawn_blocking(move || {
                store.keep_all(batch);
                drop(turn);
            });
            if let Err(error) = work.await {
                tracing::error!(%error, "receipts were not kept");
            }
        }
        is_kept.await.unwrap_or(false)
    }

    fn keep_all(&self, batch: Vec<Waiting>) {
        let (entries, tells): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let failed = |error: &ReceiptStoreError| tracing::error!(%error, "a receipt was not kept");
        let kept = match self.append_all(&entries) {
            Ok(outcomes) => outcomes.into_iter().map(|outcome| outcome.inspect_err(failed).is_ok()).collect(),
            Err(error) => {
                failed(&error);
                vec![false; tells.len()]
            }
        };
        // Nobody asks in a program that serves others.
        tells.into_iter().zip(kept).for_each(|(tell, is_kept)| tell.send(is_kept).unwrap_or(()));
    }

    /// Appends entries; they are on the disk when this returns, but for those that are too long.
    pub fn append_all(
        &self,
        entries: &[ReceiptEntry],
    ) -> Result<Vec<Result<(), ReceiptStoreError>>, ReceiptStoreError> {
        let mut file = open_locked(&self.path).map_err(|source| self.disk(source))?;
        let NextEntry { at, mut n, mut prev } = self.next(&mut file)?;
        let (mut text, mut outcomes) = (String::new(), Vec::with_capacity(entries.len()));
        for ReceiptEntry { dispatch, receipt, ack } in entries {
            let line = ReceiptLine {
                n,
                prev: prev.clone(),
                dispatch: Some(dispatch.clone()),
                receipt: receipt.clone(),
                ack: Some(ack.clone()),
            };
            let line = serde_json::to_string(&line).map_err(|error| self.disk(error.into()))?;
            if line.len() > RECEIPTS_LINE_BYTES_MAX {
                let (path, bytes) = (self.path.display().to_string(), line.len());
                outcomes.push(Err(ReceiptStoreError::TooLong { path, bytes }));
                continue;
            }
            (n, prev) = (n.saturating_add(1), line_hash(&line));
            text.push_str(&line);
            text.push('\n');
            outcomes.push(Ok(()));
        }
        let after = |bytes: usize| at.saturating_add(bytes as u64);
        let next = NextEntry { at: after(text.len()), n, prev: prev.clone() };
        if text.is_empty() {
            return Ok(outcomes);
        }
        text.push_str(&end_line(n, prev));
        write_from(&mut file, at, &text).map_err(|source| self.disk(source))?;
        *self.known_end() = Some(KnownEnd { length: after(text.len()), next });
        Ok(outcomes)
    }

    /// Keeps a receipt that was disputed; true when it is on the disk.
    pub(crate) async fn keep_dispute(&self, entry: ReceiptEntry) -> bool {
        let store = self.clone();
        let outcome = tokio::task::spawn_blocking(move || store.append_dispute(&entry)).await;
        let failed = |error: &ReceiptStoreError| tracing::error!(%error, "a disputed receipt was not kept");
        outcome.is_ok_and(|outcome| outcome.inspect_err(failed).is_ok())
    }

    /// Keeps a receipt that was disputed, with the ticket and the dispute, as evidence.
    pub fn append_dispute(&self, entry: &ReceiptEntry) -> Result<(), ReceiptStoreError> {
        let ReceiptEntry { dispatch, receipt, ack } = entry;
        let path = self.path.with_file_name(DISPUTES_FILE_NAME);
        let append = || {
            let line = serde_json::to_string(&Dispute { dispatch, receipt, ack })?;
            let mut file = open_locked(&path)?;
            let mut whole = Vec::new();
            file.read_to_end(&mut whole)?;
            write_from(&mut file, after_last_break(&whole) as u64, &format!("{line}\n"))
        };
        append().map_err(|source| ReceiptStoreError::Disk { path: path.display().to_string(), source })
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> Result<Vec<ReceiptLine>, ReceiptStoreError> {
        let bytes = match read_shared(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.disk(error)),
        };
        let whole = bytes.get(..after_last_break(&bytes)).unwrap_or_default();
        let mut lines: Vec<&[u8]> = whole.split(|byte| *byte == b'\n').collect();
        // What is behind the last line break: nothing.
        lines.pop();
        let end = lines.last().and_then(|line| serde_json::from_slice::<EndLine>(line).ok());
        if end.is_some() {
            lines.pop();
        }
        let read =
            |(line, text): (usize, &&[u8])| serde_json::from_slice(text).map_err(|_| self.damaged(line));
        let entries: Vec<ReceiptLine> = (1..).zip(&lines).map(read).collect::<Result<_, _>>()?;
        match end {
            Some(end) if end.end != entries.len() as u64 => return Err(self.damaged(lines.len() + 1)),
            Some(_) if whole.len() == bytes.len() => {}
            _ => self.close_again(),
        }
        Ok(entries)
    }

    /// The file in the form that is handed to others: without anything a crash left behind.
    pub fn export(&self) -> Result<String, ReceiptStoreError> {
        let entries: Vec<_> =
            self.entries()?.into_iter().map(|line| (line.dispatch, line.receipt, line.ack)).collect();
        Ok(write_file(&entries))
    }

    /// What comes after the last entry: known from the last append, else read from the end of the file.
    fn next(&self, file: &mut File) -> Result<NextEntry, ReceiptStoreError> {
        let length = file.metadata().map_err(|source| self.disk(source))?.len();
        match self.known_end().take() {
            Some(known) if known.length == length => Ok(known.next),
            _ => {
                let tail = Tail::read(file).map_err(|source| self.disk(source))?;
                let (n, prev) = self.after(&tail)?;
                Ok(NextEntry { at: tail.entries_end, n, prev })
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever panicked with it took it out before.
    fn known_end(&self) -> MutexGuard<'_, Option<KnownEnd>> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number and predecessor of the entry after the last one.
    fn after(&self, tail: &Tail) -> Result<(u64, String), ReceiptStoreError> {
        let (n, prev) = match &tail.entry {
            None => (0, GENESIS.to_owned()),
            Some(line) => {
                let text = std::str::from_utf8(line).map_err(|_| self.last_is_damaged())?;
                let entry: ReceiptLine = serde_json::from_str(text).map_err(|_| self.last_is_damaged())?;
                (entry.n.saturating_add(1), line_hash(text))
            }
        };
        match &tail.end {
            Some(end) if end.end != n || end.prev != prev => Err(self.last_is_damaged()),
            _ => Ok((n, prev)),
        }
    }

    /// Cuts off what a crash left behind and writes the end line that it prevented. Entries can be read without.
    fn close_again(&self) {
        let close = || -> Result<(), ReceiptStoreError> {
            let mut file = open_locked(&self.path).map_err(|source| self.disk(source))?;
            let tail = Tail::read(&mut file).map_err(|source| self.disk(source))?;
            let (n, prev) = self.after(&tail)?;
            write_from(&mut file, tail.entries_end, &end_line(n, prev)).map_err(|source| self.disk(source))
        };
        match close() {
            Ok(()) => {
                tracing::warn!(path = ?self.path, "the receipts file had no end line; it was closed again")
            }
            Err(error) => tracing::warn!(%error, "the receipts file has no end line"),
        }
    }

    fn last_is_damaged(&self) -> ReceiptStoreError {
        let whole = std::fs::read(&self.path).unwrap_or_default();
        self.damaged(whole.iter().filter(|byte| **byte == b'\n').count())
    }

    fn damaged(&self, line: usize) -> ReceiptStoreError {
        ReceiptStoreError::Damaged { path: self.path.display().to_string(), line }
    }

    fn disk(&self, source: std::io::Error) -> ReceiptStoreError {
        ReceiptStoreError::Disk { path: self.path.display().to_string(), source }
    }
}

/// Reads a file while nobody appends to it. A file system without locks is read as it is.
pub(crate) fn read_shared(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    drop(file.lock_shared());
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a file of this user, creating it; the lock ends with the handle.
fn open_locked(path: &Path) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        private_file::create_folder(folder)?;
    }
    let mut options = private_file::private_options();
    let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
    file.lock()?;
    Ok(file)
}

/// Replaces everything from `at` on by one write. Cut first: no mixture of the old and the new can be left.
fn write_from(file: &mut File, at: u64, text: &str) -> std::io::Result<()> {
    file.set_len(at)?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(text.as_bytes())?;
    file.sync_data()
}

fn end_line(end: u64, prev: String) -> String {
    let mut line = serde_json::to_string(&EndLine { end, prev }).unwrap_or_default();
    line.push('\n');
    line
}

/// Length of the whole lines.
fn after_last_break(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at.saturating_add(1))
}

/// The end of the file: it grows with every job, so only that is read to append.
struct Tail {
    /// The last entry's line, without its break.
    entry: Option<Vec<u8>>,
    /// Where that line ends.
    entries_end: u64,
    /// The end line, when there is one.
    end: Option<EndLine>,
}

impl Tail {
    fn read(file: &mut File) -> std::io::Result<Self> {
        let length = file.metadata()?.len();
        let mut wanted = TAIL_BYTES;
        loop {
            let from = length.saturating_sub(wanted);
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            if let Some(tail) = Self::find(&bytes, from) {
                return Ok(tail);
            }
            wanted = wanted.saturating_mul(4);
        }
    }

    /// Finds it in the bytes that begin at `from`; none when they are too few.
    fn find(bytes: &[u8], from: u64) -> Option<Self> {
        let begins = |end: usize| {
            let before = bytes.get(..end.checked_sub(1)?)?.iter().rposition(|byte| *byte == b'\n');
            before.map(|at| at.saturating_add(1)).or_else(|| (from == 0).then_some(0))
        };
        let line = |begin: usize, end: usize| bytes.get(begin..end.saturating_sub(1)).unwrap_or_default();
        let mut end = after_last_break(bytes);
        let mut end_line = None;
        if end > 0 {
            let begin = begins(end)?;
            end_line = serde_json::from_slice::<EndLine>(line(begin, end)).ok();
            end = if end_line.is_some() { begin } else { end };
        }
        let entry = match end {
            0 if from == 0 => None,
            0 => return None,
            _ => Some(line(begins(end)?, end).to_vec()),
        };
        Some(Self { entry, entries_end: from.saturating_add(end as u64), end: end_line })
    }
}

#[cfg(test)]
#[path = "receipt_store_tests.rs"]
mod tests;
