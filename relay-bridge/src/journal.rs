//! The ground state: an append-only, hash-chained file.
//!
//! What [`Journal::append`] has answered is on disk: many appends share one `fdatasync` (group commit). A frame
//! that a crash cut short at the end is cut off when the journal is opened; any other damage refuses to start, with
//! file and offset. What can be missed is only noted, in the same order, and synced with the next append or about a
//! second later. After one failed write or sync nothing is acknowledged any more until a restart: what the kernel
//! did with the pages is unknown then.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use fedai_protocol::limits::JOURNAL_RECORD_BYTES_MAX;
use tokio::sync::oneshot;

use crate::journal_frame::{self as frame, Frame, Hash, MAGIC};

/// File name inside the journal's directory.
const FILE_NAME: &str = "journal.log";
/// Appends that wait for the writer, at most; callers beyond that wait for room.
const WAITING_MAX: usize = 4_096;
/// Bytes written before a sync, at most, so that the first waiter is not kept for ever.
const BATCH_BYTES_MAX: usize = 4 * 1_048_576;
/// How long notes may wait for a sync when nothing else comes, and how many batches of them when more do.
const SYNC_WITHIN: Duration = Duration::from_secs(1);
const UNSYNCED_MAX: u32 = 256;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// Where its frame begins in the file.
    pub offset: u64,
    /// What kind of record it is, by the owner's own numbering.
    pub kind: u8,
    /// Content.
    pub payload: Vec<u8>,
}

/// Why a journal cannot be opened or appended to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// The system refused.
    #[error("{path}: {action}: {error}\n\
     hint: check free space and permissions of this directory", path = path.display())]
    Io {
        /// File.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's words.
        error: Arc<std::io::Error>,
    },
    /// The file holds something that no crash leaves.
    #[error(
        "{path}: damaged at offset {offset}: {what}\n\
         hint: nothing was changed; restore a backup, or cut the file at this offset and lose what follows",
        path = path.display()
    )]
    Damaged {
        /// File.
        path: PathBuf,
        /// Byte offset.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// The record is too large.
    #[error("record of {0} bytes is larger than {JOURNAL_RECORD_BYTES_MAX}")]
    TooLarge(usize),
    /// An earlier write failed; nothing is acknowledged until a restart.
    #[error("journal stopped after a failed write: {0}\nhint: restart the process once the disk is well")]
    Stopped(String),
}

/// Where the journal's bytes go; tests hand in one that fails.
pub(crate) trait JournalFile: Send + 'static {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()>;
    fn sync(&mut self) -> std::io::Result<()>;
}

impl JournalFile for File {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.sync_data()
    }
}

/// An open journal. Cheap to clone; one thread writes for all clones.
#[derive(Clone, Debug)]
pub struct Journal {
    requests: mpsc::SyncSender<Request>,
    syncs: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Request {
    /// Kind and payload; none for who only waits.
    record: Option<(u8, Vec<u8>)>,
    /// Who waits until it is on disk; nobody for a note.
    reply: Option<Reply>,
}

type Reply = oneshot::Sender<Result<u64, JournalError>>;

impl Request {
    fn of(kind: u8, payload: &[u8], reply: Option<Reply>) -> Result<Self, JournalError> {
        if payload.len() > JOURNAL_RECORD_BYTES_MAX {
            return Err(JournalError::TooLarge(payload.len()));
        }
        Ok(Self { record: Some((kind, payload.to_vec())), reply })
    }
}

impl Journal {
    /// Opens or creates the journal in `dir` and gives all of it. For journals that are small.
    pub fn open(dir: &Path) -> Result<(Self, Vec<JournalEntry>), JournalError> {
        let mut entries = Vec::new();
        let journal = Self::open_with(dir, |entry| {
            entries.push(entry);
            Ok::<(), JournalError>(())
        })?;
        Ok((journal, entries))
    }

    /// Opens or creates the journal in `dir` and hands over its records one by one. An error of `visit` ends it, before
    /// anything is changed.
    pub fn open_with<E: From<JournalError>>(
        dir: &Path,
        visit: impl FnMut(JournalEntry) -> Result<(), E>,
    ) -> Result<Self, E> {
        let path = dir.join(FILE_NAME);
        create(dir, &path)?;
        let (end, hash, size) = read_file(&path, visit)?;
        Ok(Self::go_on(path, end, hash, size)?)
    }

    /// Hands over the records of the journal in `dir`, to which a process may be writing: what is unfinished is left
    /// out.
    pub fn read<E: From<JournalError>>(
        dir: &Path,
        visit: impl FnMut(JournalEntry) -> Result<(), E>,
    ) -> Result<(), E> {
        read_file(&dir.join(FILE_NAME), visit).map(drop)
    }

