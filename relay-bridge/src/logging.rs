//! Logs of all binaries: to stderr, as text or as one JSON object a line. `RUST_LOG` wins over the default level.

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

/// Starts logging for this process; a second call changes nothing. Colours are those that were chosen before.
pub fn init(format: LogFormat, default_level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| default_filter(default_level));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let outcome = match format {
        LogFormat::Text => builder.with_ansi(is_coloured()).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    // The only failure is that logging was started before, which is what was asked for.
    drop(outcome);
}

/// As all other words on stderr: what `--color` said, else `NO_COLOR` and its kin, else whether it is a terminal.
fn is_coloured() -> bool {
    anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
}

/// Silences the crates of the Nostr library: they log whole messages at debug level (foreign text, and far too much
/// of it), and failures that the pool reports with a way out as errors of their own.
fn default_filter(level: &str) -> EnvFilter {
    EnvFilter::new(format!("{level},nostr=off,tungstenite=warn,sled=error"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::lock::lock;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_nostr_library_is_silent_and_we_are_not() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(default_filter("warn"))
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(target: "nostr_relay_pool::relay::inner", "from the pool of the library");
            tracing::error!(target: "nostr_sdk::client", "from the library");
            tracing::warn!(target: "fedai_relay_bridge::relay_pool", "from us");
            tracing::info!(target: "fedai_relay_bridge::relay_pool", "in detail");
        });
        let text = String::from_utf8(lock(&written.0).clone()).unwrap();
        assert!(text.contains("from us"), "{text}");
        assert!(!text.contains("library") && !text.contains("in detail"), "{text}");
    }
}
