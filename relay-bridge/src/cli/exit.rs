//! How a command ends: a code that scripts can rely on, and a message with a way out.

use std::fmt;
use std::process::ExitCode;

/// Why a command ends without success.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// Something went wrong (1).
    pub(crate) fn general(message: impl fmt::Display) -> Self {
        Self { code: 1, message: message.to_string() }
    }

    /// The configuration is wrong (3).
    pub(crate) fn config(message: impl fmt::Display) -> Self {
        Self { code: 3, message: message.to_string() }
    }

    /// No relay can be reached or used (4).
    pub(crate) fn no_relay(message: impl fmt::Display) -> Self {
        Self { code: 4, message: message.to_string() }
    }

    /// Says why, and gives the code.
    pub(crate) fn report(&self) -> ExitCode {
        anstream::eprintln!("error: {}", self.message);
        ExitCode::from(self.code)
    }
}
