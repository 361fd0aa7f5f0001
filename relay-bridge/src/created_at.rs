//! `created_at` of replaceable events never repeats and never runs back, also over restarts and clock changes: of two
//! versions with the same time relays keep an arbitrary one.
//!
//! Counted for each address apart, and on disk before it is used.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fedai_protocol::UnixSeconds;
use fedai_protocol::limits::FUTURE_SECONDS_MAX;

/// Addresses remembered; the longest unused is forgotten first.
const ADDRESSES_MAX: usize = 1_024;

/// The last time published at each address of one key.
#[derive(Debug)]
pub struct CreatedAt {
    path: PathBuf,
    last: BTreeMap<String, u64>,
}

/// Why no time can be given.
#[derive(Debug, thiserror::Error)]
pub enum CreatedAtError {
    /// The file cannot be read or written.
    #[error("{path}: {error}\nhint: check free space and permissions of this directory", path = path.display())]
    Io {
        /// File.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
    /// The file holds something else.
    #[error("{path}: {error}\n\
     hint: remove the file; the next time published is then the clock's", path = path.display())]
    Unreadable {
        /// File.
        path: PathBuf,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// Relays would refuse it as from the future.
    #[error("the next time for {address:?} would be {ahead} s ahead of the clock\n\
     hint: check this machine's clock; to start over, remove {path}", path = path.display())]
    TooFarAhead {
        /// File.
        path: PathBuf,
        /// Address.
        address: String,
        /// Seconds ahead of the clock.
        ahead: u64,
    },
}

impl CreatedAt {
    /// Opens the file `NAME.created_at` in `dir`.
    pub fn open(dir: &Path, name: &str) -> Result<Self, CreatedAtError> {
        let path = dir.join(format!("{name}.created_at"));
        let last = match std::fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(last) => last,
                Err(error) => return Err(CreatedAtError::Unreadable { path, error }),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(CreatedAtError::Io { path, error }),
        };
        Ok(Self { path, last })
    }

    /// The next time to write down at this address (for example `31435:slug`): now, or one second after the last one.
    pub fn next(&mut self, address: &str, now: UnixSeconds) -> Result<UnixSeconds, CreatedAtError> {
        let last = self.last.get(address).copied().map_or(UnixSeconds(0), |last| UnixSeconds(last).plus(1));
        let next = now.max(last);
        let ahead = next.since(now);
        if ahead > FUTURE_SECONDS_MAX {
            return Err(CreatedAtError::TooFarAhead {
                path: self.path.clone(),
                address: address.to_owned(),
                ahead,
            });
        }
        let mut updated = self.last.clone();
        updated.insert(address.to_owned(), next.0);
        if updated.len() > ADDRESSES_MAX {
            let oldest = updated.iter().min_by_key(|(_, at)| **at).map(|(address, _)| address.clone());
            oldest.and_then(|address| updated.remove(&address));
        }
        let text = serde_json::to_vec(&updated)
            .map_err(|error| CreatedAtError::Unreadable { path: self.path.clone(), error })?;
        crate::atomic_file::replace(&self.path, &text)
            .map_err(|error| CreatedAtError::Io { path: self.path.clone(), error })?;
        self.last = updated;
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_only_grow_also_over_restarts_and_a_clock_set_back() {
        let dir = tempfile::tempdir().unwrap();
        let now = UnixSeconds(1_000_000);
        let mut times = CreatedAt::open(dir.path(), "node").unwrap();
        assert_eq!(times.next("a", now).unwrap(), now);
        assert_eq!(times.next("a", now).unwrap(), now.plus(1));
        assert_eq!(times.next("b", now).unwrap(), now, "each address counts apart");
        assert_eq!(times.next("a", now.minus(100)).unwrap(), now.plus(2));
        let mut again = CreatedAt::open(dir.path(), "node").unwrap();
        assert_eq!(again.next("a", now).unwrap(), now.plus(3));
        assert!(again.next("a", now.minus(10_000)).unwrap_err().to_string().contains("hint: "));
        let mut other = CreatedAt::open(dir.path(), "router").unwrap();
        assert_eq!(other.next("a", now).unwrap(), now);
    }

    #[test]
    fn a_strange_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("node.created_at"), "soon").unwrap();
        assert!(matches!(CreatedAt::open(dir.path(), "node"), Err(CreatedAtError::Unreadable { .. })));
    }
}
