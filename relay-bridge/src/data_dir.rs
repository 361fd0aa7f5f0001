//! The directory that holds all state of one process, locked for as long as the process lives: two writers on one
//! journal would destroy it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// An exclusively locked data directory.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Unlocked when it is closed, also when the process is killed.
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Somebody else uses it.
    #[error(
        "{path} is in use by {holder}\nhint: stop that process, or give this one a directory of its own with --data",
        path = path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// What the lock file says of its holder.
        holder: String,
    },
    /// The system refused.
    #[error("{path}: {error}\nhint: check that the directory can be written by this user", path = path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
}

impl DataDir {
    /// Creates the directory (readable by this user only) where needed, and locks it.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let io = |error| DataDirError::Io { path: path.to_owned(), error };
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path).map_err(io)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut lock = options.open(path.join("lock")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // An unreadable name is no reason to hide that the directory is in use.
                drop(lock.read_to_string(&mut holder));
                let holder = if holder.trim().is_empty() { "another process" } else { holder.trim() };
                return Err(DataDirError::InUse { path: path.to_owned(), holder: holder.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        let program = std::env::current_exe().ok();
        let program = program
            .as_deref()
            .and_then(Path::file_name)
            .map_or_else(|| "unknown".into(), |n| n.to_string_lossy());
        lock.set_len(0).map_err(io)?;
        lock.seek(SeekFrom::Start(0)).map_err(io)?;
        writeln!(lock, "{program} (process {})", std::process::id()).map_err(io)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(&dir.path().join("a/b")).unwrap();
        let error = DataDir::open(first.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        assert!(error.contains("hint: "), "{error}");
        drop(first);
        DataDir::open(&dir.path().join("a/b")).unwrap();
    }
}
