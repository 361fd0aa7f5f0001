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

    /// With the code of whoever failed.
    pub(crate) fn with_code(code: u8, words: impl Display) -> Self {
        Self { code, words: words.to_string() }
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
