//! What a router is run with: one file, flags over it. Unknown names are refused, with file, line and column.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fedai_protocol::limits::{DESCRIPTOR_LEASE_SECONDS, DISPATCH_SECONDS_MAX, QUOTE_SECONDS_MAX};
use fedai_protocol::payment_offer::PaymentMethod;
use fedai_protocol::router_profile::RouterFee;
use fedai_protocol::{Msat, PublicKey};
use fedai_relay_bridge::RelayList;
use serde::{Deserialize, Serialize};

use super::followed_router::{FOLLOWED_MAX, FollowedRouter};
use crate::core::decision_entry::KeepInputs;
use crate::core::policy::Policy;
use crate::core::rate_limit::Rate;

/// Everything that `run` needs.
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// Where all state is kept.
    pub data: PathBuf,
    /// The relays.
    pub relays: RelayList,
    /// What the file may say.
    pub settings: RouterSettings,
    /// Where metrics are written as text, when they are.
    pub metrics_file: Option<PathBuf>,
    /// Opens the key file, when it is encrypted.
    pub passphrase: Option<String>,
}

/// What the configuration file may say. Every part has a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouterSettings {
    /// Name, unique per key.
    pub name: String,
    /// Flat part of the fee, in msat.
    pub fee_flat_msat: u64,
    /// Parts per million of the node's price.
    pub fee_ppm: u32,
    /// Life of a quote, in seconds.
    pub quote_seconds: u64,
    /// Life of a ticket, in seconds.
    pub dispatch_seconds: u64,
    /// Length of an epoch of usage summaries, in seconds.
    pub epoch_seconds: u64,
    /// Time between two publications of summaries and ranks, in seconds.
    pub summary_seconds: u64,
    /// Lease of the profile, in seconds.
    pub lease_seconds: u64,
    /// Answer requests that are open to all routers.
    pub answer_open: bool,
    /// Other routers: named in the profile, and to who has to be refused for want of room.
    pub peers: Vec<FollowedRouter>,
    /// Requests of one key.
    pub rate_per_key: Rate,
    /// Requests of all keys.
    pub rate_global: Rate,
    /// What is kept of decisions.
    pub decisions: DecisionSettings,
    /// Parameters of the scheduler.
    pub policy: Policy,
    /// Whose ranks count, by key, and how much: 0 to 1.
    pub follow: BTreeMap<PublicKey, f64>,
}

/// What is kept of decisions, for `explain` and `replay`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecisionSettings {
    /// Whose inputs are kept: `sampled`, or `all` for a router whose every decision must be repeatable.
    pub keep_inputs: KeepInputs,
    /// Disk that decisions may take, in MiB.
    pub mebibytes_max: u32,
}

impl Default for DecisionSettings {
    fn default() -> Self {
        Self { keep_inputs: KeepInputs::Sampled, mebibytes_max: 64 }
    }
}

impl Default for RouterSettings {
    fn default() -> Self {
        Self {
            name: "router".to_owned(),
            fee_flat_msat: 0,
            fee_ppm: 0,
            quote_seconds: 30,
            dispatch_seconds: 300,
            epoch_seconds: 3_600,
            summary_seconds: 60,
            lease_seconds: DESCRIPTOR_LEASE_SECONDS,
            answer_open: true,
            peers: Vec::new(),
            rate_per_key: Rate { burst: 16.0, per_second: 4.0 },
            rate_global: Rate { burst: 2_000.0, per_second: 1_000.0 },
            decisions: DecisionSettings::default(),
            policy: Policy::default(),
            follow: BTreeMap::new(),
        }
    }
}

/// Why a configuration is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {error}\nhint: --config names a TOML file; `router-agent policy show` prints one", path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file says something unknown or wrong.
    #[error("{}: {error}hint: `router-agent policy show` prints every setting with its default", path.display())]
    Parse {
        /// File.
        path: PathBuf,
        /// Line, column and reason.
        error: Box<toml::de::Error>,
    },
    /// A value is outside its limits.
    #[error("{name} = {value} is out of range\nhint: {hint}")]
    Range {
        /// Setting.
        name: &'static str,
        /// Value.
        value: String,
        /// What is allowed.
        hint: &'static str,
    },
}

impl RouterConfig {
    /// Defaults with these relays and this data directory.
    #[must_use]
    pub fn new(data: PathBuf, relays: RelayList) -> Self {
        Self { data, relays, settings: RouterSettings::default(), metrics_file: None, passphrase: None }
    }
}

