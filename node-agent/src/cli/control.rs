//! `drain`, `pause`, `resume`: a word for the running node, left in its data directory.

use clap::Args;

use super::DataArgs;
use super::exit::Failure;
use crate::shell::status_file::{COMMAND, NodeStatusFile, STATUS, read_json, replace};

#[derive(Debug, Args)]
pub(crate) struct ControlArgs {
    #[command(flatten)]
    data: DataArgs,
}

/// Leaves the word.
pub(super) fn tell(args: &ControlArgs, word: &str) -> Result<(), Failure> {
    let dir = args.data.dir()?;
    let status: NodeStatusFile = read_json(&dir, STATUS).map_err(Failure::general)?;
    replace(&dir.join(COMMAND), word.as_bytes()).map_err(Failure::general)?;
    anstream::eprintln!("told {} (process {}) to {word}", status.name, status.pid);
    Ok(())
}
