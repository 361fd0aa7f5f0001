//! `key show`: the public half of the node's key. The secret half is never shown.

use clap::Subcommand;
use fedai_protocol::PublicKey;

use super::DataArgs;
use super::exit::Failure;
use crate::shell::node_board::npub;
use crate::shell::status_file::{NodeStatusFile, STATUS, read_json};

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Show the public key, as npub and as hex.
    Show(DataArgs),
}

/// Shows the key.
pub(super) fn run(command: &KeyCommand) -> Result<(), Failure> {
    let KeyCommand::Show(data) = command;
    let status: NodeStatusFile = read_json(&data.dir()?, STATUS).map_err(Failure::general)?;
    let key = PublicKey::from_hex(&status.public_key).map_err(Failure::general)?;
    anstream::println!("{}\n{}", npub(&key), key.to_hex());
    Ok(())
}
