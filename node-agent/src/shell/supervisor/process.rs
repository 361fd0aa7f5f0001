//! One run of a runner's process: started in its sandbox, watched, and ended with its whole group.
//!
//! The rules: the group is told to stop, given time, then killed; nothing outlives the handle. What
//! the process prints is kept only until it serves its first request, in a small private file, so
//! that a runner which logs prompts cannot leave one on the disk.

use super::{SpawnError, SupervisorSpec};
use crate::shell::sandbox::{self, Sandboxed};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// A running process. Dropping it kills its group.
pub(super) struct Process {
    child: Child,
    pub(super) pid: u32,
    pub(super) sandbox: Vec<String>,
    keep_output: Arc<AtomicBool>,
    ended: bool,
    /// Ends the thread that is the process's parent in the eyes of the kernel.
    _parent: mpsc::Sender<()>,
}

impl Process {
    pub(super) async fn spawn(spec: &SupervisorSpec) -> Result<Self, SpawnError> {
        let (command, notes) = {
            let Sandboxed { command, notes } =
                sandbox::prepare(&spec.program, &spec.args, &spec.env, &spec.work_dir, &spec.limits)
                    .map_err(|error| SpawnError::WorkDir { path: spec.work_dir.clone(), error })?;
            (command, notes)
        };
        let log = open_log(&spec.log_path)
            .map_err(|error| SpawnError::Log { path: spec.log_path.clone(), error })?;
        let (mut child, parent) = spawn_from_lasting_thread(command)
            .await
            .map_err(|error| SpawnError::Start { program: spec.program.clone(), error })?;
        let keep_output = Arc::new(AtomicBool::new(true));
        let log = Arc::new(Mutex::new(Log { file: log, left: LOG_BYTES_MAX }));
        if let Some(out) = child.stdout.take() {
            tokio::spawn(drain(out, Arc::clone(&log), Arc::clone(&keep_output)));
        }
        if let Some(err) = child.stderr.take() {
            tokio::spawn(drain(err, log, Arc::clone(&keep_output)));
        }
        let pid = child.id().unwrap_or(0);
        Ok(Self { child, pid, sandbox: notes, keep_output, ended: false, _parent: parent })
    }

    /// Set to false, its output is thrown away from then on.
    pub(super) fn output_switch(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.keep_output)
    }

    /// Waits until it ends by itself and says how.
    pub(super) async fn wait(&mut self) -> String {
        let status = self.child.wait().await;
        // Helpers it started must not keep the port or the GPU.
        signal_group(self.pid, "KILL").await;
        self.ended = true;
        describe_exit(status.ok())
    }

    /// Asks the group to end, then makes it.
    pub(super) async fn stop(mut self, patience: Duration) -> String {
        if self.ended {
            return "it had ended".into();
        }
        signal_group(self.pid, "TERM").await;
        if let Ok(how) = timeout(patience, self.wait()).await {
            return how;
        }
        signal_group(self.pid, "KILL").await;
        let _gone_already = self.child.start_kill();
        let how = self.wait().await;
        format!("{how}, {} ms after being asked to stop", patience.as_millis())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended && self.pid != 0 {
            let mut kill = std::process::Command::new("/bin/sh");
            let kill = kill.args(kill_words(self.pid, "KILL"));
            let _gone_already = kill.stderr(Stdio::null()).status();
        }
    }
}

/// Linux kills a child that asked for it when the *thread* that started it ends, and runtime threads
/// come and go. So a thread of its own starts the child and stays as long as the handle.
async fn spawn_from_lasting_thread(mut command: Command) -> std::io::Result<(Child, mpsc::Sender<()>)> {
    let (stay, stays) = mpsc::channel::<()>();
    let (started, starts) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new().name("runner-parent".into()).spawn(move || {
        let _inside = runtime.enter();
        if started.send(command.spawn()).is_ok() {
            let _handle_dropped = stays.recv();
        }
    })?;
    let child = starts.await.map_err(std::io::Error::other)??;
    Ok((child, stay))
}

async fn signal_group(pid: u32, signal: &str) {
    if pid != 0 {
        let mut kill = Command::new("/bin/sh");
        let kill = kill.args(kill_words(pid, signal));
        let _gone_already = kill.stderr(Stdio::null()).status().await;
    }
}

/// The shell's own `kill`: the program of that name is missing in slim images.
fn kill_words(pid: u32, signal: &str) -> [String; 2] {
    ["-c".into(), format!("kill -s {signal} -- -{pid}")]
}

fn describe_exit(status: Option<ExitStatus>) -> String {
    // "exit status: 1" or "signal: 9 (SIGKILL)".
    status.map_or_else(|| "it ended".into(), |status| status.to_string())
}

struct Log {
    file: File,
    left: usize,
}

async fn drain(mut from: impl AsyncRead + Unpin, log: Arc<Mutex<Log>>, keep: Arc<AtomicBool>) {
    let mut buffer = [0u8; 4096];
    // A full pipe would block the runner, so reading goes on after keeping has ended.
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let bytes = buffer.get(..count).unwrap_or_default();
        if let (true, Ok(mut log)) = (keep.load(Ordering::Relaxed), log.lock()) {
            let bytes = bytes.get(..log.left.min(bytes.len())).unwrap_or_default();
            log.left -= bytes.len();
            let _disk_full = log.file.write_all(bytes);
        }
    }
}

fn open_log(path: &Path) -> std::io::Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    // One earlier run is kept: it is the one that shows why there was a restart.
    if path.exists() {
        std::fs::rename(path, path.with_extension("previous.log"))?;
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Start-up output of the chattiest runner seen is about 30 kB.
const LOG_BYTES_MAX: usize = 256 << 10;
