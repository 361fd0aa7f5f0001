//! The Python that is already on the machine: found, measured, and asked to fetch and unpack.
//!
//! pip is used rather than a downloader of our own because it knows the operator's index, proxy and
//! certificates. The rule: pip's words are read to find out what happened, and shown only quoted.

use super::plan::Wheel;
use super::progress::Progress;
use super::{InstallError, Installer};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Command;
use tokio::time::interval;

/// A usable interpreter.
#[derive(Debug, Clone)]
pub(super) struct Python {
    pub(super) program: PathBuf,
    /// Free bytes where the installation goes.
    pub(super) free_bytes: u64,
}

impl Python {
    /// The first interpreter that is new enough.
    pub(super) async fn find(installer: &Installer) -> Result<Self, InstallError> {
        let mut too_old = None;
        for name in &installer.pythons {
            let mut probe = Command::new(name);
            probe.args(["-c", PROBE]).arg(&installer.root).stdin(Stdio::null()).kill_on_drop(true);
            let Ok(Output { status, stdout, .. }) = output_when_written(&mut probe).await else {
                continue;
            };
            let text = String::from_utf8_lossy(&stdout).into_owned();
            let mut lines = text.lines();
            let (Some(program), Some(major), Some(minor), Some(free)) =
                (lines.next(), lines.next(), lines.next(), lines.next())
            else {
                continue;
            };
            let version = (major.parse().unwrap_or(0), minor.parse().unwrap_or(0));
            if !status.success() || version < OLDEST_PYTHON {
                too_old = Some(format!("{major}.{minor}"));
                continue;
            }
            let free_bytes = free.parse().unwrap_or(0);
            return Ok(Self { program: program.into(), free_bytes });
        }
        Err(match too_old {
            Some(version) => InstallError::PythonTooOld { version },
            None => InstallError::NoPython,
        })
    }

    /// An interpreter that has pip: this one, or a virtual environment made for the purpose.
    pub(super) async fn with_pip(&self, work: &Path) -> Result<PathBuf, InstallError> {
        let has_pip = |program: PathBuf| async move {
            let mut command = Command::new(&program);
            command.args(["-m", "pip", "--version"]).stdin(Stdio::null());
            let asked = output_when_written(&mut command).await;
            asked.is_ok_and(|o| o.status.success()).then_some(program)
        };
        if let Some(program) = has_pip(self.program.clone()).await {
            return Ok(program);
        }
        let venv = work.join("venv");
        let made = Command::new(&self.program)
            .args(["-m", "venv"])
            .arg(&venv)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await;
        if !made.is_ok_and(|output| output.status.success()) {
            return Err(InstallError::NoPip);
        }
        has_pip(venv.join("bin/python")).await.ok_or(InstallError::NoPip)
    }

    /// Unpacks a wheel, which is a zip archive.
    pub(super) async fn unpack(&self, wheel: &Path, into: &Path) -> Result<(), InstallError> {
        let output = Command::new(&self.program)
            .args(["-m", "zipfile", "-e"])
            .args([wheel, into])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| InstallError::Io { path: self.program.clone(), error })?;
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(if words.contains(NO_SPACE) {
            InstallError::DiskFull { need_mb: 0, free_mb: 0 }
        } else {
            let error = std::io::Error::other("it cannot be unpacked");
            InstallError::Io { path: wheel.to_owned(), error }
        })
    }

    /// Whether a module in that directory can be used on this processor.
    pub(super) async fn imports(&self, site: &Path, module: &str) -> Result<(), InstallError> {
        let mut command = Command::new(&self.program);
        command.args(["-s", "-B", "-c", &format!("import {module}")]).env("PYTHONPATH", site);
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
        match output {
            Ok(output) if output.status.success() => Ok(()),
            // The wheel needs AVX2; without it the import dies of a signal.
            Ok(output) => Err(InstallError::EngineUnusable { how: output.status.to_string() }),
            Err(error) => Err(InstallError::Io { path: self.program.clone(), error }),
        }
    }
}

/// Runs a program to its end. One that was put there just now may still be open for writing in some process, and
/// then it cannot be started for a moment.
async fn output_when_written(command: &mut Command) -> std::io::Result<Output> {
    let mut ticks = interval(BETWEEN_STARTS);
    for _ in 0..STARTS_MAX {
        match command.output().await {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                ticks.tick().await;
            }
            outcome => return outcome,
        }
    }
    command.output().await
}

