//! Fast look-ups over a journal. The index is derived: it can be deleted at any time, and is, whenever it does not
//! open, does not answer, or does not belong to the journal beside it. Then it is built again and one line is logged.
//!
//! sled is used for nothing else here: its `flush` is not durable on Linux and it opens damaged files silently, both
//! harmless for something that is only ever a copy.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fedai_protocol::domain_separation::{JOURNAL, digest};

use crate::journal::JournalEntry;

/// One change: a key, and its value or `None` to remove it.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Key of the index's own note on how far it is; no change may touch it.
const APPLIED: &[u8] = b"\0applied";
/// Key of the sum over all rows, by which lost rows are noticed when the index is opened.
const SUM: &[u8] = b"\0sum";

/// Why an index does not answer.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// sled reports an error.
    #[error("index: {0}")]
    Sled(#[from] sled::Error),
    /// sled panicked on what it found.
    #[error("index: its files are damaged")]
    Panicked,
    /// Rows are missing or changed.
    #[error("index: its rows are not those that were written")]
    Mismatch,
    /// The directory cannot be removed.
    #[error("{path}: cannot be removed: {error}\n\
     hint: remove this directory by hand; it is rebuilt from the journal", path = path.display())]
    Remove {
        /// Directory.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
}

/// Keys and values over a journal, and how much of the journal they reflect.
pub trait JournalIndex {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;
    /// All keys with this beginning, in order.
    fn scan_prefix(&self, prefix: &[u8]) -> Result<Vec<Row>, IndexError>;
    /// Applies the changes of one journal entry, all or none.
    fn apply(&mut self, entry: &JournalEntry, changes: &[Change]) -> Result<(), IndexError>;
    /// The mark of the last applied entry (see [`mark`]), if any.
    fn applied(&self) -> Result<Option<Vec<u8>>, IndexError>;
    /// Removes everything.
    fn clear(&mut self) -> Result<(), IndexError>;
}

/// Identifies an entry of a journal by place and content.
#[must_use]
pub fn mark(entry: &JournalEntry) -> Vec<u8> {
    digest(JOURNAL, &[&entry.offset.to_be_bytes(), &[entry.kind], &entry.payload]).to_vec()
}

/// Brings an index to the end of the journal: from where it is, or from the beginning when it does not belong to it.
pub fn catch_up(
    index: &mut dyn JournalIndex,
    entries: &[JournalEntry],
    changes: &dyn Fn(&JournalEntry) -> Vec<Change>,
) -> Result<(), IndexError> {
    let from = match index.applied()? {
        None => None,
        Some(applied) => {
            entries.iter().position(|entry| mark(entry) == applied).map(|at| at.saturating_add(1))
        }
    };
    let from = match from {
        Some(from) => from,
        None => {
            index.clear()?;
            0
        }
    };
    for entry in entries.iter().skip(from) {
        index.apply(entry, &changes(entry))?;
    }
    Ok(())
}

/// An index in memory.
#[derive(Debug, Default)]
pub struct MemoryIndex {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    applied: Option<Vec<u8>>,
}

impl JournalIndex for MemoryIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.rows.get(key).cloned())
    }

    fn scan_prefix(&self, prefix: &[u8]) -> Result<Vec<Row>, IndexError> {
        let rows = self.rows.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        Ok(rows.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn apply(&mut self, entry: &JournalEntry, changes: &[Change]) -> Result<(), IndexError> {
        for (key, value) in changes {
            match value {
                Some(value) => self.rows.insert(key.clone(), value.clone()),
                None => self.rows.remove(key),
            };
        }
        self.applied = Some(mark(entry));
        Ok(())
    }

    fn applied(&self) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.applied.clone())
    }

    fn clear(&mut self) -> Result<(), IndexError> {
        *self = Self::default();
        Ok(())
    }
}

/// An index in a sled directory.
#[derive(Debug)]
pub struct SledIndex {
    database: sled::Db,
    sum: [u8; 32],
}

