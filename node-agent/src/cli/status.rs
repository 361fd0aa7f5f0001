//! `status` and `healthcheck`: what the running node last wrote about itself.

use clap::Args;
use fedai_relay_bridge::wall_clock;

use super::DataArgs;
use super::exit::Failure;
use crate::shell::status_file::{NodeStatusFile, STALE_SECONDS, STATUS, read_json};

/// Show how the node is doing.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    data: DataArgs,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Exit 0 when the node is advertised and its runner answers, 1 otherwise.
#[derive(Debug, Args)]
pub(crate) struct HealthcheckArgs {
    #[command(flatten)]
    data: DataArgs,
}

/// Shows the status.
pub(super) fn status(args: &StatusArgs) -> Result<(), Failure> {
    let status: NodeStatusFile = read_json(&args.data.dir()?, STATUS).map_err(Failure::general)?;
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&status).map_err(Failure::general)?);
        return Ok(());
    }
    let age = wall_clock::now_seconds().since(status.updated_at);
    let fresh =
        if age > STALE_SECONDS { format!(" ({age} s ago: the process is gone)") } else { String::new() };
    anstream::println!("{} {}", status.name, status.npub);
    anstream::println!("state     {}{fresh}", status.state);
    anstream::println!("runner    {} ({})", status.runner, if status.runner_up { "up" } else { "down" });
    anstream::println!("models    {}", status.models.join(", "));
    anstream::println!(
        "jobs      {} running, {} waiting, {} at once",
        status.running,
        status.queued,
        status.slots
    );
    anstream::println!("receipts  {}", status.receipts);
    anstream::println!(
        "relays    {}/{}, {}",
        status.advertised_on,
        status.advertised_of,
        status.relays.join(", ")
    );
    Ok(())
}

/// Judges the status.
pub(super) fn healthcheck(args: &HealthcheckArgs) -> Result<(), Failure> {
    let status: NodeStatusFile = read_json(&args.data.dir()?, STATUS).map_err(Failure::general)?;
    let age = wall_clock::now_seconds().since(status.updated_at);
    if age > STALE_SECONDS {
        return Err(Failure::general(format!("the node wrote its status {age} s ago\nhint: is it running?")));
    }
    if status.state != "active" || !status.runner_up || status.relays.is_empty() {
        let words = format!(
            "the node is {}, its runner is {}, {} relays are connected",
            status.state,
            if status.runner_up { "up" } else { "down" },
            status.relays.len()
        );
        return Err(Failure::general(words));
    }
    anstream::println!("ok");
    Ok(())
}
