//! `fedai completions SHELL`: a script that completes this command line.

use clap_complete::Shell;

use super::exit_code::ExitStatus;
use super::failure::CliFailure;
use super::global_flags::GlobalFlags;
use super::terminal;

/// Flags of `fedai completions`.
#[derive(Clone, Debug, clap::Args)]
pub struct CompletionsArgs {
    /// Shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Runs the command.
pub fn run(global: &GlobalFlags, arguments: &CompletionsArgs) -> Result<ExitStatus, CliFailure> {
    if global.json() {
        let text = "a completion script is no JSON\nhint: leave out --json";
        return Err(CliFailure::usage(text));
    }
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::definition(), "fedai", &mut script);
    terminal::print(&String::from_utf8_lossy(&script))?;
    Ok(ExitStatus::Success)
}
