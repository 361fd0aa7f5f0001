//! Keys of the endpoint's own users, each with what it may spend in a period. Kept in a file of the user's; only hashes
//! of keys are compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fedai_protocol::{Msat, UnixSeconds};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::core::openai::api_error::ApiError;
use crate::shell::config::parse_price;
use crate::shell::private_file;

/// Keys in one file.
const KEYS_MAX: usize = 1_000;
/// Shortest key: shorter ones can be guessed.
const KEY_BYTES_MIN: usize = 16;
/// Where spending is kept.
const SPENDING_FILE: &str = "api_spending.json";

/// The keys; empty when anybody on this machine may call.
#[derive(Default)]
pub struct KeyRing {
    entries: BTreeMap<String, Entry>,
    spending: Mutex<BTreeMap<String, Spent>>,
    file: PathBuf,
}

struct Entry {
    hash: [u8; 32],
    budget: Option<Msat>,
    period: Period,
}

/// How often a budget begins anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Period {
    Day,
    /// Thirty days.
    Month,
    #[default]
    Total,
}

/// What was spent in the current period.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Spent {
    period: u64,
    msat: u64,
}

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    #[serde(default)]
    key: Vec<KeyLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyLine {
    name: String,
    key: String,
    budget: Option<String>,
    #[serde(default)]
    period: Period,
}

impl KeyRing {
    /// Reads the keys; `data` is where spending is kept.
    pub fn read(path: &Path, data: &Path) -> Result<Self, String> {
        let name = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        if private_file::foreign_bits(path).is_ok_and(|bits| bits != 0) {
            return Err(format!("{name} can be read by others\nhint: chmod 600 {name}"));
        }
        let file: KeyFile = toml::from_str(&text).map_err(|error| {
            // The message of the parser may quote the line, and with it a key.
            let line = error.span().map_or(0, |span| text.get(..span.start).map_or(0, |t| t.lines().count()));
            format!("{name}: line {} is not understood\nhint: [[key]] name, key, budget, period", line.max(1))
        })?;
        if file.key.is_empty() || file.key.len() > KEYS_MAX {
            return Err(format!("{name} must hold between 1 and {KEYS_MAX} keys"));
        }
        let mut entries = BTreeMap::new();
        for line in file.key {
            let entry = entry(&line).map_err(|what| format!("{name}: key {:?}: {what}", line.name))?;
            if entries.insert(line.name.clone(), entry).is_some() {
                return Err(format!("{name}: two keys are named {:?}", line.name));
            }
        }
        let file = data.join(SPENDING_FILE);
        let spending = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|_| format!("{} is damaged\nhint: remove it; budgets begin anew", file.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(format!("{}: {error}", file.display())),
        };
        Ok(Self { entries, spending: Mutex::new(spending), file })
    }

    /// True when no key is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whose key it is.
    #[must_use]
    pub fn name_of(&self, key: &str) -> Option<String> {
        let hash: [u8; 32] = Sha256::digest(key).into();
        self.entries.iter().find(|(_, entry)| entry.hash == hash).map(|(name, _)| name.clone())
    }

    /// What a caller may still spend; none without a budget.
    pub fn left(&self, caller: Option<&str>, now: UnixSeconds) -> Result<Option<Msat>, ApiError> {
        let entry = caller.and_then(|name| Some((name, self.entries.get(name)?)));
        let Some((name, Entry { budget: Some(budget), period, .. })) = entry else { return Ok(None) };
        let spending = self.spending.lock().unwrap_or_else(PoisonError::into_inner);
        let spent = spending.get(name).filter(|spent| spent.period == period.number(now));
        let left = budget.get().saturating_sub(spent.map_or(0, |spent| spent.msat));
        if left == 0 {
            let text = "the budget of this API key is spent";
            return Err(ApiError {
                kind: "insufficient_quota",
                ..ApiError::new(429, "insufficient_quota", text)
            });
        }
        Ok(Msat::new(left))
    }

    /// Books what a job cost.
    pub fn spent(&self, caller: Option<&str>, cost: Msat, now: UnixSeconds) {
        let Some((name, entry)) = caller.and_then(|name| Some((name, self.entries.get(name)?))) else {
            return;
        };
        if cost == Msat::ZERO {
            return;
        }
        let mut spending = self.spending.lock().unwrap_or_else(PoisonError::into_inner);
        let spent = spending.entry(name.to_owned()).or_default();
        let period = entry.period.number(now);
        if spent.period != period {
            *spent = Spent { period, msat: 0 };
        }
        spent.msat = spent.msat.saturating_add(cost.get());
        let written = serde_json::to_vec(&*spending).map_err(std::io::Error::from);
        if let Err(error) = written.and_then(|bytes| private_file::write_whole(&self.file, &bytes)) {
            tracing::error!(%error, "the spending of API keys was not kept");
        }
    }
}

impl Period {
    fn number(self, now: UnixSeconds) -> u64 {
        match self {
            Self::Day => now.0 / 86_400,
            Self::Month => now.0 / (30 * 86_400),
            Self::Total => 0,
        }
    }
}

fn entry(line: &KeyLine) -> Result<Entry, String> {
    if line.key.len() < KEY_BYTES_MIN {
        return Err(format!("the key is shorter than {KEY_BYTES_MIN} characters and could be guessed"));
    }
    Ok(Entry {
        hash: Sha256::digest(&line.key).into(),
        budget: line.budget.as_deref().map(parse_price).transpose()?,
        period: line.period,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "[[key]]\nname = \"editor\"\nkey = \"sk-0123456789abcdef\"\nbudget = \"2sat\"\nperiod = \"day\"\n";

    fn ring(folder: &Path, text: &str) -> Result<KeyRing, String> {
        let path = folder.join("keys.toml");
        private_file::write_whole(&path, text.as_bytes()).unwrap();
        KeyRing::read(&path, folder)
    }

    #[test]
    fn a_budget_holds_over_restarts_and_begins_anew_with_its_period() {
        let folder = tempfile::tempdir().unwrap();
        let keys = ring(folder.path(), FILE).unwrap();
        let name = keys.name_of("sk-0123456789abcdef");
        assert_eq!(name.as_deref(), Some("editor"));
        assert_eq!(keys.name_of("sk-0123456789abcdeF"), None);
        let (caller, today) = (name.as_deref(), UnixSeconds(86_400 * 20_000));
        assert_eq!(keys.left(caller, today).unwrap().map(Msat::get), Some(2_000));
        keys.spent(caller, Msat::new(1_500).unwrap(), today);
        let keys = ring(folder.path(), FILE).unwrap();
        assert_eq!(keys.left(caller, today).unwrap().map(Msat::get), Some(500));
        keys.spent(caller, Msat::new(500).unwrap(), today);
        assert_eq!(keys.left(caller, today).unwrap_err().code, "insufficient_quota");
        assert_eq!(keys.left(caller, today.plus(86_400)).unwrap().map(Msat::get), Some(2_000));
    }

    #[test]
    fn mistakes_in_the_file_are_said_without_quoting_a_key() {
        let folder = tempfile::tempdir().unwrap();
        for wrong in [
            "",
            "[[key]]\nname = \"a\"\nkey = \"secret\"\n",
            "[[key]]\nname = \"a\"\nkey = secret-secret-secret\n",
            &format!("{FILE}{FILE}"),
            &FILE.replace("2sat", "two"),
        ] {
            let error = ring(folder.path(), wrong).err().unwrap();
            assert!(error.contains("keys.toml") && !error.contains("secret-"), "{error}");
        }
    }
}