impl SledIndex {
    /// Opens the index in `dir` and brings it to the end of the journal; deletes and rebuilds it where it does not.
    pub fn open(
        dir: &Path,
        entries: &[JournalEntry],
        changes: &dyn Fn(&JournalEntry) -> Vec<Change>,
    ) -> Result<Self, IndexError> {
        match guarded(|| Self::open_and_catch_up(dir, entries, changes)) {
            Ok(index) => Ok(index),
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "index is rebuilt from the journal");
                remove(dir)?;
                guarded(|| Self::open_and_catch_up(dir, entries, changes))
            }
        }
    }

    fn open_and_catch_up(
        dir: &Path,
        entries: &[JournalEntry],
        changes: &dyn Fn(&JournalEntry) -> Vec<Change>,
    ) -> Result<Self, IndexError> {
        let database = sled::Config::new().path(dir).cache_capacity(8 * 1_048_576).open()?;
        let mut index = Self { database, sum: [0; 32] };
        index.check()?;
        catch_up(&mut index, entries, changes)?;
        Ok(index)
    }

    /// Compares all rows with the sum that was kept of them: sled opens damaged files with rows missing.
    fn check(&mut self) -> Result<(), IndexError> {
        let mut sum = [0; 32];
        for row in self.database.scan_prefix([1]) {
            let (key, value) = row?;
            toggle(&mut sum, &key, &value);
        }
        let kept = self.database.get(SUM)?;
        if kept.as_deref().unwrap_or(&[0; 32]) != sum {
            return Err(IndexError::Mismatch);
        }
        self.sum = sum;
        Ok(())
    }
}

impl JournalIndex for SledIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        guarded(|| Ok(self.database.get(row_key(key))?.map(|value| value.to_vec())))
    }

    fn scan_prefix(&self, prefix: &[u8]) -> Result<Vec<Row>, IndexError> {
        guarded(|| {
            let rows = self.database.scan_prefix(row_key(prefix));
            rows.map(|row| row.map(|(key, value)| (key.iter().skip(1).copied().collect(), value.to_vec())))
                .collect::<Result<_, sled::Error>>()
                .map_err(IndexError::from)
        })
    }

    fn apply(&mut self, entry: &JournalEntry, changes: &[Change]) -> Result<(), IndexError> {
        let mut batch = sled::Batch::default();
        let mut sum = self.sum;
        // Of several changes to one key only the last counts.
        let last: BTreeMap<&Vec<u8>, &Option<Vec<u8>>> =
            changes.iter().map(|(key, value)| (key, value)).collect();
        for (key, value) in last {
            let row = row_key(key);
            if let Some(old) = guarded(|| Ok(self.database.get(&row)?))? {
                toggle(&mut sum, &row, &old);
            }
            match value {
                Some(value) => {
                    toggle(&mut sum, &row, value);
                    batch.insert(row, value.as_slice());
                }
                None => batch.remove(row),
            }
        }
        batch.insert(SUM, &sum);
        batch.insert(APPLIED, mark(entry));
        guarded(|| Ok(self.database.apply_batch(batch)?))?;
        self.sum = sum;
        Ok(())
    }

    fn applied(&self) -> Result<Option<Vec<u8>>, IndexError> {
        guarded(|| Ok(self.database.get(APPLIED)?.map(|value| value.to_vec())))
    }

    fn clear(&mut self) -> Result<(), IndexError> {
        guarded(|| Ok(self.database.clear()?))?;
        self.sum = [0; 32];
        Ok(())
    }
}

/// Adds a row to the sum, or takes it out again: the order of rows does not matter.
fn toggle(sum: &mut [u8; 32], key: &[u8], value: &[u8]) {
    for (byte, other) in sum.iter_mut().zip(digest(JOURNAL, &[key, value])) {
        *byte ^= other;
    }
}

/// Rows live beside the index's own notes, never on them.
fn row_key(key: &[u8]) -> Vec<u8> {
    let mut row = vec![1];
    row.extend_from_slice(key);
    row
}

/// sled answers some damage with a panic.
fn guarded<T>(work: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(IndexError::Panicked))
}