    fn go_on(path: PathBuf, end: u64, hash: Hash, size: u64) -> Result<Self, JournalError> {
        let file = OpenOptions::new().append(true).open(&path).map_err(|error| io(&path, "open", error))?;
        if end < size {
            let cut = size.saturating_sub(end);
            tracing::warn!(file = %path.display(), offset = end, bytes = cut, "cut off an unfinished record");
            file.set_len(end).map_err(|error| io(&path, "truncate", error))?;
            file.sync_all().map_err(|error| io(&path, "sync", error))?;
        }
        Self::start(file, path.clone(), end, hash).map_err(|error| io(&path, "start writer", error))
    }

    /// Appends a record; it is durable when this resolves. The answer is its offset.
    pub async fn append(&self, kind: u8, payload: &[u8]) -> Result<u64, JournalError> {
        let reply = self.request(kind, payload)?;
        reply.await.unwrap_or_else(|_| Err(stopped("writer ended")))
    }

    /// Appends records of one kind in this order; all are durable when this resolves.
    pub async fn append_all(&self, kind: u8, payloads: &[Vec<u8>]) -> Result<(), JournalError> {
        let replies: Vec<_> =
            payloads.iter().map(|payload| self.request(kind, payload)).collect::<Result<_, _>>()?;
        for reply in replies {
            reply.await.unwrap_or_else(|_| Err(stopped("writer ended")))?;
        }
        Ok(())
    }

    /// Appends a record without waiting. A machine that loses its power may lose it, a process that is killed only in
    /// the same moment.
    pub fn note(&self, kind: u8, payload: &[u8]) -> Result<(), JournalError> {
        self.send(Request::of(kind, payload, None)?)
    }

    /// Waits until everything that was noted is durable.
    pub async fn flush(&self) -> Result<(), JournalError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request { record: None, reply: Some(reply) })?;
        answer.await.unwrap_or_else(|_| Err(stopped("writer ended"))).map(drop)
    }

    /// [`Journal::append`] for callers outside async code.
    pub fn append_blocking(&self, kind: u8, payload: &[u8]) -> Result<u64, JournalError> {
        let reply = self.request(kind, payload)?;
        reply.blocking_recv().unwrap_or_else(|_| Err(stopped("writer ended")))
    }

    /// `fdatasync` calls so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Replaces the journal in `dir` by these records, atomically. Nobody may have it open.
    pub fn compact(dir: &Path, keep: impl IntoIterator<Item = (u8, Vec<u8>)>) -> Result<(), JournalError> {
        let (path, new_path) = (dir.join(FILE_NAME), dir.join("journal.new"));
        let mut bytes = MAGIC.to_vec();
        let mut hash = frame::genesis();
        for (kind, payload) in keep {
            hash = frame::write(&hash, kind, &payload, &mut bytes);
        }
        let mut file = private_file(&new_path, true).map_err(|error| io(&new_path, "create", error))?;
        file.write_all(&bytes).map_err(|error| io(&new_path, "write", error))?;
        file.sync_all().map_err(|error| io(&new_path, "sync", error))?;
        std::fs::rename(&new_path, &path).map_err(|error| io(&path, "replace", error))?;
        sync_dir(dir)
    }

    fn request(
        &self,
        kind: u8,
        payload: &[u8],
    ) -> Result<oneshot::Receiver<Result<u64, JournalError>>, JournalError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::of(kind, payload, Some(reply))?)?;
        Ok(answer)
    }

    fn send(&self, request: Request) -> Result<(), JournalError> {
        self.requests.send(request).map_err(|_| stopped("writer ended"))
    }

    pub(crate) fn start(
        file: impl JournalFile,
        path: PathBuf,
        end: u64,
        hash: Hash,
    ) -> Result<Self, std::io::Error> {
        let (requests, incoming) = mpsc::sync_channel(WAITING_MAX);
        let syncs = Arc::new(AtomicU64::new(0));
        let mut writer =
            Writer { file, path, end, hash, failed: None, unsynced: 0, syncs: Arc::clone(&syncs) };
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || writer.run(&incoming))?;
        Ok(Self { requests, syncs })
    }
}

struct Writer<F> {
    file: F,
    path: PathBuf,
    end: u64,
    hash: Hash,
    failed: Option<JournalError>,
    /// Batches of notes that are written and not synced.
    unsynced: u32,
    syncs: Arc<AtomicU64>,
}

