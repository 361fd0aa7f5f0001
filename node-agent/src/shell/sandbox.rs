//! What a runner may reach: addresses we talk to, and limits of the processes we start.
//!
//! A runner is foreign code that reads strangers' prompts. The rules: it is spoken to on this machine
//! only, unless the operator said otherwise; it inherits no environment but a short list, so no key
//! of ours; and every limit that could not be applied is said, not assumed.

use reqwest::Url;
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// Checks a runner's address and returns it without a trailing slash or `/v1`.
///
/// # Errors
/// Anything but http(s), credentials inside the URL, or another machine while that is not allowed.
pub fn check_runner_url(url: &str, allow_remote: bool) -> Result<String, UrlError> {
    let parsed = Url::parse(url).map_err(|_| UrlError::Unusable { url: url.to_owned() })?;
    let host = parsed.host_str().unwrap_or_default();
    if !matches!(parsed.scheme(), "http" | "https") || host.is_empty() {
        return Err(UrlError::Unusable { url: url.to_owned() });
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        // Not echoed: it holds a secret.
        return Err(UrlError::Credentials);
    }
    if !allow_remote && !is_this_machine(host) {
        return Err(UrlError::Remote { host: host.to_owned() });
    }
    let path = parsed.path().trim_end_matches('/');
    let path = path.strip_suffix("/v1").unwrap_or(path);
    Ok(format!("{}{}", parsed.origin().ascii_serialization(), path))
}

/// Why a runner's address is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not an http(s) URL with a host.
    #[error("{url:?} is not a runner address\nhint: write it like http://127.0.0.1:8080")]
    Unusable {
        /// What was given.
        url: String,
    },
    /// A name or password inside the URL.
    #[error("a runner address must not hold credentials\nhint: set the runner's API key instead")]
    Credentials,
    /// Not on this machine.
    #[error(
        "the runner at {host:?} is on another machine: prompts would leave this one\n\
         hint: if that is intended, say so: --allow-remote-runner, or allow_remote under [runner]"
    )]
    Remote {
        /// The host.
        host: String,
    },
}

/// Limits of a runner process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxLimits {
    /// Niceness, so that serving strangers does not freeze the owner's desktop.
    pub nice: u8,
    /// Open files; a runner needs one per connection and a few for its weights.
    pub open_files: u32,
    /// Address space in bytes; `None` because GPU runners map far more than they use.
    pub address_space_bytes: Option<u64>,
    /// Names of environment variables passed on if set.
    pub inherit_env: Vec<String>,
}

impl Default for SandboxLimits {
    fn default() -> Self {
        Self {
            nice: 5,
            open_files: 1024,
            address_space_bytes: None,
            inherit_env: INHERITED_ENV.map(str::to_owned).to_vec(),
        }
    }
}

/// A command inside its limits, and what was and was not applied.
pub(crate) struct Sandboxed {
    pub(crate) command: Command,
    pub(crate) notes: Vec<String>,
}

/// Prepares a command: cleared environment, own private directory and process group, wrappers for
/// what only other programs can set. The wrappers replace themselves, so the process id stays.
pub(crate) fn prepare(
    program: &Path,
    args: &[String],
    env: &[(String, String)],
    work_dir: &Path,
    limits: &SandboxLimits,
) -> io::Result<Sandboxed> {
    private_dir(work_dir)?;
    let mut notes = vec!["environment: cleared".to_owned(), "working directory: 0700".to_owned()];
    let mut line: Vec<String> = Vec::new();
    for wrapper in wrappers(limits) {
        match wrapper.find() {
            Some(words) => {
                line.extend(words);
                notes.push(format!("{}: applied", wrapper.what));
            }
            None => notes.push(format!("{}: not applied ({} unusable)", wrapper.what, wrapper.tool)),
        }
    }
    line.push(program.to_string_lossy().into_owned());
    line.extend_from_slice(args);
    let mut words = line.into_iter();
    let mut command = Command::new(words.next().unwrap_or_default());
    command
        .args(words)
        .env_clear()
        .current_dir(work_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    for name in &limits.inherit_env {
        #[expect(clippy::disallowed_methods, reason = "passed on to the runner, never read as a setting")]
        let value = std::env::var_os(name);
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command.env("HOME", work_dir).envs(env.iter().map(|(k, v)| (k, v)));
    Ok(Sandboxed { command, notes })
}

/// Makes a directory only its owner can enter.
pub(crate) fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o700))
}

struct Wrapper {
    what: &'static str,
    tool: &'static str,
    args: Vec<String>,
}

impl Wrapper {
    /// The words to put before the command, if the tool is there and does what is asked here.
    fn find(&self) -> Option<Vec<String>> {
        let path = TOOL_DIRS.iter().map(|dir| PathBuf::from(dir).join(self.tool));
        let path = path.into_iter().find(|path| path.is_file())?;
        let works = std::process::Command::new(&path)
            .args(&self.args)
            .arg("true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        let mut words = vec![path.to_string_lossy().into_owned()];
        words.extend(self.args.iter().cloned());
        works.then_some(words)
    }
}

fn wrappers(limits: &SandboxLimits) -> Vec<Wrapper> {
    let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    let mut rlimits = vec!["--core=0".to_owned(), format!("--nofile={0}:{0}", limits.open_files)];
    if let Some(bytes) = limits.address_space_bytes {
        rlimits.push(format!("--as={bytes}:{bytes}"));
    }
    let nice = limits.nice.to_string();
    vec![
        Wrapper { what: "niceness", tool: "nice", args: words(&["-n", &nice]) },
        Wrapper { what: "resource limits", tool: "prlimit", args: rlimits },
        // Last, since the wish to die with the parent is lost by nothing after it.
        Wrapper { what: "ends with this process", tool: "setpriv", args: words(&["--pdeathsig", "KILL"]) },
    ]
}

fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => bare == "localhost" || bare.ends_with(".localhost"),
    }
}

/// Where the tools are looked for; not `PATH`, which may lead into a project's own directory.
const TOOL_DIRS: [&str; 5] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"];

/// What a runner needs to find its libraries, GPUs and locale. No variable of ours is among them.
const INHERITED_ENV: [&str; 12] = [
    "PATH",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_HOME",
    "NVIDIA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_unless_allowed() {
        let ok = |url: &str| check_runner_url(url, false);
        assert_eq!(ok("http://127.0.0.1:8080/"), Ok("http://127.0.0.1:8080".into()));
        assert_eq!(ok("http://localhost:1/v1/"), Ok("http://localhost:1".into()));
        assert_eq!(ok("http://[::1]:1/a/v1"), Ok("http://[::1]:1/a".into()));
        assert_eq!(ok("http://127.8.9.1:2"), Ok("http://127.8.9.1:2".into()));
        for remote in ["http://10.0.0.2:1", "http://0.0.0.0:1", "https://localhost.example:1"] {
            assert!(matches!(ok(remote), Err(UrlError::Remote { .. })), "{remote}");
            assert!(check_runner_url(remote, true).is_ok(), "{remote}");
        }
    }

    #[test]
    fn odd_addresses_are_refused_and_secrets_not_repeated() {
        for odd in ["", "8080", "ftp://localhost", "file:///etc/passwd"] {
            assert!(matches!(check_runner_url(odd, true), Err(UrlError::Unusable { .. })), "{odd}");
        }
        let error = check_runner_url("http://me:canary@localhost", true);
        assert_eq!(error, Err(UrlError::Credentials));
        assert!(!format!("{error:?}").contains("canary"));
    }
}