/// Downloads one pinned wheel into a directory with pip, telling how far it is.
pub(super) async fn download(
    installer: &Installer,
    pip_python: &Path,
    wheel: &Wheel,
    what: &'static str,
    into: &Path,
) -> Result<(), InstallError> {
    let io = |error| InstallError::Io { path: into.to_owned(), error };
    // pip writes into its temporary directory first; having it here shows how far it is, and makes
    // what a killed run leaves behind easy to find.
    let temporary = tempfile::Builder::new().prefix("pip-").tempdir_in(into).map_err(io)?;
    let wanted = temporary.path().join("requirements.txt");
    let line = format!("{} --hash=sha256:{}\n", wheel.requirement, wheel.sha256);
    std::fs::write(&wanted, line).map_err(io)?;
    let mut command = Command::new(pip_python);
    command
        .args(["-m", "pip", "download", "-q", "--progress-bar", "off", "--no-input"])
        .args(["--no-cache-dir", "--disable-pip-version-check", "--retries", "2"])
        .args(["--no-deps", "--only-binary=:all:", "--require-hashes", "-r"])
        .arg(&wanted)
        .arg("-d")
        .arg(into)
        .env("TMPDIR", temporary.path())
        .envs(installer.pip_env.iter().map(|(k, v)| (k, v)))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let running = command.output();
    tokio::pin!(running);
    let mut ticks = interval(BETWEEN_MEASUREMENTS);
    let output = loop {
        tokio::select! {
            output = &mut running => break output.map_err(io)?,
            _ = ticks.tick() => {
                let done = largest_file_bytes(temporary.path()).min(wheel.bytes);
                installer.progress.update(Progress::Bytes { what, done, total: wheel.bytes });
            }
        }
    };
    if !output.status.success() {
        return Err(pip_failure(&String::from_utf8_lossy(&output.stderr), wheel, what));
    }
    let (done, total) = (wheel.bytes, wheel.bytes);
    installer.progress.update(Progress::Bytes { what, done, total });
    Ok(())
}

/// What pip's complaint means.
fn pip_failure(words: &str, wheel: &Wheel, what: &'static str) -> InstallError {
    let says = |marks: &[&str]| marks.iter().any(|mark| words.contains(mark));
    if says(&["DO NOT MATCH THE HASHES"]) {
        return InstallError::ChecksumMismatch { file: wheel.file.clone() };
    }
    if says(&[NO_SPACE]) {
        return InstallError::DiskFull { need_mb: wheel.bytes.div_ceil(1_000_000), free_mb: 0 };
    }
    if says(&NETWORK_WORDS) {
        return InstallError::Offline { what };
    }
    if says(&["No matching distribution", "is not a supported wheel"]) {
        return InstallError::NotOffered { requirement: wheel.requirement.clone() };
    }
    let last = words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let words = last.chars().take(PIP_WORDS_MAX).collect();
    InstallError::Pip { requirement: wheel.requirement.clone(), words }
}

fn largest_file_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(about) if about.is_dir() => largest_file_bytes(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    });
    sizes.max().unwrap_or(0)
}

/// Prints the interpreter, its version, and the free space at a path.
const PROBE: &str = "import shutil, sys\n\
    print(sys.executable, *sys.version_info[:2], shutil.disk_usage(sys.argv[1]).free, sep='\\n')";
/// The wheel is built against the stable interface of 3.10.
const OLDEST_PYTHON: (u32, u32) = (3, 10);
const NO_SPACE: &str = "No space left on device";
/// What pip and urllib3 say when there is no way to the index.
const NETWORK_WORDS: [&str; 7] = [
    "NewConnectionError",
    "Connection refused",
    "name resolution",
    "ConnectTimeout",
    "ReadTimeout",
    "ProxyError",
    "Connection broken",
];
const BETWEEN_MEASUREMENTS: Duration = Duration::from_millis(250);
const PIP_WORDS_MAX: usize = 200;
/// Two seconds of starts in all: a writer is gone within milliseconds.
const STARTS_MAX: u32 = 40;
const BETWEEN_STARTS: Duration = Duration::from_millis(50);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn a_program_that_is_still_being_written_is_started_when_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("python");
        std::fs::write(&path, "#!/bin/sh\necho here\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let writer = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        let refused = Command::new(&path).output().await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ExecutableFileBusy);
        let mut command = Command::new(&path);
        // The first start comes before the writer ends.
        let (output, ()) = tokio::join!(output_when_written(&mut command), async { drop(writer) });
        assert_eq!(output.unwrap().stdout, b"here\n");
    }

    #[test]
    fn pip_complaints_become_codes() {
        let wheel =
            Wheel { requirement: "a==1".into(), file: "a.whl".into(), sha256: String::new(), bytes: 1 };
        let code = |words: &str| pip_failure(words, &wheel, "a").code();
        let refused = "WARNING: Retrying (Retry(total=1)) after connection broken by \
            'NewConnectionError(': Failed to establish a new connection: [Errno 111] Connection \
            refused')': /a/\nERROR: No matching distribution found for a==1";
        assert_eq!(code(refused), "offline");
        assert_eq!(code("ERROR: No matching distribution found for a==1"), "not_offered");
        assert_eq!(code("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM"), "checksum_mismatch");
        assert_eq!(code("OSError: [Errno 28] No space left on device"), "disk_full");
        assert_eq!(code("something new"), "pip");
    }
}