impl<F: JournalFile> Writer<F> {
    fn run(&mut self, incoming: &mpsc::Receiver<Request>) {
        loop {
            let first = match self.unsynced {
                0 => incoming.recv().ok(),
                UNSYNCED_MAX.. => None,
                _ => incoming.recv_timeout(SYNC_WITHIN).ok(),
            };
            let Some(first) = first else {
                if self.unsynced == 0 {
                    return;
                }
                let outcome = self.sync();
                self.failed =
                    self.failed.take().or_else(|| outcome.err().map(|error| stopped(&error.to_string())));
                continue;
            };
            let mut batch = vec![first];
            let mut bytes: usize = 0;
            while bytes < BATCH_BYTES_MAX {
                let Ok(next) = incoming.try_recv() else { break };
                bytes = bytes.saturating_add(next.record.as_ref().map_or(0, |(_, payload)| payload.len()));
                batch.push(next);
            }
            self.commit(batch);
        }
    }

    fn commit(&mut self, batch: Vec<Request>) {
        let mut bytes = Vec::new();
        let mut hash = self.hash;
        let mut replies = Vec::with_capacity(batch.len());
        for request in batch {
            let offset = self.end.saturating_add(bytes.len() as u64);
            if let Some((kind, payload)) = request.record {
                hash = frame::write(&hash, kind, &payload, &mut bytes);
            }
            replies.extend(request.reply.map(|reply| (reply, offset)));
        }
        if self.failed.is_none() {
            self.failed =
                self.write(&bytes, !replies.is_empty()).err().map(|error| stopped(&error.to_string()));
        }
        if self.failed.is_none() {
            self.hash = hash;
            self.end = self.end.saturating_add(bytes.len() as u64);
        }
        for (reply, offset) in replies {
            // A caller that stopped waiting has its record on disk all the same.
            drop(reply.send(self.failed.clone().map_or(Ok(offset), Err)));
        }
    }

    fn write(&mut self, bytes: &[u8], is_awaited: bool) -> Result<(), JournalError> {
        self.file.append(bytes).map_err(|error| io(&self.path, "append", error))?;
        if !is_awaited {
            self.unsynced = self.unsynced.saturating_add(1);
            return Ok(());
        }
        self.sync()
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        self.unsynced = 0;
        self.file.sync().map_err(|error| io(&self.path, "fdatasync", error))?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Where the last whole frame ends, its hash, and the size of the file.
fn read_file<E: From<JournalError>>(
    path: &Path,
    visit: impl FnMut(JournalEntry) -> Result<(), E>,
) -> Result<(u64, Hash, u64), E> {
    let stored = File::open(path).map_err(|error| io(path, "open", error))?;
    let size = stored.metadata().map_err(|error| io(path, "read", error))?.len();
    let (end, hash) = read_frames(path, &mut BufReader::new(stored), visit)?;
    Ok((end, hash, size))
}

/// Reads frame by frame: no more than one of them is in memory.
fn read_frames<E: From<JournalError>>(
    path: &Path,
    file: &mut impl BufRead,
    mut visit: impl FnMut(JournalEntry) -> Result<(), E>,
) -> Result<(u64, Hash), E> {
    let damaged = |offset, what| JournalError::Damaged { path: path.to_owned(), offset, what };
    let mut magic = Vec::with_capacity(MAGIC.len());
    file.by_ref()
        .take(MAGIC.len() as u64)
        .read_to_end(&mut magic)
        .map_err(|error| io(path, "read", error))?;
    if magic != MAGIC {
        return Err(damaged(0, "not a journal").into());
    }
    let (mut offset, mut previous) = (MAGIC.len() as u64, frame::genesis());
    loop {
        match frame::read(file, &previous).map_err(|error| io(path, "read", error))? {
            Frame::Whole { kind, payload, hash, bytes } => {
                visit(JournalEntry { offset, kind, payload })?;
                (offset, previous) = (offset.saturating_add(bytes), hash);
            }
            Frame::End | Frame::Torn => return Ok((offset, previous)),
            Frame::Damaged(what) => return Err(damaged(offset, what).into()),
        }
    }
}

/// Makes the file with its first bytes in one atomic step, so that a crash leaves either none or a valid one.
fn create(dir: &Path, path: &Path) -> Result<(), JournalError> {
    std::fs::create_dir_all(dir).map_err(|error| io(dir, "create directory", error))?;
    if path.exists() {
        return Ok(());
    }
    Journal::compact(dir, [])?;
    dir.parent().filter(|parent| parent.is_dir()).map_or(Ok(()), sync_dir)
}

fn private_file(path: &Path, truncate: bool) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(truncate);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn sync_dir(dir: &Path) -> Result<(), JournalError> {
    File::open(dir).and_then(|file| file.sync_all()).map_err(|error| io(dir, "sync directory", error))
}

fn io(path: &Path, action: &'static str, error: std::io::Error) -> JournalError {
    JournalError::Io { path: path.to_owned(), action, error: Arc::new(error) }
}

fn stopped(why: &str) -> JournalError {
    JournalError::Stopped(why.to_owned())
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
