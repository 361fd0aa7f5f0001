//! How a command says that it failed: what, which thing, and a way out; on stderr for people, with `--json` also as one
//! object on stdout.

use schemars::JsonSchema;
use serde::Serialize;

use super::exit_code::ExitStatus;
use super::terminal;
use crate::core::job_ending::JobFailure;
use crate::shell::config::ConfigError;

/// A command that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliFailure {
    /// Exit status.
    pub status: ExitStatus,
    /// Stable code.
    pub code: String,
    /// What happened to which thing.
    pub message: String,
    /// A way out.
    pub hint: Option<String>,
}

/// The object that `--json` prints when a command fails.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ErrorOutput {
    /// Version of this form.
    pub v: u64,
    /// The failure.
    pub error: ErrorBody,
}

/// What is said of a failure.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ErrorBody {
    /// Stable code.
    pub code: String,
    /// What happened to which thing.
    pub message: String,
    /// A way out.
    pub hint: Option<String>,
    /// Exit code of the command.
    pub exit: u8,
}

impl CliFailure {
    /// A failure; a `hint:` line inside the text becomes the hint. Of several the first counts: it is of whoever knows
    /// the most of what failed.
    #[must_use]
    pub fn new(status: ExitStatus, code: &str, text: impl Into<String>) -> Self {
        let text: String = text.into();
        let (message, hint) = match text.split_once("\nhint: ") {
            Some((message, hints)) => {
                let hint = hints.split("\nhint: ").next().unwrap_or_default();
                (message.to_owned(), Some(hint.to_owned()))
            }
            None => (text, None),
        };
        Self { status, code: code.to_owned(), message, hint }
    }

    /// Called wrongly.
    #[must_use]
    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(ExitStatus::Usage, "usage", text)
    }

    /// The same with a hint, unless it has one.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// What goes to stderr. Parts of it may be the words of others: nothing in it can steer a terminal.
    #[must_use]
    pub fn for_people(&self) -> String {
        let hint = self.hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        terminal::without_controls(&format!("error: {}{hint}", self.message)).into_owned()
    }

    /// The object for `--json`.
    #[must_use]
    pub fn output(&self) -> ErrorOutput {
        ErrorOutput {
            v: 1,
            error: ErrorBody {
                code: self.code.clone(),
                message: self.message.clone(),
                hint: self.hint.clone(),
                exit: self.status.code(),
            },
        }
    }
}

impl From<ConfigError> for CliFailure {
    fn from(error: ConfigError) -> Self {
        Self::new(ExitStatus::Config, "config", error.to_string())
    }
}

impl From<JobFailure> for CliFailure {
    fn from(failure: JobFailure) -> Self {
        let status = ExitStatus::of_failure(&failure);
        let code = failure.code();
        let mut message = failure.refusal.message.clone();
        if let Some(lie) = &failure.dishonest {
            message = format!("{message} (a router's quote did not hold: {lie})");
        }
        if !failure.attempts.is_empty() {
            let tried: Vec<String> = failure
                .attempts
                .iter()
                .map(|note| format!("{}… {}", terminal::short(&note.node.to_hex()), note.outcome))
                .collect();
            message = format!("{message} (nodes tried: {})", tried.join(", "));
        }
        let said = Self::new(status, &code, format!("{code}: {message}"));
        let Some(hint) = failure.hint() else { return said };
        said.hint(match failure.decision.map(|decision| decision.to_hex()) {
            Some(id) => format!("{hint}; what led to the last node: fedai why {}", terminal::short(&id)),
            None => hint.to_owned(),
        })
    }
}

impl From<std::io::Error> for CliFailure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::new(ExitStatus::Success, "broken_pipe", "");
        }
        Self::new(ExitStatus::Failure, "io", error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use fedai_protocol::{Refusal, RefusalCode};

    use super::*;

    #[test]
    fn the_words_of_others_cannot_steer_a_terminal() {
        let text = "node said \u{1b}]0;title\u{7}no\nhint: try \u{1b}[2Janother";
        let failure = CliFailure::new(ExitStatus::Failure, "internal", text);
        assert_eq!(
            failure.for_people(),
            "error: node said \u{fffd}]0;title\u{fffd}no\nhint: try \u{fffd}[2Janother"
        );
    }

    #[test]
    fn there_is_one_hint_and_none_for_who_wanted_to_stop() {
        let text = "no runner\nhint: is it running?\nhint: run it again";
        assert_eq!(CliFailure::usage(text).for_people(), "error: no runner\nhint: is it running?");
        for (code, has_hint) in [(RefusalCode::Cancelled, false), (RefusalCode::Busy, true)] {
            let refusal = Refusal::new(code, "words");
            let failure = CliFailure::from(JobFailure { refusal, ..JobFailure::of_our_own() });
            assert_eq!(failure.hint.is_some(), has_hint, "{code}");
        }
    }
}
