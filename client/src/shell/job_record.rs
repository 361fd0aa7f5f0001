//! What is kept of a decision, for `fedai why`: who was considered, on which terms, and what became of it. No prompt,
//! no output, no key of a session.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use fedai_protocol::decision_record::DecisionRecord;
use fedai_protocol::{EventId, PublicKey};
use serde::{Deserialize, Serialize};

use super::private_file;

/// File inside the data folder, a line for each record.
const FILE: &str = "decisions.jsonl";
/// What that file was before it was full; what was here before is gone.
const OLDER_FILE: &str = "decisions.1.jsonl";
/// Bytes of a full file: some two thousand records.
const FILE_BYTES: u64 = 4 * 1_048_576;
/// Shortest part of an id that is looked up.
const PREFIX_MIN: usize = 4;

/// One decision and its outcome.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobRecord {
    /// Version of this form.
    pub v: u64,
    /// Quote request: the id of the decision.
    pub request: EventId,
    /// Router that decided.
    pub router: PublicKey,
    /// Digest that the quote committed to.
    pub decision: String,
    /// The record, when the router sent it along.
    #[serde(default)]
    pub record: Option<DecisionRecord>,
    /// Job, when one was opened.
    #[serde(default)]
    pub job: Option<EventId>,
    /// Node that served it.
    #[serde(default)]
    pub node: Option<PublicKey>,
    /// Receipt.
    #[serde(default)]
    pub receipt: Option<EventId>,
    /// Nodes tried and what became of it.
    #[serde(default)]
    pub attempts: Vec<(PublicKey, String)>,
}

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
pub enum JobRecordError {
    /// Nothing has this id.
    #[error("no decision, job or receipt {0:?} is known here\nhint: see the ids: fedai receipts list")]
    Unknown(String),
    /// Several have it.
    #[error("several decisions begin with {0:?}\nhint: write more of the id")]
    Ambiguous(String),
    /// Too short to look up.
    #[error("{0:?} is too short\nhint: write at least {PREFIX_MIN} characters of the id")]
    TooShort(String),
    /// The disk.
    #[error("{path}: {source}")]
    Disk {
        /// File.
        path: String,
        /// The system's words.
        source: std::io::Error,
    },
}

/// Records of one data folder. One file that is appended to: a file of its own for each is work for the file system
/// that grows with the number of jobs.
#[derive(Clone, Debug)]
pub struct JobRecords {
    file: PathBuf,
    older: PathBuf,
}

impl JobRecords {
    /// The records of a data folder.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self { file: data.join(FILE), older: data.join(OLDER_FILE) }
    }

    /// Keeps a record. A machine that loses its power may lose the last ones.
    pub fn keep(&self, record: &JobRecord) -> Result<(), JobRecordError> {
        let disk = |source| JobRecordError::Disk { path: self.file.display().to_string(), source };
        let mut line = serde_json::to_vec(record).map_err(|error| disk(error.into()))?;
        line.push(b'\n');
        let mut file = self.open().map_err(disk)?;
        if file.metadata().map_err(disk)?.len() >= FILE_BYTES {
            self.begin_anew(&file).map_err(disk)?;
            file = self.open().map_err(disk)?;
        }
        // In one piece, so that lines of several processes do not mix.
        file.write_all(&line).map_err(disk)
    }

    /// The record of a job, a request or a receipt, by its id or the beginning of it.
    pub fn find(&self, id: &str) -> Result<JobRecord, JobRecordError> {
        if id.len() < PREFIX_MIN {
            return Err(JobRecordError::TooShort(id.to_owned()));
        }
        let wanted = id.to_ascii_lowercase();
        let named = |id: Option<EventId>| id.is_some_and(|id| id.to_hex().starts_with(&wanted));
        let mut found: Vec<JobRecord> = self
            .all()
            .into_iter()
            .filter(|record| named(Some(record.request)) || named(record.job) || named(record.receipt))
            .collect();
        // Jobs of one ticket share the decision: any of them answers for it.
        let one_decision = found.windows(2).all(|pair| match pair {
            [a, b] => a.request == b.request,
            _ => true,
        });
        match found.pop() {
            None => Err(JobRecordError::Unknown(id.to_owned())),
            Some(_) if !one_decision => Err(JobRecordError::Ambiguous(id.to_owned())),
            Some(record) => Ok(record),
        }
    }

    fn open(&self) -> std::io::Result<File> {
        if let Some(folder) = self.file.parent() {
            private_file::create_folder(folder)?;
        }
        private_file::private_options().append(true).create(true).open(&self.file)
    }

    /// Puts the full file aside, unless another process has done so meanwhile.
    fn begin_anew(&self, full: &File) -> std::io::Result<()> {
        full.lock()?;
        if std::fs::metadata(&self.file).is_ok_and(|now| now.len() >= FILE_BYTES) {
            std::fs::rename(&self.file, &self.older)?;
        }
        Ok(())
    }

    /// Oldest first. A line that a crash cut short is none.
    fn all(&self) -> Vec<JobRecord> {
        let read = |path: &Path| std::fs::read(path).unwrap_or_default();
        let both = [read(&self.older), read(&self.file)];
        let lines = both.iter().flat_map(|bytes| bytes.split(|byte| *byte == b'\n'));
        lines.filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn record(number: u16) -> JobRecord {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        JobRecord {
            v: 1,
            request: EventId::from_byte_array(id),
            router: PublicKey::from_byte_array([7; 32]),
            // As long as a usual one.
            decision: "d".repeat(1_900),
            record: None,
            job: None,
            node: None,
            receipt: None,
            attempts: Vec::new(),
        }
    }

    #[test]
    fn however_many_are_written_the_newest_stay_and_the_disk_does_not_fill() {
        let data = tempfile::tempdir().unwrap();
        let records = JobRecords::new(data.path());
        let written = 9_000;
        (0..written).for_each(|number| records.keep(&record(number)).unwrap());
        let bytes: u64 =
            std::fs::read_dir(data.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!((FILE_BYTES..2 * FILE_BYTES + 4_096).contains(&bytes), "{bytes}");
        let kept = records.all();
        assert!(kept.len() >= 2_000, "{}", kept.len());
        let first = written - u16::try_from(kept.len()).unwrap();
        let wanted: Vec<EventId> = (first..written).map(|number| record(number).request).collect();
        assert_eq!(
            kept.iter().map(|kept| kept.request).collect::<Vec<_>>(),
            wanted,
            "none is missing between"
        );
        assert!(matches!(records.find(&record(0).request.to_hex()), Err(JobRecordError::Unknown(_))));
    }

    #[test]
    fn a_line_that_a_crash_cut_short_costs_itself_and_the_one_behind_it() {
        let data = tempfile::tempdir().unwrap();
        let records = JobRecords::new(data.path());
        records.keep(&record(1)).unwrap();
        records.open().unwrap().write_all(b"{\"v\":1,\"requ").unwrap();
        (2..=3).for_each(|number| records.keep(&record(number)).unwrap());
        let kept: Vec<EventId> = records.all().iter().map(|kept| kept.request).collect();
        assert_eq!(kept, [record(1).request, record(3).request]);
    }
}
