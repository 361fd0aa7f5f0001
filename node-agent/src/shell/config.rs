//! What an operator can set, as plain values: flags win over `node.toml`, which wins over the defaults.
//!
//! Read once, at the start. Every mistake is an error with the name of the setting and a way out; an unknown key is a
//! mistake too, since a misspelt limit is no limit.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fedai_protocol::{Msat, MsatPerMtok, Price, PublicKey};
use fedai_relay_bridge::connection::Connector;
use fedai_relay_bridge::{RelayAddress, RelayList};
use serde::Deserialize;

use super::runners::mock::MockConfig;
use super::runners::{Runner, RunnerOptions};
use crate::core::policy::{Deadlines, JobLimits};

/// Everything that [`crate::run`] needs.
#[derive(Clone)]
pub struct NodeConfig {
    /// Where key, journal and status live; one process at a time.
    pub data_dir: PathBuf,
    /// Name of the node, unique per key.
    pub name: String,
    /// Relays.
    pub relays: RelayList,
    /// Makes the connections; `None` is real sockets.
    pub connector: Option<Arc<dyn Connector>>,
    /// Let relays that clients name lead into private networks: for networks on one machine.
    pub allow_private_relays: bool,
    /// A relay of its own, for clients that come directly.
    pub gateway: Option<GatewayChoice>,
    /// Where tokens come from.
    pub runner: RunnerChoice,
    /// How the runner is spoken to.
    pub runner_options: RunnerOptions,
    /// Jobs at once; `None` takes what the runner says, or 1.
    pub slots: Option<u32>,
    /// Price of a model that has none of its own.
    pub price: Price,
    /// Prices by model name.
    pub prices: BTreeMap<String, Price>,
    /// Routers whose dispatches are taken; empty means any.
    pub routers: BTreeSet<PublicKey>,
    /// Take dispatches that clients signed for themselves.
    pub accept_self_dispatch: bool,
    /// Regions.
    pub regions: Vec<String>,
    /// The operator's own key.
    pub operator: Option<PublicKey>,
    /// Limits on jobs.
    pub limits: JobLimits,
    /// Deadlines of jobs.
    pub deadlines: Deadlines,
    /// How long running jobs have when the node is told to stop.
    pub drain_timeout: Duration,
    /// Between two looks at the runner.
    pub heartbeat: Duration,
    /// Metrics as OpenMetrics text, rewritten every few seconds.
    pub metrics_file: Option<PathBuf>,
    /// Passphrase of the key file.
    pub passphrase: Option<String>,
}

/// Where the node's own relay listens, and under which URL others reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayChoice {
    /// Address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What the descriptor says; `None` is the address itself.
    pub url: Option<String>,
}

impl GatewayChoice {
    /// Reads the two settings. What cannot be reached by others under its address needs a URL.
    pub fn parse(listen: &str, url: Option<&str>) -> Result<Self, ConfigError> {
        let wrong = |name, message: String| Err(ConfigError::Value { name, message });
        let Ok(listen) = listen.parse::<SocketAddr>() else {
            let hint = "hint: an IP address and a port, as in 127.0.0.1:7460";
            return wrong("gateway", format!("{listen:?} is not an address to listen on\n{hint}"));
        };
        match url.map(RelayAddress::parse) {
            Some(Ok(url)) => Ok(Self { listen, url: Some(url.url().to_owned()) }),
            Some(Err(error)) => wrong("gateway-url", format!("{error}\nhint: as in wss://node.example")),
            None if listen.ip().is_unspecified() => wrong(
                "gateway",
                format!(
                    "{listen} is no address that others can use\nhint: add --gateway-url wss://node.example"
                ),
            ),
            None => Ok(Self { listen, url: None }),
        }
    }
}

/// Where tokens come from.
#[derive(Clone)]
pub enum RunnerChoice {
    /// Look on the ports that runners usually take (or on these).
    Auto(Vec<u16>),
    /// A runner that is there.
    Url {
        /// Its address.
        url: String,
        /// Its kind; asked of it where it is missing.
        kind: Option<String>,
    },
    /// Install the small real model, start and supervise it.
    Install,
    /// Start and supervise this program; `{port}` in an argument becomes its port.
    Command {
        /// Program and arguments.
        command: Vec<String>,
        /// Its kind.
        kind: String,
        /// Its port; a free one where it is missing.
        port: Option<u16>,
    },
    /// The mock in this process: it computes nothing.
    Mock(MockConfig),
    /// A runner that was opened already.
    Opened(Arc<dyn Runner>),
}

impl NodeConfig {
    /// A free node with the usual limits.
    #[must_use]
    pub fn new(data_dir: PathBuf, relays: RelayList, runner: RunnerChoice) -> Self {
        Self {
            data_dir,
            name: "node".into(),
            relays,
            connector: None,
            allow_private_relays: false,
            gateway: None,
            runner,
            runner_options: RunnerOptions::default(),
            slots: None,
            price: Price::FREE,
            prices: BTreeMap::new(),
            routers: BTreeSet::new(),
            accept_self_dispatch: false,
            regions: Vec::new(),
            operator: None,
            limits: JobLimits::default(),
            deadlines: Deadlines::default(),
            drain_timeout: Duration::from_secs(30),
            heartbeat: Duration::from_secs(30),
            metrics_file: None,
            passphrase: None,
        }
    }
}

