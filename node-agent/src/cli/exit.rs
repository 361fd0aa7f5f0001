//! How a command fails: words on stderr, a code for scripts.

use std::fmt::Display;
use std::process::ExitCode;

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    words: String,
}

impl Failure {
    /// Something went wrong.
    pub(crate) fn general(words: impl Display) -> Self {
        Self { code: 1, words: words.to_string() }
    }

    /// A setting is wrong.
    pub(crate) fn config(words: impl Display) -> Self {
        Self { code: 3, words: words.to_string() }
    }

    /// No relay was reached.
    pub(crate) fn no_relay(words: impl Display) -> Self {
        Self { code: 4, words: words.to_string() }
    }

    /// There is no runner.
    pub(crate) fn no_runner(words: impl Display) -> Self {
        Self { code: 5, words: words.to_string() }
    }

    /// Says it.
    pub(crate) fn report(self) -> ExitCode {
        anstream::eprintln!("error: {}", self.words);
        ExitCode::from(self.code)
    }
}
