//! Puts a real, small model and the program that runs it onto this machine, with Python alone.
//!
//! Why: a newcomer without a GPU, and every automatic test, gets a node that truly computes. The
//! rules: only pinned files are used; what is half done is never visible (a staging directory, then
//! one rename); an installation that is there costs no network and no waiting.

mod plan;
mod progress;
mod python;
mod stamp;

pub use plan::{Plan, Wheel};
pub use progress::{Progress, ProgressSink, Silent, progress_for_terminal};

use super::supervisor::SupervisorSpec;
use etcetera::BaseStrategy;
use python::Python;
use stamp::{Stamp, replace_file, sha256_of};
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::interval;

/// Where installations are kept unless told otherwise: `fedai/runner` in the user's cache directory.
pub fn default_cache_dir() -> Option<PathBuf> {
    let base = etcetera::choose_base_strategy().ok()?;
    Some(base.cache_dir().join("fedai").join("runner"))
}

/// Makes sure the runner is installed below `cache_dir` and returns it.
///
/// # Errors
/// See [`InstallError`]; each says what to do.
pub async fn ensure(cache_dir: &Path, progress: Arc<dyn ProgressSink>) -> Result<Installed, InstallError> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let plan = Plan::for_machine(os, arch).ok_or(InstallError::Unsupported { os, arch })?;
    Installer::new(plan, cache_dir, progress).run().await
}

/// Why the runner could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// No engine is built for this kind of machine.
    #[error(
        "there is no ready-made runner for {os} on {arch}\n\
         hint: start a runner of your own (llama.cpp, Ollama, vLLM) and name its address"
    )]
    Unsupported {
        /// The operating system.
        os: &'static str,
        /// The processor.
        arch: &'static str,
    },
    /// No Python.
    #[error("no python3 was found\nhint: install Python 3.10 or newer, or name a runner's address")]
    NoPython,
    /// An old Python.
    #[error("Python {version} is too old\nhint: install Python 3.10 or newer")]
    PythonTooOld {
        /// What was found.
        version: String,
    },
    /// A Python without pip and without the means to make one.
    #[error("Python has neither pip nor venv\nhint: install python3-pip or python3-venv")]
    NoPip,
    /// The package index did not answer.
    #[error(
        "{what} could not be downloaded: the package index cannot be reached\n\
         hint: check the network (and PIP_INDEX_URL, if set), then try again; what is here is kept"
    )]
    Offline {
        /// What was wanted.
        what: &'static str,
    },
    /// The index does not have it for this machine.
    #[error(
        "the package index has no {requirement} for this machine\n\
         hint: musl systems are not served; start a runner of your own and name its address"
    )]
    NotOffered {
        /// What was wanted.
        requirement: String,
    },
    /// Not enough room. Zeroes stand for unknown.
    #[error(
        "the disk is full: {need_mb} MB needed, {free_mb} MB free\nhint: make room, or set XDG_CACHE_HOME"
    )]
    DiskFull {
        /// Megabytes needed.
        need_mb: u64,
        /// Megabytes there.
        free_mb: u64,
    },
    /// Not the pinned file; it was deleted.
    #[error(
        "{file} is not the file that was pinned, and was deleted\nhint: try again; if it stays, do not trust this index"
    )]
    ChecksumMismatch {
        /// The file.
        file: String,
    },
    /// The engine does not run here.
    #[error("the runner does not start on this machine ({how})\nhint: it needs a processor with AVX2")]
    EngineUnusable {
        /// How the attempt ended.
        how: String,
    },
    /// pip failed otherwise.
    #[error("pip could not fetch {requirement}: {words:?}\nhint: try it by hand with pip download")]
    Pip {
        /// What was wanted.
        requirement: String,
        /// pip's last words.
        words: String,
    },
    /// A file could not be read or written.
    #[error("{path:?}: {error}\nhint: is the cache directory yours and writable?")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl InstallError {
    /// A stable word for scripts and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unsupported { .. } => "unsupported",
            Self::NoPython => "no_python",
            Self::PythonTooOld { .. } => "python_too_old",
            Self::NoPip => "no_pip",
            Self::Offline { .. } => "offline",
            Self::NotOffered { .. } => "not_offered",
            Self::DiskFull { .. } => "disk_full",
            Self::ChecksumMismatch { .. } => "checksum_mismatch",
            Self::EngineUnusable { .. } => "engine_unusable",
            Self::Pip { .. } => "pip",
            Self::Io { error, .. } if error.kind() == io::ErrorKind::StorageFull => "disk_full",
            Self::Io { .. } => "io",
        }
    }
}

/// An installed runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    dir: PathBuf,
    python: PathBuf,
    plan: Plan,
}

