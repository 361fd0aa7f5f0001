//! A command line that is not understood: clap's words on stderr, and the same as an object on stdout for a program
//! that asked for JSON anywhere in it.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;

use super::failure::CliFailure;
use super::terminal;

/// Says what is wrong, or shows the help or version that was asked for.
pub(super) fn report(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    // Nobody to read it is no failure.
    drop(error.print());
    if error.use_stderr() && wants_json(arguments) {
        drop(terminal::print_json(&failure_of(error).output()));
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// True when the object is to go to stdout. `bench` takes a file behind `--json`, which may be `-`.
fn wants_json(arguments: &[OsString]) -> bool {
    let words: Vec<&str> = arguments.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    let flags = words.split(|word| *word == "--").next().unwrap_or_default();
    let command = super::definition();
    let command = flags.iter().find(|word| command.find_subcommand(word).is_some());
    if command == Some(&"bench") {
        return flags.contains(&"--json=-") || flags.windows(2).any(|pair| pair == ["--json", "-"]);
    }
    flags.contains(&"--json")
}

/// Clap's words, as every other failure has them: what is wrong, and a way out.
fn failure_of(error: &clap::Error) -> CliFailure {
    let text = error.render().to_string();
    let mut parts = text.split("\n\n").map(one_line);
    let message = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            "a command is missing".to_owned()
        }
        _ => parts.next().unwrap_or_default(),
    };
    let message = message.strip_prefix("error: ").unwrap_or(&message).to_owned();
    let tip = parts.find_map(|part| part.strip_prefix("tip: ").map(str::to_owned));
    CliFailure::usage(message).hint(tip.unwrap_or_else(|| "see --help".to_owned()))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_one_sentence_with_a_way_out() {
        for (words, message, hint) in [
            (&["chat", "--jsn"][..], "unexpected argument '--jsn' found", "--json"),
            (
                &["chat", "--mode"],
                "a value is required for '--mode <MODE>' but none was supplied",
                "see --help",
            ),
            (&["chat", "--max-tokens", "0"], "invalid value '0' for '--max-tokens <N>'", "see --help"),
            (&["caht"], "unrecognized subcommand 'caht'", "chat"),
            (&[], "a command is missing", "see --help"),
            (&["receipts"], "a command is missing", "see --help"),
        ] {
            let words = std::iter::once("fedai").chain(words.iter().copied());
            let error = super::super::definition().try_get_matches_from(words).unwrap_err();
            let failure = failure_of(&error);
            assert!(failure.message.starts_with(message), "{failure:?}");
            assert!(failure.hint.as_deref().unwrap().contains(hint), "{failure:?}");
            assert_eq!((failure.code.as_str(), failure.status.code()), ("usage", 2));
        }
    }

    #[test]
    fn json_counts_wherever_it_stands_but_not_as_a_prompt_or_a_file() {
        for (line, wanted) in [
            ("fedai --json chat --nope", true),
            ("fedai chat --nope --json", true),
            ("fedai chat --nope", false),
            ("fedai chat --nope -- --json", false),
            ("fedai bench --nope --json result.json", false),
            ("fedai bench --nope --json -", true),
            ("fedai chat --json --nope bench", true),
            ("fedai bench --nope --json=-", true),
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(wants_json(&words), wanted, "{line}");
        }
    }
}
