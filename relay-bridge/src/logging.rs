//! Logs of all binaries: to stderr, as text or as one JSON object a line. `RUST_LOG` wins over the default level.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one object a line.
    Json,
}

/// Starts logging for this process; a second call changes nothing.
pub fn init(format: LogFormat, default_level: &str) {
    // The Nostr library logs whole messages at debug level: foreign text, and far too much of it.
    let quiet = format!("{default_level},nostr_relay_pool=error,nostr_sdk=error,tungstenite=warn,sled=error");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(quiet));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let outcome = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    // The only failure is that logging was started before, which is what was asked for.
    drop(outcome);
}
