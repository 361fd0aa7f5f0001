//! A note beside an installation that makes checking it cheap.
//!
//! The rule: a file whose size and time of change are as noted is taken as checked; any other is
//! hashed again, and only its hash decides.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// What was installed and how it looked then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub(super) python: PathBuf,
    pub(super) files: Vec<StampedFile>,
}

/// One file worth checking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StampedFile {
    path: PathBuf,
    sha256: String,
    bytes: u64,
    changed_ns: u64,
}

impl Stamp {
    pub(super) fn read(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(dir.join(NAME)).ok()?).ok()
    }

    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        replace_file(&dir.join(NAME), &text)
    }

    /// Every file of at least a mebibyte, hashed. The rest came out of a wheel whose hash was pinned.
    pub(super) fn take(dir: &Path, python: PathBuf) -> io::Result<Self> {
        let mut files = Vec::new();
        let mut left = vec![dir.to_owned()];
        while let Some(folder) = left.pop() {
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                let about = entry.metadata()?;
                if about.is_dir() {
                    left.push(entry.path());
                } else if about.len() >= WORTH_CHECKING_BYTES {
                    let path = entry.path();
                    let relative = path.strip_prefix(dir).map_err(io::Error::other)?;
                    files.push(StampedFile {
                        sha256: sha256_of(&path)?,
                        path: relative.to_owned(),
                        bytes: about.len(),
                        changed_ns: changed_ns(&path)?,
                    });
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { python, files })
    }

    /// Checks every noted file; `Ok(true)` if times had to be brought up to date.
    pub(super) fn check(&mut self, dir: &Path) -> Result<bool, Damaged> {
        let mut touched = false;
        for file in &mut self.files {
            let path = dir.join(&file.path);
            let damaged = || Damaged(path.clone());
            let bytes = std::fs::metadata(&path).map_err(|_| damaged())?.len();
            let changed = changed_ns(&path).map_err(|_| damaged())?;
            if (bytes, changed) == (file.bytes, file.changed_ns) {
                continue;
            }
            if bytes != file.bytes || sha256_of(&path).map_err(|_| damaged())? != file.sha256 {
                return Err(damaged());
            }
            file.changed_ns = changed;
            touched = true;
        }
        Ok(touched)
    }
}

/// A file that is not what was installed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damaged(pub(super) PathBuf);

/// The SHA-256 of a file, lower-case hex.
pub(super) fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(buffer.get(..count).unwrap_or_default());
    }
}

/// Writes a file so that a reader sees the old one or the new one.
pub(super) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    let mut temporary = tempfile::NamedTempFile::new_in(dir)?;
    io::Write::write_all(&mut temporary, content)?;
    temporary.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn changed_ns(path: &Path) -> io::Result<u64> {
    let changed = std::fs::metadata(path)?.modified()?;
    let since = changed.duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
    Ok(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

const NAME: &str = "stamp.json";
const WORTH_CHECKING_BYTES: u64 = 1 << 20;
