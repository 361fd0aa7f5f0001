//! Flags that every command takes, and the settings they become: flag, then environment, then `config.toml`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, ColorChoice, ValueEnum};
use fedai_node_agent::shell::runners::discovery::parse_ports;
use fedai_protocol::Msat;
use fedai_protocol::quote_request::Mode;
use fedai_relay_bridge::RelayList;
use fedai_relay_bridge::logging::{self, LogFormat};

use super::exit_code::ExitStatus;
use super::failure::CliFailure;
use super::json_wish::JsonWish;
use crate::core::direct_way::DirectWish;
use crate::shell::buyer::Buyer;
use crate::shell::config::{self, ConfigError, ConfigFile, RouterWish};

/// Time for one job when nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Longest wait for a first relay.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Shortest: a deadline that is over before a relay can answer is a job out of time, not a missing relay.
const CONNECT_WAIT_MIN: Duration = Duration::from_secs(2);

/// Flags that every command takes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalFlags {
    /// Print one JSON object on stdout
    #[arg(long = "json", id = "json", global = true, action = ArgAction::SetTrue, value_parser = JsonWish::flag())]
    pub json_wish: JsonWish,
    /// Relay to use; repeat for several [env: FEDAI_RELAYS, comma separated]
    #[arg(long, global = true, value_name = "URL")]
    pub relay: Vec<String>,
    #[arg(long, env = "FEDAI_RELAYS", hide = true, global = true, hide_env_values = true)]
    relays_from_environment: Option<String>,
    /// Router to ask: any, self (schedule here), a hex key or an npub
    #[arg(long, global = true, env = "FEDAI_ROUTER", value_name = "ROUTER", hide_env_values = true)]
    pub router: Option<String>,
    /// What counts: cheapest, fastest, balanced or trusted
    #[arg(long, global = true, env = "FEDAI_MODE", value_name = "MODE", hide_env_values = true)]
    pub mode: Option<String>,
    /// Most that one job may cost, e.g. 1500 (msat) or 2sat
    #[arg(long, global = true, env = "FEDAI_MAX_PRICE", value_name = "AMOUNT", hide_env_values = true)]
    pub max_price: Option<String>,
    /// Go straight to nodes that can be reached: auto, never (they do not learn your address) or any (private
    /// addresses, too)
    #[arg(long, global = true, env = "FEDAI_DIRECT", value_name = "WHEN", hide_env_values = true)]
    pub direct: Option<String>,
    /// Time for one job, e.g. 30s or 2m [default: 2m]
    #[arg(long, global = true, env = "FEDAI_TIMEOUT", value_name = "TIME", hide_env_values = true)]
    pub timeout: Option<String>,
    /// Folder for all state
    #[arg(long, global = true, env = "FEDAI_DATA", value_name = "DIR", hide_env_values = true)]
    pub data: Option<PathBuf>,
    /// Settings file [default: fedai/config.toml in the user's configuration folder]
    #[arg(long, global = true, env = "FEDAI_CONFIG", value_name = "FILE", hide_env_values = true)]
    pub config: Option<PathBuf>,
    #[arg(long, env = "FEDAI_RUNNER_PORTS", hide = true, global = true, hide_env_values = true)]
    runner_ports_from_environment: Option<String>,
    /// Say less
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// How log lines on stderr look
    #[arg(long, global = true, value_enum, default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormatName,
    /// Colours
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    pub color: ColorChoice,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormatName {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// What the flags, the environment and the settings file come to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Print JSON.
    pub json: bool,
    /// Say less.
    pub quiet: bool,
    /// Relays.
    pub relays: RelayList,
    /// Where the relays are named.
    pub relays_from: String,
    /// Which router to ask.
    pub router: RouterWish,
    /// What counts.
    pub mode: Mode,
    /// Most that one job may cost.
    pub max_price: Option<Msat>,
    /// Time for one job.
    pub timeout: Duration,
    /// Data folder.
    pub data: PathBuf,
    /// Whether to go straight to nodes.
    pub direct: DirectWish,
    /// Model named in the settings file.
    pub model: Option<String>,
}

