//! `ad show`: what the node says about itself, as it was published.

use clap::{Args, Subcommand};
use fedai_protocol::{Message, ModelOffer, NodeDescriptor};

use super::DataArgs;
use super::exit::Failure;
use crate::shell::status_file::{AD, NodeAd, read_json};

#[derive(Debug, Subcommand)]
pub(crate) enum AdCommand {
    /// Show descriptor and offers.
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    data: DataArgs,
    /// The signed events as JSON.
    #[arg(long)]
    json: bool,
}

/// Shows the advertisement.
pub(super) fn run(command: &AdCommand) -> Result<(), Failure> {
    let AdCommand::Show(args) = command;
    let ad: NodeAd = read_json(&args.data.dir()?, AD).map_err(Failure::general)?;
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&ad).map_err(Failure::general)?);
        return Ok(());
    }
    if let Some(event) = &ad.descriptor {
        let descriptor = NodeDescriptor::parse(event).map_err(Failure::general)?;
        anstream::println!("{}", descriptor.message.summary());
        anstream::println!(
            "lease until {} (Unix time), relays {}",
            descriptor.message.expires_at,
            descriptor.message.relays.join(", ")
        );
    }
    for event in &ad.offers {
        anstream::println!("{}", ModelOffer::parse(event).map_err(Failure::general)?.message.summary());
    }
    Ok(())
}