fn remove(dir: &Path) -> Result<(), IndexError> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(IndexError::Remove { path: dir.to_owned(), error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Journal;

    /// Entries say "key=value", or "key" to remove it.
    fn changes(entry: &JournalEntry) -> Vec<Change> {
        let text = String::from_utf8(entry.payload.clone()).unwrap();
        match text.split_once('=') {
            Some((key, value)) => vec![(key.into(), Some(value.into()))],
            None => vec![(text.into_bytes(), None)],
        }
    }

    fn entries(texts: &[&str]) -> Vec<JournalEntry> {
        let entry = |(n, text): (usize, &&str)| JournalEntry {
            offset: n as u64 * 100,
            kind: 1,
            payload: text.as_bytes().to_vec(),
        };
        texts.iter().enumerate().map(entry).collect()
    }

    fn text(index: &dyn JournalIndex, prefix: &str) -> String {
        let rows = index.scan_prefix(prefix.as_bytes()).unwrap();
        let row = |(key, value)| {
            format!("{}={}", String::from_utf8(key).unwrap(), String::from_utf8(value).unwrap())
        };
        rows.into_iter().map(row).collect::<Vec<_>>().join(" ")
    }

    fn conformance(index: &mut dyn JournalIndex) {
        let all = entries(&["a/1=x", "a/2=y", "b/1=z", "a/1=w", "a/2"]);
        assert_eq!(index.applied().unwrap(), None);
        catch_up(index, &all[..3], &changes).unwrap();
        assert_eq!((text(index, "a/"), text(index, "")), ("a/1=x a/2=y".into(), "a/1=x a/2=y b/1=z".into()));
        catch_up(index, &all, &changes).unwrap();
        assert_eq!(text(index, ""), "a/1=w b/1=z");
        assert_eq!(index.get(b"a/1").unwrap(), Some(b"w".to_vec()));
        assert_eq!(index.get(b"a/2").unwrap(), None);
        assert_eq!(index.applied().unwrap(), Some(mark(&all[4])));
        let other = entries(&["c=1"]);
        catch_up(index, &other, &changes).unwrap();
        assert_eq!(text(index, ""), "c=1", "another journal starts it anew");
        index.clear().unwrap();
        assert_eq!((text(index, ""), index.applied().unwrap()), (String::new(), None));
    }

    #[test]
    fn memory_index_conforms() {
        conformance(&mut MemoryIndex::default());
    }

    #[test]
    fn sled_index_conforms() {
        let dir = tempfile::tempdir().unwrap();
        conformance(&mut SledIndex::open(dir.path(), &[], &changes).unwrap());
    }

    #[test]
    fn index_can_be_deleted_or_damaged_at_any_time() {
        let dir = tempfile::tempdir().unwrap();
        let (journal_dir, index_dir) = (dir.path().join("journal"), dir.path().join("index"));
        let (journal, _) = Journal::open(&journal_dir).unwrap();
        for n in 0..50 {
            journal.append_blocking(1, format!("k{n:02}={n}").as_bytes()).unwrap();
        }
        drop(journal);
        let entries = Journal::open(&journal_dir).unwrap().1;
        let state = || text(&SledIndex::open(&index_dir, &entries, &changes).unwrap(), "k");
        let expected = state();
        assert_eq!(state(), expected, "opened again");
        std::fs::remove_dir_all(&index_dir).unwrap();
        assert_eq!(state(), expected, "deleted");
        for file in ["db", "conf"] {
            std::fs::write(index_dir.join(file), b"this is not an index").unwrap();
            assert_eq!(state(), expected, "{file} overwritten");
        }
        let database = sled::open(&index_dir).unwrap();
        database.remove(row_key(b"k07")).unwrap();
        drop(database);
        assert_eq!(state(), expected, "a row lost in silence");
        std::fs::remove_dir_all(&index_dir).unwrap();
        std::fs::write(&index_dir, b"a file where the directory belongs").unwrap();
        std::fs::remove_file(&index_dir).unwrap();
        assert_eq!(state(), expected, "gone");
    }
}
