//! The address of an addressable event: `kind:author:d` (NIP-01, the value of an `a` tag).

use core::fmt;
use core::str::FromStr;

use nostr::PublicKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::NAME_BYTES_MAX;

/// Kind, author and `d` of an addressable event. It names the newest version, whichever that is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Event kind.
    pub kind: u16,
    /// Author of the event.
    pub author: PublicKey,
    /// Value of the `d` tag.
    pub identifier: String,
}

/// Why a string is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address of the form kind:author:identifier")]
pub struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let mut parts = text.splitn(3, ':');
        let kind = parts.next().and_then(|k| k.parse().ok()).ok_or(AddressError)?;
        let author = parts.next().and_then(|a| PublicKey::from_hex(a).ok()).ok_or(AddressError)?;
        let identifier = parts.next().filter(|d| d.len() <= NAME_BYTES_MAX).ok_or(AddressError)?;
        Ok(Self { kind, author, identifier: identifier.to_owned() })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.kind, self.author.to_hex(), self.identifier)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_may_hold_colons() {
        let key = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        let text = format!("31435:{key}:qwen3:8b@q4");
        let address: Address = text.parse().unwrap();
        assert_eq!(address.identifier, "qwen3:8b@q4");
        assert_eq!(address.to_string(), text);
    }

    #[test]
    fn garbage_is_refused() {
        for text in [
            "",
            "31435",
            "31435:abc:x",
            "x:79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798:d",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
