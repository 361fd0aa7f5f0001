//! How a runner is opened: limits in time and size, the key, and whether it may be elsewhere.
//!
//! The rule: everything that waits or grows has a number here, with the reason for its default.

use std::fmt;
use std::time::Duration;

/// Settings of one runner.
#[derive(Debug, Clone)]
pub struct RunnerOptions {
    /// Sent as a bearer token.
    pub api_key: Option<ApiKey>,
    /// Runners on other machines are refused unless this is on: prompts would leave this machine.
    pub allow_remote: bool,
    /// TCP (and TLS) connection. Loopback connects in microseconds or not at all.
    pub connect_timeout: Duration,
    /// Small questions such as the model list or the load.
    pub query_timeout: Duration,
    /// From sending a request to its first token: covers the runner's queue and prefill.
    pub first_token_timeout: Duration,
    /// Between two events. Keep-alive comments do not count: a live socket is not progress.
    pub chunk_timeout: Duration,
    /// Largest single event, well above any honest one (a full set of logprobs is about 20 kB).
    pub max_event_bytes: usize,
    /// Largest whole answer that is not a stream.
    pub max_body_bytes: usize,
}

impl Default for RunnerOptions {
    fn default() -> Self {
        Self {
            api_key: None,
            allow_remote: false,
            connect_timeout: Duration::from_secs(3),
            query_timeout: Duration::from_secs(5),
            first_token_timeout: Duration::from_secs(60),
            chunk_timeout: Duration::from_secs(30),
            max_event_bytes: 1 << 20,
            max_body_bytes: 8 << 20,
        }
    }
}

/// A runner's API key. It can be used, but not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Wraps a key read from a file or the environment.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into().trim().to_owned())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_printed() {
        let options = RunnerOptions { api_key: Some(ApiKey::new("sk-canary\n")), ..Default::default() };
        assert!(!format!("{options:?}").contains("canary"));
        assert_eq!(options.api_key.as_ref().map(ApiKey::reveal), Some("sk-canary"));
    }
}
