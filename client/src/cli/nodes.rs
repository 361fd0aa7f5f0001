//! `fedai nodes`: who is there, until when, with which models and which rank.

use fedai_protocol::{NodeDescriptor, UnixSeconds};
use fedai_relay_bridge::wall_clock;

use super::answer_report::npub;
use super::exit_code::ExitStatus;
use super::failure::CliFailure;
use super::global_flags::Settings;
use super::json_output::{NodeRow, NodesOutput};
use super::terminal;
use crate::shell::network_view::{Announced, NetworkView};

/// Runs the command.
pub async fn run(settings: &Settings) -> Result<ExitStatus, CliFailure> {
    let buyer = settings.connect().await?;
    let now = wall_clock::now_seconds();
    let view = NetworkView::fetch_all(buyer.pool(), now, settings.timeout).await;
    buyer.close().await;
    let nodes: Vec<NodeRow> = view.nodes.iter().map(|node| row(node, &view, now)).collect();
    if nodes.is_empty() {
        let text = match view.away {
            0 => "no node is announced on these relays\n\
                  hint: start one: fedai up; or name other relays: --relay"
                .to_owned(),
            away => format!(
                "no node takes jobs now; announced and paused, or leaving: {away}\n\
                 hint: who runs one lets it go on: fedai node-agent resume"
            ),
        };
        return Err(CliFailure::new(ExitStatus::NoMatch, "no_node", text));
    }
    print(settings, NodesOutput { v: 1, nodes })?;
    Ok(ExitStatus::Success)
}

fn row(node: &Announced<NodeDescriptor>, view: &NetworkView, now: UnixSeconds) -> NodeRow {
    let (author, message) = (node.received.author, &node.received.message);
    let offers = view
        .offers
        .iter()
        .filter(|offer| offer.received.author == author && offer.received.message.node == message.name);
    NodeRow {
        name: message.name.clone(),
        node: author.to_hex(),
        npub: npub(&author),
        models: offers.map(|offer| offer.received.message.model.clone()).collect(),
        rank: view.rank_of(&author),
        regions: message.regions.clone(),
        lease_seconds: message.expires_at.since(now),
        accepts_self_dispatch: message.accepts_self_dispatch,
        software: message.software.clone(),
    }
}

fn print(settings: &Settings, output: NodesOutput) -> std::io::Result<()> {
    if settings.json {
        return terminal::print_json(&output);
    }
    let rows = output.nodes.into_iter().map(|row| {
        vec![
            row.name,
            row.npub,
            row.models.join(", "),
            row.rank.map_or_else(|| "-".to_owned(), |rank| rank.to_string()),
            format!("{} s", row.lease_seconds),
        ]
    });
    terminal::print_table(&["name", "key", "models", "rank", "lease"], rows.collect())
}
