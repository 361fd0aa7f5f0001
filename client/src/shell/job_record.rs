//! What is kept of a decision, for `fedai why`: who was considered, on which terms, and what became of it. No prompt,
//! no output, no key of a session.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fedai_protocol::decision_record::DecisionRecord;
use fedai_protocol::{EventId, PublicKey};
use serde::{Deserialize, Serialize};

use super::private_file;

/// Folder inside the data folder.
const FOLDER: &str = "decisions";
/// Records kept after a look; the oldest go first.
const RECORDS_MAX: usize = 2_000;
/// Records written from one look for old ones to the next: a look reads the whole folder.
const LOOK_EVERY: u32 = 200;
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

/// Records of one data folder.
#[derive(Clone, Debug)]
pub struct JobRecords {
    folder: PathBuf,
    /// Written by this process.
    written: Arc<AtomicU32>,
}

impl JobRecords {
    /// The records of a data folder.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self { folder: data.join(FOLDER), written: Arc::default() }
    }

    /// Keeps a record under its job, else under its request.
    pub fn keep(&self, record: &JobRecord) -> Result<(), JobRecordError> {
        let id = record.job.unwrap_or(record.request).to_hex();
        let path = self.folder.join(format!("{id}.json"));
        let disk = |source| JobRecordError::Disk { path: path.display().to_string(), source };
        let text = serde_json::to_vec(record).map_err(|error| disk(error.into()))?;
        private_file::write_unsynced(&path, &text).map_err(disk)?;
        if self.written.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK_EVERY) {
            self.prune();
        }
        Ok(())
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

    fn files(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        let paths = entries.flatten().map(|entry| entry.path());
        paths.filter(|path| path.extension().is_some_and(|end| end == "json")).collect()
    }

    fn all(&self) -> Vec<JobRecord> {
        let read = |path: PathBuf| serde_json::from_slice(&std::fs::read(path).ok()?).ok();
        self.files().into_iter().filter_map(read).collect()
    }

    fn prune(&self) {
        let mut files = self.files();
        if files.len() <= RECORDS_MAX {
            return;
        }
        files.sort_by_cached_key(|path| std::fs::metadata(path).and_then(|data| data.modified()).ok());
        let surplus = files.len().saturating_sub(RECORDS_MAX);
        for path in files.into_iter().take(surplus) {
            // Another process may have pruned it first.
            drop(std::fs::remove_file(path));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn however_many_are_written_about_as_many_stay_as_are_kept() {
        let data = tempfile::tempdir().unwrap();
        let records = JobRecords::new(data.path());
        std::fs::create_dir_all(&records.folder).unwrap();
        for number in 0..RECORDS_MAX + 50 {
            std::fs::write(records.folder.join(format!("{number}.json")), "{}").unwrap();
        }
        let id = |number: u8| EventId::from_byte_array([number; 32]);
        let key = PublicKey::from_byte_array([7; 32]);
        let record = |number| JobRecord {
            v: 1,
            request: id(number),
            router: key,
            decision: String::new(),
            record: None,
            job: None,
            node: None,
            receipt: None,
            attempts: Vec::new(),
        };
        records.keep(&record(1)).unwrap();
        assert_eq!(records.files().len(), RECORDS_MAX, "the first one looks");
        (2..=100).for_each(|number| records.keep(&record(number)).unwrap());
        assert_eq!(records.files().len(), RECORDS_MAX + 99, "the next ones do not");
        assert_eq!(records.find(&id(100).to_hex()).unwrap().request, id(100));
    }
}