/// `node.toml`. Every key is optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeFile {
    /// Name of the node.
    pub name: Option<String>,
    /// Relay URLs.
    pub relays: Vec<String>,
    /// The runner.
    pub runner: RunnerFile,
    /// Price of every model that is not named below.
    pub price: PriceFile,
    /// Prices by model name.
    pub models: BTreeMap<String, PriceFile>,
    /// Routers whose dispatches are taken.
    pub routers: Vec<String>,
    /// Take dispatches that clients signed for themselves.
    pub accept_self_dispatch: bool,
    /// Regions.
    pub regions: Vec<String>,
    /// The operator's own key.
    pub operator: Option<String>,
    /// Limits.
    pub limits: LimitsFile,
    /// Address of the node's own relay.
    pub gateway: Option<String>,
    /// Under which URL it is announced.
    pub gateway_url: Option<String>,
}

/// The `[runner]` table.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunnerFile {
    /// Address, `mock`, `auto` or `install`.
    pub url: Option<String>,
    /// Kind.
    pub kind: Option<String>,
    /// File that holds the API key.
    pub api_key_file: Option<PathBuf>,
    /// Program and arguments to start and supervise.
    pub command: Vec<String>,
    /// Port of that program.
    pub port: Option<u16>,
    /// Runners on other machines are meant.
    pub allow_remote: bool,
}

/// A `[price]` table, in millisatoshi.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PriceFile {
    /// Per million prompt tokens.
    pub input: u64,
    /// Per million cached prompt tokens.
    pub cached_input: Option<u64>,
    /// Per million output tokens.
    pub output: u64,
    /// Per request.
    pub request: u64,
}

/// The `[limits]` table.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsFile {
    /// Jobs at once on the runner.
    pub slots: Option<u32>,
    /// Jobs at once in all.
    pub jobs: Option<usize>,
    /// Jobs waiting.
    pub queue: Option<usize>,
    /// Longest predicted wait, in milliseconds.
    pub wait_ms: Option<u64>,
    /// Jobs of one client at once.
    pub per_client: Option<usize>,
}

/// Why there is no usable configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path:?}: {error}\nhint: name an existing file with --config, or leave the flag out")]
    Read {
        /// File.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
    /// The file is wrong.
    #[error("{path:?}: {message}\nhint: the keys are listed in node-agent/README.md")]
    File {
        /// File.
        path: PathBuf,
        /// What is wrong, with line and column.
        message: String,
    },
    /// A value is wrong.
    #[error("{name}: {message}")]
    Value {
        /// Setting.
        name: &'static str,
        /// What is wrong, and a hint.
        message: String,
    },
}

impl NodeFile {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        toml::from_str(&text)
            .map_err(|error| ConfigError::File { path: path.to_owned(), message: error.to_string() })
    }
}

impl PriceFile {
    /// The price, when it is within the limits.
    pub fn price(&self, name: &'static str) -> Result<Price, ConfigError> {
        let rate = |value: u64| MsatPerMtok::new(value).ok_or_else(|| too_high(name));
        Ok(Price {
            input: rate(self.input)?,
            cached_input: self.cached_input.map(rate).transpose()?,
            output: rate(self.output)?,
            request: Msat::new(self.request).ok_or_else(|| too_high(name))?,
        })
    }
}

fn too_high(name: &'static str) -> ConfigError {
    let message = "the price is above the limit\nhint: prices are in millisatoshi per million tokens".into();
    ConfigError::Value { name, message }
}

/// A key as npub or hex.
pub fn public_key(name: &'static str, text: &str) -> Result<PublicKey, ConfigError> {
    PublicKey::parse(text).map_err(|_| ConfigError::Value {
        name,
        message: format!("{text:?} is not a public key\nhint: write it as npub1… or as 64 hex digits"),
    })
}

/// Reads what `--runner` says.
pub fn runner_choice(text: &str, kind: Option<String>, ports: Vec<u16>) -> RunnerChoice {
    match text {
        "auto" => RunnerChoice::Auto(ports),
        "install" => RunnerChoice::Install,
        "mock" => RunnerChoice::Mock(MockConfig::default()),
        mock if mock.starts_with("mock://") => {
            RunnerChoice::Url { url: mock.to_owned(), kind: Some("mock".into()) }
        }
        url => RunnerChoice::Url { url: url.to_owned(), kind },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_and_a_price_above_the_limit_are_errors() {
        assert!(toml::from_str::<NodeFile>("[limits]\nslot = 1\n").is_err());
        let file: NodeFile =
            toml::from_str("[price]\noutput = 5\n[models.a]\ninput = 7\n[limits]\nslots = 2\n").unwrap();
        assert_eq!(file.price.price("price").unwrap().output.get(), 5);
        assert_eq!((file.models["a"].input, file.limits.slots), (7, Some(2)));
        assert!(PriceFile { output: u64::MAX, ..PriceFile::default() }.price("price").is_err());
    }

    #[test]
    fn a_gateway_that_others_cannot_reach_by_its_address_needs_a_url() {
        let at = |listen, url| GatewayChoice::parse(listen, url).map(|gateway| gateway.url);
        assert_eq!(at("127.0.0.1:7460", None).unwrap(), None);
        assert!(at("0.0.0.0:7460", None).is_err());
        let url = Some("wss://node.example".to_owned());
        assert_eq!(at("0.0.0.0:7460", Some("wss://Node.example/")).unwrap(), url);
        assert!(at("127.0.0.1:7460", Some("https://node.example")).is_err());
        assert!(at("localhost", None).is_err());
    }

    #[test]
    fn keys_are_read_as_npub_or_hex() {
        let hex = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        assert!(public_key("routers", hex).is_ok());
        assert!(public_key("routers", "npub1xyz").is_err());
    }
}