impl GlobalFlags {
    /// True when the object goes to stdout.
    #[must_use]
    pub fn json(&self) -> bool {
        self.json_wish == JsonWish::Stdout
    }

    /// Ports on which runners are looked for.
    pub fn runner_ports(&self) -> Result<Vec<u16>, CliFailure> {
        parse_ports(self.runner_ports_from_environment.as_deref()).map_err(|error| {
            CliFailure::new(ExitStatus::Config, "config", format!("FEDAI_RUNNER_PORTS: {error}"))
        })
    }

    /// Fixes colours and starts logging.
    pub fn apply(&self) {
        let level = match (self.quiet, self.verbose) {
            (true, _) => "error",
            (false, 0) => "warn",
            (false, 1) => "info",
            (false, 2) => "debug",
            (false, _) => "trace",
        };
        let format = match self.log_format {
            LogFormatName::Text => LogFormat::Text,
            LogFormatName::Json => LogFormat::Json,
        };
        match self.color {
            ColorChoice::Always => anstream::ColorChoice::Always.write_global(),
            ColorChoice::Never => anstream::ColorChoice::Never.write_global(),
            ColorChoice::Auto => {}
        }
        logging::init(format, level);
    }

    /// All settings. Relays are looked up here too.
    pub fn settings(&self) -> Result<Settings, CliFailure> {
        let file = config::load_file(self.config.as_deref())?;
        self.settings_with(&file).map_err(CliFailure::from)
    }

    fn settings_with(&self, file: &ConfigFile) -> Result<Settings, ConfigError> {
        let (relays, relays_from) = config::relays(&self.relay, self.relays_from_environment.as_deref())?;
        Ok(Settings {
            json: self.json(),
            quiet: self.quiet,
            relays,
            relays_from,
            router: value("router", &self.router, &file.router, config::parse_router)?.unwrap_or_default(),
            mode: value("mode", &self.mode, &file.mode, config::parse_mode)?.unwrap_or_default(),
            max_price: value("max-price", &self.max_price, &file.max_price, config::parse_price)?,
            timeout: value("timeout", &self.timeout, &file.timeout, config::parse_duration)?
                .unwrap_or(TIMEOUT),
            direct: value("direct", &self.direct, &file.direct, config::parse_direct)?.unwrap_or_default(),
            data: config::data_folder(self.data.as_deref())?,
            model: file.model.clone(),
        })
    }
}

/// The flag (clap has put the environment behind it), else the file.
fn value<T>(
    name: &'static str,
    flag: &Option<String>,
    file: &Option<String>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, ConfigError> {
    let text = flag.as_ref().or(file.as_ref());
    let fail = |message: String| ConfigError::Value {
        name,
        message: if message.contains("hint:") {
            message
        } else {
            format!("{message}\nhint: see fedai --help")
        },
    };
    text.map(|text| parse(text)).transpose().map_err(fail)
}

impl Settings {
    /// Connects to the relays, or says with exit code 4 that there are none.
    pub async fn connect(&self) -> Result<Buyer, CliFailure> {
        let patience = self.timeout.clamp(CONNECT_WAIT_MIN, CONNECT_WAIT);
        let buyer = Buyer::connect(self.relays.clone(), &self.data, patience).await;
        buyer.map(|buyer| buyer.going(self.direct)).map_err(|error| {
            let failure = CliFailure::new(ExitStatus::NoRelay, "no_relay", error.to_string());
            if self.relays_from.starts_with("default") {
                let hint = "start a network on this machine: fedai up; or name a relay: --relay wss://HOST";
                return CliFailure { hint: Some(hint.to_owned()), ..failure };
            }
            failure
        })
    }
}
