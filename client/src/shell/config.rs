//! Where settings come from: flag, then environment (`FEDAI_*`), then `config.toml`, then the default. Read once, at
//! the start; the rest of the program gets values.

use std::path::{Path, PathBuf};
use std::time::Duration;

use etcetera::BaseStrategy;
use fedai_protocol::quote_request::Mode;
use fedai_protocol::{Msat, PublicKey};
use fedai_relay_bridge::RelayList;
use fedai_relay_bridge::relay_list::RelayListError;
use serde::Deserialize;

use crate::core::direct_way::DirectWish;

/// Relay that is tried when nothing names one: where `fedai up` listens.
pub const DEFAULT_RELAY: &str = "ws://127.0.0.1:7447";

/// The user's own settings file. Every key is optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// Router to ask: `any`, `self`, a hex key or an npub.
    pub router: Option<String>,
    /// `cheapest`, `fastest`, `balanced` or `trusted`.
    pub mode: Option<String>,
    /// Most that one job may cost, as `--max-price` takes it.
    pub max_price: Option<String>,
    /// Time for one job, as `--timeout` takes it.
    pub timeout: Option<String>,
    /// Whether to go straight to nodes, as `--direct` takes it.
    pub direct: Option<String>,
    /// Model to ask for.
    pub model: Option<String>,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is wrong.
    #[error(
        "{path}: {message}\nhint: the keys are router, mode, max_price, timeout, direct and model; see docs/cli.md"
    )]
    File {
        /// File.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// A value is wrong.
    #[error("{name}: {message}")]
    Value {
        /// Name of the setting.
        name: &'static str,
        /// What is wrong, with a hint.
        message: String,
    },
    /// Relays.
    #[error(transparent)]
    Relays(#[from] RelayListError),
    /// The system names no home.
    #[error("no home folder is known\nhint: set HOME, or name a folder with --data")]
    NoHome,
}

/// Which router to ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouterWish {
    /// Those that announce themselves.
    #[default]
    Any,
    /// None: schedule here.
    Own,
    /// This one.
    Named(PublicKey),
}

/// Reads `$XDG_CONFIG_HOME/fedai/config.toml`, or the file that was named; a missing default file is empty.
pub fn load_file(named: Option<&Path>) -> Result<ConfigFile, ConfigError> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => match etcetera::choose_base_strategy() {
            Ok(strategy) => strategy.config_dir().join("fedai/config.toml"),
            Err(_) => return Ok(ConfigFile::default()),
        },
    };
    let fail = |message: String| ConfigError::File { path: path.display().to_string(), message };
    match std::fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text).map_err(|error| fail(error.to_string().trim_end().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => {
            Ok(ConfigFile::default())
        }
        Err(error) => Err(fail(error.to_string())),
    }
}

/// The client's data folder.
pub fn data_folder(named: Option<&Path>) -> Result<PathBuf, ConfigError> {
    match named {
        Some(path) => Ok(path.to_owned()),
        None => etcetera::choose_base_strategy()
            .map(|strategy| strategy.data_dir().join("fedai"))
            .map_err(|_| ConfigError::NoHome),
    }
}

/// Where `fedai up` keeps the state of its parts.
pub fn up_folder(named: Option<&Path>) -> Result<PathBuf, ConfigError> {
    match named {
        Some(path) => Ok(path.to_owned()),
        None => etcetera::choose_base_strategy()
            .map(|strategy| strategy.state_dir().unwrap_or_else(|| strategy.data_dir()).join("fedai/up"))
            .map_err(|_| ConfigError::NoHome),
    }
}

/// The relays, and where they come from. With nothing configured: the relay of `fedai up`.
pub fn relays(flags: &[String], environment: Option<&str>) -> Result<(RelayList, String), ConfigError> {
    match RelayList::lookup(flags, environment) {
        Err(RelayListError::Nowhere { .. }) => {
            Ok((RelayList::single(DEFAULT_RELAY)?, "default: nothing is configured".to_owned()))
        }
        other => Ok(other?),
    }
}

/// `any`, `self`, a hex key or an npub.
pub fn parse_router(text: &str) -> Result<RouterWish, String> {
    match text {
        "any" => Ok(RouterWish::Any),
        "self" => Ok(RouterWish::Own),
        key => parse_key(key).map(RouterWish::Named),
    }
}

/// A public key in hex or as npub.
pub fn parse_key(text: &str) -> Result<PublicKey, String> {
    PublicKey::parse(text).map_err(|_| format!("{text:?} is neither 64 hex digits nor an npub"))
}

/// `1500`, `1500msat`, `2sat`.
pub fn parse_price(text: &str) -> Result<Msat, String> {
    let text = text.trim();
    let (number, factor) = match (text.strip_suffix("msat"), text.strip_suffix("sat")) {
        (Some(number), _) => (number, 1),
        (None, Some(number)) => (number, 1_000),
        (None, None) => (text, 1),
    };
    let amount = number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    amount
        .and_then(Msat::new)
        .ok_or_else(|| format!("{text:?} is not an amount; write 1500, 1500msat or 2sat"))
}

/// `30s`, `500ms`, `2m`, or seconds without a unit.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let (number, factor) = units
        .iter()
        .find_map(|(unit, factor)| text.strip_suffix(unit).map(|number| (number, *factor)))
        .unwrap_or((text, 1_000));
    let millis = number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    millis
        .filter(|millis| (1..=86_400_000).contains(millis))
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is not a time; write 500ms, 30s or 2m"))
}

/// A mode by name.
pub fn parse_mode(text: &str) -> Result<Mode, String> {
    text.parse()
}

/// When to go straight to nodes.
pub fn parse_direct(text: &str) -> Result<DirectWish, String> {
    match text {
        "auto" => Ok(DirectWish::Auto),
        "never" => Ok(DirectWish::Never),
        "any" => Ok(DirectWish::Any),
        _ => Err(format!("{text:?} is not one of auto, never and any")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_units() {
        assert_eq!(parse_price("1500").unwrap().get(), 1_500);
        assert_eq!(parse_price("1500msat").unwrap().get(), 1_500);
        assert_eq!(parse_price("2 sat").unwrap().get(), 2_000);
        for wrong in ["", "sat", "-1", "1.5sat", "18446744073709551615sat"] {
            assert!(parse_price(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(parse_duration("30").unwrap(), Duration::from_secs(30));
        assert_eq!(parse_duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(parse_duration("2m").unwrap(), Duration::from_secs(120));
        for wrong in ["", "0s", "s", "1d", "999999h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_settings_file_names_its_mistakes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, "mode = \"fastest\"\nrooter = \"any\"\n").unwrap();
        let error = load_file(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("rooter") && error.contains("hint:"), "{error}");
        std::fs::write(&path, "mode = \"fastest\"\n").unwrap();
        assert_eq!(load_file(Some(&path)).unwrap().mode.as_deref(), Some("fastest"));
    }

    #[test]
    fn routers_are_named_in_hex_or_npub() {
        assert_eq!(parse_router("any"), Ok(RouterWish::Any));
        assert_eq!(parse_router("self"), Ok(RouterWish::Own));
        let hex = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        assert!(matches!(parse_router(hex), Ok(RouterWish::Named(_))));
        assert!(parse_router("bob").is_err());
    }
}