impl Installed {
    /// How to run it on a port of this machine, with that many requests at once, under a model name.
    pub fn spec(&self, port: u16, slots: u32, alias: &str) -> SupervisorSpec {
        let root = self.dir.parent().unwrap_or(&self.dir);
        let work_dir = root.join("run").join(port.to_string());
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let mut spec = SupervisorSpec::new("llama_cpp", port, &self.python, work_dir);
        spec.args = vec!["-s".into(), "-B".into(), text(self.dir.join(LAUNCHER_NAME))];
        for (flag, value) in [
            ("--model", text(self.model_path())),
            ("--port", port.to_string()),
            ("--slots", slots.max(1).to_string()),
            ("--alias", alias.to_owned()),
        ] {
            spec.args.extend([flag.to_owned(), value]);
        }
        spec.env = vec![("PYTHONPATH".into(), text(self.dir.join(SITE)))];
        spec.model = Some(alias.to_owned());
        spec.start_timeout = Duration::from_secs(90);
        spec
    }

    /// The model's weights.
    pub fn model_path(&self) -> PathBuf {
        self.dir.join(SITE).join(&self.plan.model_file)
    }

    /// The SHA-256 of the weights, for offers.
    pub fn model_sha256(&self) -> &str {
        &self.plan.model_sha256
    }

    /// What is installed, for people.
    pub fn version(&self) -> &str {
        &self.plan.version
    }

    /// Where it is installed.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// One installation to make. [`ensure`] is the usual way in; this one takes every choice from outside.
pub struct Installer {
    plan: Plan,
    root: PathBuf,
    pythons: Vec<PathBuf>,
    pip_env: Vec<(String, String)>,
    progress: Arc<dyn ProgressSink>,
}

impl Installer {
    /// Installs a plan below a directory.
    pub fn new(plan: Plan, root: &Path, progress: Arc<dyn ProgressSink>) -> Self {
        let pythons = PYTHON_NAMES.map(PathBuf::from).to_vec();
        Self { plan, root: root.to_owned(), pythons, pip_env: Vec::new(), progress }
    }

    /// Tries these interpreters instead of the usual names.
    #[must_use]
    pub fn pythons(mut self, pythons: Vec<PathBuf>) -> Self {
        self.pythons = pythons;
        self
    }

