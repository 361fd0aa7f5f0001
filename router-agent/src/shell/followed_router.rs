//! A router that the operator follows, as a setting says it: `KEY` or `KEY@wss://relay`, the key as npub or hex.

use core::fmt;
use core::str::FromStr;

use fedai_protocol::PublicKey;
use fedai_protocol::quote::PeerRouter;
use fedai_relay_bridge::RelayAddress;
use serde::{Deserialize, Serialize};

/// Routers that one router names: as many as its profile may.
pub const FOLLOWED_MAX: usize = 32;

/// Another router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct FollowedRouter(PeerRouter);

impl FollowedRouter {
    /// As it travels.
    #[must_use]
    pub fn peer(&self) -> PeerRouter {
        self.0.clone()
    }
}

impl FromStr for FollowedRouter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, relay) = match text.split_once('@') {
            Some((key, url)) => (key, Some(url)),
            None => (text, None),
        };
        let router = PublicKey::parse(key).map_err(|_| {
            format!("`{text}` names no router\nhint: KEY or KEY@wss://relay, the key as npub or hex")
        })?;
        let relay = relay.map(RelayAddress::parse).transpose();
        let relay = relay.map_err(|error| format!("the relay of router `{key}` {error}"))?;
        Ok(Self(PeerRouter { router, relay: relay.map(|address| address.url().to_owned()) }))
    }
}

impl TryFrom<String> for FollowedRouter {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for FollowedRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.relay {
            Some(relay) => write!(f, "{}@{relay}", self.0.router),
            None => write!(f, "{}", self.0.router),
        }
    }
}

impl From<FollowedRouter> for String {
    fn from(router: FollowedRouter) -> Self {
        router.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_or_without_a_relay_is_read_and_anything_else_is_named() {
        let key = "e5a1d5b8e8b8f9c5b8f4f7b6a9a7f3f1e5a1d5b8e8b8f9c5b8f4f7b6a9a7f3f1";
        for text in [key.to_owned(), format!("{key}@wss://relay.example")] {
            let read: FollowedRouter = text.parse().unwrap();
            assert_eq!(read.to_string().trim_end_matches('/'), text);
        }
        for text in ["", "npub1nonsense", &format!("{key}@http://relay.example")] {
            let error = text.parse::<FollowedRouter>().unwrap_err();
            assert!(error.contains("router"), "{error}");
        }
    }
}