impl RouterSettings {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        let settings: Self = toml::from_str(&text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), error: Box::new(error) })?;
        settings.check()?;
        Ok(settings)
    }

    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), ConfigError> {
        let range = |name, value: String, hint| Err(ConfigError::Range { name, value, hint });
        if self.name.is_empty() || self.name.len() > 128 || self.name.chars().any(char::is_control) {
            return range(
                "name",
                format!("{:?}", self.name),
                "1 to 128 characters without control characters",
            );
        }
        if self.quote_seconds == 0 || self.quote_seconds > QUOTE_SECONDS_MAX {
            return range("quote_seconds", self.quote_seconds.to_string(), "1 to 60");
        }
        if self.dispatch_seconds == 0 || self.dispatch_seconds > DISPATCH_SECONDS_MAX {
            return range("dispatch_seconds", self.dispatch_seconds.to_string(), "1 to 900");
        }
        if self.epoch_seconds < 60 || self.summary_seconds == 0 || self.lease_seconds < 30 {
            let values = format!("{}/{}/{}", self.epoch_seconds, self.summary_seconds, self.lease_seconds);
            let hint = "epoch_seconds at least 60, summary_seconds at least 1, lease_seconds at least 30";
            return range("epoch/summary/lease seconds", values, hint);
        }
        if self.peers.len() > FOLLOWED_MAX {
            return range("peers", self.peers.len().to_string(), "at most 32 routers");
        }
        if self.decisions.mebibytes_max == 0 {
            return range("decisions.mebibytes_max", "0".to_owned(), "at least 1");
        }
        check_policy(&self.policy)?;
        if let Some((key, weight)) = self.follow.iter().find(|(_, weight)| !(0.0..=1.0).contains(*weight)) {
            return range("follow", format!("{weight} for {key}"), "a weight is between 0 and 1");
        }
        Ok(())
    }

    /// The fee.
    #[must_use]
    pub fn fee(&self) -> RouterFee {
        RouterFee { flat: Msat::saturating(self.fee_flat_msat), ppm: self.fee_ppm }
    }

    /// Payment methods that are routed. The others have no implementation yet, and nothing is assumed.
    #[must_use]
    pub fn methods() -> Vec<PaymentMethod> {
        vec![PaymentMethod::Free]
    }
}

/// Checks what the types of the scheduler's parameters cannot.
fn check_policy(policy: &Policy) -> Result<(), ConfigError> {
    let shares = [
        ("policy.exploration_share", policy.exploration_share),
        ("policy.fresh_exploration_share", policy.fresh_exploration_share),
        ("policy.new_node_share", policy.new_node_share),
        ("policy.unproven_p_ok", policy.unproven_p_ok),
        ("policy.prefix_hit", policy.prefix_hit),
        ("policy.retry_share", policy.retry_share),
        ("policy.hedge_share", policy.hedge_share),
    ];
    if let Some((name, share)) = shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
        return Err(ConfigError::Range {
            name,
            value: share.to_string(),
            hint: "a share is between 0 and 1",
        });
    }
    if !(1..=8).contains(&policy.draws) {
        let value = policy.draws.to_string();
        return Err(ConfigError::Range { name: "policy.draws", value, hint: "1 to 8" });
    }
    let modes = [&policy.cheapest, &policy.fastest, &policy.balanced, &policy.trusted];
    match modes.into_iter().find(|mode| !(0..=4).contains(&mode.gamma)) {
        Some(mode) => {
            let value = mode.gamma.to_string();
            Err(ConfigError::Range { name: "gamma of a mode", value, hint: "0 to 4" })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_a_valid_file_and_come_back_as_they_are() {
        let text = toml::to_string(&RouterSettings::default()).unwrap();
        let read: RouterSettings = toml::from_str(&text).unwrap();
        assert_eq!(read, RouterSettings::default());
        assert!(read.check().is_ok());
    }

    #[test]
    fn an_unknown_name_is_refused_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("router.toml");
        std::fs::write(&path, "name = \"x\"\nfee_ppt = 3\n").unwrap();
        let error = RouterSettings::load(&path).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("fee_ppt") && error.contains("hint:"), "{error}");
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let settings = |change: fn(&mut RouterSettings)| {
            let mut settings = RouterSettings::default();
            change(&mut settings);
            settings.check()
        };
        assert!(settings(|s| s.quote_seconds = QUOTE_SECONDS_MAX).is_ok());
        assert!(settings(|s| s.quote_seconds = QUOTE_SECONDS_MAX + 1).is_err());
        assert!(settings(|s| s.dispatch_seconds = 0).is_err());
        assert!(settings(|s| s.name.clear()).is_err());
        assert!(settings(|s| s.policy.draws = 0).is_err());
        assert!(settings(|s| s.policy.balanced.gamma = 5).is_err());
        assert!(settings(|s| s.policy.hedge_share = 1.5).is_err());
        assert!(settings(|s| s.decisions.mebibytes_max = 0).is_err());
        assert!(settings(|s| s.policy.exploration_share = 1.5).is_err());
    }
}
