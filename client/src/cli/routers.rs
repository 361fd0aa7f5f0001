//! `fedai routers`: who decides, for which fee.

use fedai_protocol::event_kinds::ROUTER_PROFILE;
use fedai_protocol::{RouterProfile, UnixSeconds};
use fedai_relay_bridge::wall_clock;

use super::answer_report::npub;
use super::exit_code::ExitStatus;
use super::failure::CliFailure;
use super::global_flags::Settings;
use super::json_output::{RouterRow, RoutersOutput};
use super::terminal;
use crate::shell::network_view::{Announced, NetworkView};

/// Runs the command.
pub async fn run(settings: &Settings) -> Result<ExitStatus, CliFailure> {
    let buyer = settings.connect().await?;
    let now = wall_clock::now_seconds();
    let view = NetworkView::fetch(buyer.pool(), &[ROUTER_PROFILE], now, settings.timeout).await;
    buyer.close().await;
    let routers: Vec<RouterRow> = view.routers.iter().map(|router| row(router, now)).collect();
    if routers.is_empty() {
        let text = "no router is announced on these relays\nhint: start one: fedai up; or schedule here: --router self";
        return Err(CliFailure::new(ExitStatus::NoMatch, "no_router", text));
    }
    print(settings, RoutersOutput { v: 1, routers })?;
    Ok(ExitStatus::Success)
}

fn row(router: &Announced<RouterProfile>, now: UnixSeconds) -> RouterRow {
    let message = &router.received.message;
    RouterRow {
        name: message.name.clone(),
        router: router.received.author.to_hex(),
        npub: npub(&router.received.author),
        nodes: message.nodes,
        models: message.models.clone(),
        fee_msat: message.fee.flat.get(),
        fee_ppm: message.fee.ppm,
        lease_seconds: message.expires_at.since(now),
        software: message.software.clone(),
    }
}

fn print(settings: &Settings, output: RoutersOutput) -> std::io::Result<()> {
    if settings.json {
        return terminal::print_json(&output);
    }
    let rows = output.routers.into_iter().map(|row| {
        let fee = format!("{} msat + {} ppm", row.fee_msat, row.fee_ppm);
        vec![row.name, row.npub, row.nodes.to_string(), fee, row.models.join(", ")]
    });
    terminal::print_table(&["name", "key", "nodes", "fee", "models"], rows.collect())
}
