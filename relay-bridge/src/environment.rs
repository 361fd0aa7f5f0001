//! Environment variables of a command line. One that is set to nothing, as `FEDAI_RELAYS= fedai chat` or a compose file
//! sets it, says nothing: it is as if it were not set.

use clap::error::Error;
use clap::{Arg, Command, CommandFactory, FromArgMatches};

/// Reads a command line; empty variables do not count.
pub fn parse<C: CommandFactory + FromArgMatches>(
    words: impl IntoIterator<Item = impl Into<std::ffi::OsString> + Clone>,
) -> Result<C, Error> {
    let mut command = without_empty(C::command());
    let matches = command.try_get_matches_from_mut(words)?;
    C::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// The same for a program that ends where the command line is wrong, or only asks for help.
pub fn parse_or_exit<C: CommandFactory + FromArgMatches>(
    words: impl IntoIterator<Item = impl Into<std::ffi::OsString> + Clone>,
) -> C {
    parse(words).unwrap_or_else(|error| error.exit())
}

/// Arguments forget the variables that are empty.
fn without_empty(command: Command) -> Command {
    command.mut_args(forget).mut_subcommands(without_empty)
}

#[expect(clippy::disallowed_methods, reason = "asks about the very variables that clap reads")]
fn forget(argument: Arg) -> Arg {
    let name = argument.get_env().filter(|name| !MEANT.iter().any(|meant| name == meant));
    match name.and_then(std::env::var_os) {
        Some(value) if value.is_empty() => argument.env(None::<&str>),
        _ => argument,
    }
}

/// Variables of which nothing is an answer: no port at all is looked at.
const MEANT: [&str; 1] = ["FEDAI_RUNNER_PORTS"];