    /// Adds a variable to pip's environment.
    #[must_use]
    pub fn pip_env(mut self, name: &str, value: &str) -> Self {
        self.pip_env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Installs what is missing and returns the result.
    ///
    /// # Errors
    /// See [`InstallError`].
    pub async fn run(&self) -> Result<Installed, InstallError> {
        if let Some(installed) = self.open().await? {
            return Ok(installed);
        }
        std::fs::create_dir_all(&self.root).map_err(|error| at(&self.root, error))?;
        let _lock = self.lock().await?;
        // Whoever held the lock may have done the work.
        if let Some(installed) = self.open().await? {
            return Ok(installed);
        }
        let python = Python::find(self).await?;
        if !self.adopt_python(&python)? {
            self.check_room(&python)?;
            self.install(&python).await?;
        }
        self.progress.update(Progress::Finished);
        Ok(self.installed(python.program))
    }

    /// The installation, if it is there and whole. A damaged one is removed.
    async fn open(&self) -> Result<Option<Installed>, InstallError> {
        let dir = self.dir();
        let Some(mut stamp) = Stamp::read(&dir) else {
            return Ok(None);
        };
        let checked = blocking(&dir, {
            let dir = dir.clone();
            move || Ok(stamp.check(&dir).map(|touched| (touched, stamp)))
        });
        match checked.await? {
            Ok((touched, stamp)) => {
                if touched {
                    stamp.write(&dir).map_err(|error| at(&dir, error))?;
                }
                let launcher = dir.join(LAUNCHER_NAME);
                if std::fs::read(&launcher).ok().as_deref() != Some(LAUNCHER.as_bytes()) {
                    replace_file(&launcher, LAUNCHER.as_bytes()).map_err(|e| at(&launcher, e))?;
                }
                Ok(stamp.python.exists().then(|| self.installed(stamp.python)))
            }
            Err(damaged) => {
                tracing::warn!(file = ?damaged.0, "an installed runner was damaged; removing it");
                std::fs::remove_dir_all(&dir).map_err(|error| at(&dir, error))?;
                Ok(None)
            }
        }
    }

    /// Python was upgraded or moved: everything else stays. False if there is nothing to keep.
    fn adopt_python(&self, python: &Python) -> Result<bool, InstallError> {
        let dir = self.dir();
        let Some(mut stamp) = Stamp::read(&dir) else {
            return Ok(false);
        };
        stamp.python.clone_from(&python.program);
        stamp.write(&dir).map_err(|error| at(&dir, error))?;
        Ok(true)
    }

    async fn install(&self, python: &Python) -> Result<(), InstallError> {
        let downloads = self.root.join("downloads");
        clear_leftovers(&downloads).map_err(|error| at(&downloads, error))?;
        let staging = tempfile::Builder::new().prefix(STAGING_PREFIX).tempdir_in(&self.root);
        let staging = staging.map_err(|error| at(&self.root, error))?;
        let site = staging.path().join(SITE);
        std::fs::create_dir(&site).map_err(|error| at(&site, error))?;
        let pip = python.with_pip(staging.path()).await?;
        let wheels = [(&self.plan.engine, "inference engine"), (&self.plan.model, "model")];
        for (wheel, what) in wheels {
            let file = downloads.join(&wheel.file);
            self.fetch(&pip, wheel, what, &file).await?;
            self.progress.update(Progress::Step("unpacking"));
            python.unpack(&file, &site).await?;
        }
        let model = site.join(&self.plan.model_file);
        verify(&model, &self.plan.model_sha256).await?;
        python.imports(&site, &self.plan.engine_module).await?;
        let launcher = staging.path().join(LAUNCHER_NAME);
        replace_file(&launcher, LAUNCHER.as_bytes()).map_err(|error| at(&launcher, error))?;
        let _absent = std::fs::remove_dir_all(staging.path().join("venv"));
        let (dir, program) = (staging.path().to_owned(), python.program.clone());
        blocking(staging.path(), move || Stamp::take(&dir, program)?.write(&dir)).await?;
        let home = self.dir();
        let staged = staging.keep();
        std::fs::rename(&staged, &home).map_err(|error| at(&home, error))?;
        let _only_a_cache = std::fs::remove_dir_all(&downloads);
        Ok(())
    }

    /// Brings one wheel here, unless a whole one is already there from an attempt that was broken off.
    async fn fetch(
        &self,
        pip: &Path,
        wheel: &Wheel,
        what: &'static str,
        file: &Path,
    ) -> Result<(), InstallError> {
        if file.exists() && verify(file, &wheel.sha256).await.is_ok() {
            return Ok(());
        }
        let into = file.parent().unwrap_or(&self.root);
        python::download(self, pip, wheel, what, into).await?;
        verify(file, &wheel.sha256).await
    }

    async fn lock(&self) -> Result<File, InstallError> {
        let path = self.root.join(".lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|error| at(&path, error))?;
        let mut ticks = interval(LOCK_POLL);
        let mut told = false;
        loop {
            ticks.tick().await;
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {
                    if !std::mem::replace(&mut told, true) {
                        self.progress.update(Progress::WaitingForOther);
                    }
                }
                Err(TryLockError::Error(error)) => return Err(at(&path, error)),
            }
        }
    }

    fn check_room(&self, python: &Python) -> Result<(), InstallError> {
        let plan = &self.plan;
        let need = plan.engine.bytes + plan.model.bytes + plan.model_bytes + plan.engine_unpacked_bytes;
        if python.free_bytes >= need {
            return Ok(());
        }
        let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
        let (need_mb, free_mb) = (megabytes(need), megabytes(python.free_bytes));
        Err(InstallError::DiskFull { need_mb, free_mb })
    }

    fn dir(&self) -> PathBuf {
        self.root.join(&self.plan.version)
    }

    fn installed(&self, python: PathBuf) -> Installed {
        Installed { dir: self.dir(), python, plan: self.plan.clone() }
    }
}

/// Hashes a file; one that is not as pinned is deleted.
async fn verify(file: &Path, sha256: &str) -> Result<(), InstallError> {
    let path = file.to_owned();
    if blocking(file, move || sha256_of(&path)).await? == sha256 {
        return Ok(());
    }
    std::fs::remove_file(file).map_err(|error| at(file, error))?;
    let file = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Err(InstallError::ChecksumMismatch { file })
}

async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, InstallError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other);
    done.and_then(|result| result).map_err(|error| at(path, error))
}

/// Removes what killed runs left behind, under the lock; whole downloads stay.
fn clear_leftovers(downloads: &Path) -> io::Result<()> {
    std::fs::create_dir_all(downloads)?;
    let root = downloads.parent().unwrap_or(downloads);
    for (dir, prefix) in [(downloads, "pip-"), (root, STAGING_PREFIX)] {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
    }
    Ok(())
}

fn at(path: &Path, error: io::Error) -> InstallError {
    InstallError::Io { path: path.to_owned(), error }
}

const LAUNCHER: &str = include_str!("runner_install/llama_server.py");
const LAUNCHER_NAME: &str = "llama_server.py";
/// Where wheels are unpacked to, and what Python is told to import from.
const SITE: &str = "site";
const STAGING_PREFIX: &str = "staging-";
const LOCK_POLL: Duration = Duration::from_millis(200);
/// Tried in this order; the first that is new enough is taken.
const PYTHON_NAMES: [&str; 6] =
    ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10"];
