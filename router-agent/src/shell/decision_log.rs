//! Decisions on disk for `explain` and `replay`: one JSON object a line, in two generations that take turns, so that
//! neither the number of decisions nor their bytes grow without end. Written by a thread of its own; when
//! it cannot keep
//! up, decisions go unrecorded rather than late.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use fedai_protocol::limits::ROUTER_DECISIONS_MAX;

use crate::core::decision_entry::DecisionEntry;

/// Entries of one generation.
const LINES_MAX: usize = ROUTER_DECISIONS_MAX / 2;
/// A mebibyte, halved: there are two generations.
const HALF_MEBIBYTE: u64 = 524_288;
/// Entries that may wait to be written.
const QUEUE_MAX: usize = 1_024;

/// Writes decisions.
#[derive(Debug)]
pub struct DecisionLog {
    queue: Option<SyncSender<Box<DecisionEntry>>>,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl DecisionLog {
    /// Opens the log in a data directory. It takes at most this much disk, in two halves.
    pub fn open(data: &Path, mebibytes_max: u32) -> std::io::Result<Self> {
        let generation = Generation::open(data, u64::from(mebibytes_max) * HALF_MEBIBYTE)?;
        let (queue, entries) = sync_channel(QUEUE_MAX);
        let writer = std::thread::Builder::new()
            .name("decision-log".to_owned())
            .spawn(move || write_all(generation, &entries))?;
        Ok(Self { queue: Some(queue), writer: Some(writer) })
    }

    /// Hands over an entry; false when it is not recorded.
    pub fn record(&self, entry: Box<DecisionEntry>) -> bool {
        let Some(queue) = &self.queue else { return false };
        !matches!(queue.try_send(entry), Err(TrySendError::Full(_) | TrySendError::Disconnected(_)))
    }
}

impl Drop for DecisionLog {
    /// Waits until everything handed over is written.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            // A panic in the writer has been reported by the runtime already.
            drop(writer.join());
        }
    }
}

/// Every recorded decision, oldest first. Lines that cannot be read are left out and counted.
pub fn read_all(data: &Path) -> std::io::Result<(Vec<DecisionEntry>, usize)> {
    let mut entries = Vec::new();
    let mut unreadable = 0;
    for path in [old_path(data), path(data)] {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in BufReader::new(file).lines() {
            match serde_json::from_str(&line?) {
                Ok(entry) => entries.push(entry),
                Err(_) => unreadable += 1,
            }
        }
    }
    Ok((entries, unreadable))
}

/// Path of the current generation.
#[must_use]
pub fn path(data: &Path) -> PathBuf {
    data.join("decisions.jsonl")
}

fn old_path(data: &Path) -> PathBuf {
    data.join("decisions.1.jsonl")
}

struct Generation {
    data: PathBuf,
    file: BufWriter<File>,
    lines: usize,
    bytes: u64,
    bytes_max: u64,
}

impl Generation {
    fn open(data: &Path, bytes_max: u64) -> std::io::Result<Self> {
        let path = path(data);
        let lines = match File::open(&path) {
            Ok(file) => BufReader::new(file).lines().count(),
            Err(_) => 0,
        };
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { data: data.to_owned(), file: BufWriter::new(file), lines, bytes, bytes_max })
    }

    fn write(&mut self, entry: &DecisionEntry) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        if self.lines >= LINES_MAX || self.bytes + line.len() as u64 > self.bytes_max {
            self.file.flush()?;
            std::fs::rename(path(&self.data), old_path(&self.data))?;
            *self = Self::open(&self.data, self.bytes_max)?;
        }
        self.lines += 1;
        self.bytes += line.len() as u64;
        self.file.write_all(&line)
    }
}

fn write_all(mut generation: Generation, entries: &Receiver<Box<DecisionEntry>>) {
    while let Ok(entry) = entries.recv() {
        let mut outcome = generation.write(&entry);
        while let Ok(entry) = entries.try_recv() {
            outcome = outcome.and_then(|()| generation.write(&entry));
        }
        if let Err(error) = outcome.and_then(|()| generation.file.flush()) {
            tracing::warn!(%error, "a decision could not be recorded");
        }
    }
}
