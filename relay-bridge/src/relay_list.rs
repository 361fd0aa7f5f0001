//! Which relays are used for what: `relays.toml`.
//!
//! A file that says something unknown is refused with file, line and column, so that a misspelt limit never silently
//! means "no limit". Where several places name relays, the nearest wins: flag, environment, `./relays.toml`, the
//! user's own file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fedai_protocol::limits::EVENT_BYTES_MAX;
use serde::Deserialize;
use toml::Spanned;

use crate::relay_address::{AddressError, RelayAddress};

/// What a relay is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelayRole {
    /// Stored events: descriptors, offers, profiles, receipts, acknowledgements, summaries.
    Discovery,
    /// Quote requests, quotes, dispatches, load pings.
    Control,
    /// Job opens and session frames.
    Stream,
}

impl RelayRole {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Discovery, Self::Control, Self::Stream];

    /// The word used in `relays.toml`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Discovery => "discovery",
            Self::Control => "control",
            Self::Stream => "stream",
        }
    }
}

/// One relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayEntry {
    /// Normalised URL.
    pub url: String,
    /// What it is used for.
    pub roles: BTreeSet<RelayRole>,
    /// Subscribe there.
    pub read: bool,
    /// Publish there.
    pub write: bool,
    /// Answer its authentication challenge (NIP-42), with a throwaway key.
    pub auth: bool,
    /// Larger events are not sent there.
    pub max_event_bytes: usize,
    /// Events a minute that it takes; `None` is no limit.
    pub events_per_minute: Option<u32>,
}

/// Rules over all relays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayPolicy {
    /// A stored event counts as published when this many relays said OK (or all of them, when there are fewer).
    pub min_acks: usize,
    /// How long one relay is given to say OK.
    pub publish_timeout: Duration,
    /// How long one connection attempt may take.
    pub connect_timeout: Duration,
}

/// The relays of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayList {
    /// Name of the network, for people.
    pub network: String,
    /// The relays.
    pub relays: Vec<RelayEntry>,
    /// Rules over all of them.
    pub policy: RelayPolicy,
}

/// Why there is no list of relays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayListError {
    /// The file is wrong at a place.
    #[error("{file}:{line}:{column}: {message}\nhint: {hint}")]
    Place {
        /// File name.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong.
        message: String,
        /// A way out.
        hint: String,
    },
    /// The file cannot be read.
    #[error("{file}: cannot be read: {message}\nhint: name another file, or use --relay ws://HOST:PORT")]
    Unreadable {
        /// File name.
        file: String,
        /// The system's words.
        message: String,
    },
    /// A URL on the command line or in the environment.
    #[error("relay {url:?}: {error}\nhint: write ws://HOST:PORT or wss://HOST")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        error: AddressError,
    },
    /// Nothing names a relay.
    #[error(
        "no relay is configured\n\
         hint: pass --relay ws://127.0.0.1:7447, set FEDAI_RELAYS, or write relays.toml here or in {user_file}"
    )]
    Nowhere {
        /// The user's own file.
        user_file: String,
    },
}

impl Default for RelayPolicy {
    fn default() -> Self {
        Self {
            min_acks: 1,
            publish_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(10),
        }
    }
}

impl RelayEntry {
    /// A relay for these roles, with default limits.
    #[must_use]
    pub fn new(address: &RelayAddress, roles: impl IntoIterator<Item = RelayRole>) -> Self {
        Self {
            url: address.url().to_owned(),
            roles: roles.into_iter().collect(),
            read: true,
            write: true,
            auth: false,
            max_event_bytes: EVENT_BYTES_MAX,
            events_per_minute: None,
        }
    }
}

impl RelayList {
    /// One relay for everything.
    pub fn single(url: &str) -> Result<Self, RelayListError> {
        Self::from_urls(&[url.to_owned()])
    }

    /// Some relays, each for everything.
    pub fn from_urls(urls: &[String]) -> Result<Self, RelayListError> {
        let mut relays: Vec<RelayEntry> = Vec::new();
        for url in urls {
            let address =
                RelayAddress::parse(url).map_err(|error| RelayListError::Url { url: url.clone(), error })?;
            if !relays.iter().any(|entry| entry.url == address.url()) {
                relays.push(RelayEntry::new(&address, RelayRole::ALL));
            }
        }
        Ok(Self { network: "fed_ai".to_owned(), relays, policy: RelayPolicy::default() })
    }

    /// Reads the text of a `relays.toml`.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, RelayListError> {
        let place = |span: Option<std::ops::Range<usize>>, message: String, hint: &str| {
            let (line, column) = line_and_column(text, span.map_or(0, |range| range.start));
            RelayListError::Place { file: file_name.to_owned(), line, column, message, hint: hint.to_owned() }
        };
        let raw: RawFile = toml::from_str(text).map_err(|error| {
            place(
                error.span(),
                error.message().to_owned(),
                "the file relays.toml of the project lists every key",
            )
        })?;
        if raw.relay.is_empty() {
            return Err(place(None, "names no relay".to_owned(), "add a [[relay]] with url and roles"));
        }
        let mut relays: Vec<RelayEntry> = Vec::new();
        for relay in raw.relay {
            let span = relay.url.span();
            let entry = relay.entry().map_err(|(message, hint)| place(Some(span.clone()), message, hint))?;
            if relays.iter().any(|known| known.url == entry.url) {
                let message = format!("relay {} is listed twice", entry.url);
                return Err(place(Some(span), message, "give one entry all its roles"));
            }
            relays.push(entry);
        }
        let policy = raw.policy;
        if policy.min_acks.get_ref() == &0 {
            let hint = "1 is the smallest number that means anything";
            return Err(place(Some(policy.min_acks.span()), "min_acks is 0".to_owned(), hint));
        }
        let policy = RelayPolicy {
            min_acks: policy.min_acks.into_inner(),
            publish_timeout: Duration::from_millis(policy.publish_timeout_ms),
            connect_timeout: Duration::from_millis(policy.connect_timeout_ms),
        };
        Ok(Self { network: raw.network.name, relays, policy })
    }

    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, RelayListError> {
        let text = std::fs::read_to_string(path).map_err(|error| RelayListError::Unreadable {
            file: path.display().to_string(),
            message: error.to_string(),
        })?;
        let name =
            path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
        Self::parse(&text, &name)
    }

    /// The nearest place that names relays, and which it was: `--relay` flags, the value of `FEDAI_RELAYS` (URLs
    /// separated by commas), `./relays.toml`, the user's `fedai/relays.toml`.
    pub fn lookup(flags: &[String], environment: Option<&str>) -> Result<(Self, String), RelayListError> {
        Self::lookup_in(flags, environment, Path::new("relays.toml"), &user_file())
    }

    /// URLs of the relays with this role.
    #[must_use]
    pub fn urls(&self, role: RelayRole) -> Vec<&str> {
        self.relays
            .iter()
            .filter(|entry| entry.roles.contains(&role))
            .map(|entry| entry.url.as_str())
            .collect()
    }

    fn lookup_in(
        flags: &[String],
        environment: Option<&str>,
        here: &Path,
        user: &Path,
    ) -> Result<(Self, String), RelayListError> {
        if !flags.is_empty() {
            return Ok((Self::from_urls(flags)?, "--relay".to_owned()));
        }
        let named: Vec<String> = environment
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|u| !u.is_empty())
            .map(Into::into)
            .collect();
        if !named.is_empty() {
            return Ok((Self::from_urls(&named)?, "FEDAI_RELAYS".to_owned()));
        }
        for path in [here, user] {
            if path.is_file() {
                return Ok((Self::load(path)?, path.display().to_string()));
            }
        }
        Err(RelayListError::Nowhere { user_file: user.display().to_string() })
    }
}

fn user_file() -> PathBuf {
    use etcetera::BaseStrategy;
    let base =
        etcetera::choose_base_strategy().map_or_else(|_| PathBuf::from(".config"), |dirs| dirs.config_dir());
    base.join("fedai").join("relays.toml")
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count().saturating_add(1);
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()).saturating_add(1);
    (line, column)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    network: RawNetwork,
    #[serde(default)]
    relay: Vec<RawRelay>,
    #[serde(default)]
    policy: RawPolicy,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNetwork {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRelay {
    url: Spanned<String>,
    roles: BTreeSet<RelayRole>,
    #[serde(default = "yes")]
    read: bool,
    #[serde(default = "yes")]
    write: bool,
    #[serde(default)]
    auth: bool,
    max_event_bytes: Option<usize>,
    events_per_minute: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawPolicy {
    min_acks: Spanned<usize>,
    publish_timeout_ms: u64,
    connect_timeout_ms: u64,
}

impl Default for RawNetwork {
    fn default() -> Self {
        Self { name: "fed_ai".to_owned() }
    }
}

impl Default for RawPolicy {
    fn default() -> Self {
        Self { min_acks: Spanned::new(0..0, 1), publish_timeout_ms: 5_000, connect_timeout_ms: 10_000 }
    }
}

impl RawRelay {
    fn entry(self) -> Result<RelayEntry, (String, &'static str)> {
        let address = RelayAddress::parse(self.url.get_ref()).map_err(|error| {
            (format!("relay {:?}: {error}", self.url.get_ref()), "write ws://HOST:PORT or wss://HOST")
        })?;
        if self.roles.is_empty() {
            return Err((
                format!("relay {} has no role", address.url()),
                "roles are discovery, control and stream",
            ));
        }
        if !self.read && !self.write {
            let hint = "remove the entry, or allow one of the two";
            return Err((format!("relay {} is neither read nor written", address.url()), hint));
        }
        let max_event_bytes = self.max_event_bytes.unwrap_or(EVENT_BYTES_MAX);
        if !(1_024..=EVENT_BYTES_MAX).contains(&max_event_bytes) {
            let hint = "between 1024 and 65536; relay-bridge probe finds out what a relay takes";
            return Err((format!("max_event_bytes is {max_event_bytes}"), hint));
        }
        if self.events_per_minute == Some(0) {
            return Err((
                "events_per_minute is 0".to_owned(),
                "leave it out for no limit, or set write = false",
            ));
        }
        Ok(RelayEntry {
            read: self.read,
            write: self.write,
            auth: self.auth,
            max_event_bytes,
            events_per_minute: self.events_per_minute,
            ..RelayEntry::new(&address, self.roles)
        })
    }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
#[path = "relay_list_tests.rs"]
mod tests;
