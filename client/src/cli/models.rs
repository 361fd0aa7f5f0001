//! `fedai models`: what is offered, by whom, for how much.

use fedai_protocol::ModelOffer;
use fedai_protocol::event_kinds::{MODEL_OFFER, NODE_DESCRIPTOR};
use fedai_relay_bridge::wall_clock;

use super::exit_code::ExitStatus;
use super::failure::CliFailure;
use super::global_flags::Settings;
use super::json_output::{ModelRow, ModelsOutput};
use super::terminal;
use crate::shell::network_view::{Announced, NetworkView};

/// Flags of `fedai models`.
#[derive(Clone, Debug, clap::Args)]
pub struct ModelsArgs {
    /// Only models whose name contains this
    pub name: Option<String>,
}

/// Runs the command.
pub async fn run(settings: &Settings, arguments: &ModelsArgs) -> Result<ExitStatus, CliFailure> {
    let buyer = settings.connect().await?;
    let kinds = [NODE_DESCRIPTOR, MODEL_OFFER];
    let now = wall_clock::now_seconds();
    let view = NetworkView::fetch(buyer.pool(), &kinds, now, settings.timeout).await;
    buyer.close().await;
    let wanted = arguments.name.as_deref().unwrap_or_default().to_lowercase();
    let rows = view.offers.iter().filter(|offer| offer.received.message.model.contains(&wanted));
    let models: Vec<ModelRow> = rows.map(row).collect();
    if models.is_empty() {
        let such = if wanted.is_empty() { String::new() } else { format!(" whose name contains {wanted:?}") };
        let text = format!(
            "no live node offers a model{such}\nhint: see who is there: fedai nodes; or start one: fedai up"
        );
        return Err(CliFailure::new(ExitStatus::NoMatch, "no_node", text));
    }
    print(settings, ModelsOutput { v: 1, models })?;
    Ok(ExitStatus::Success)
}

fn row(offer: &Announced<ModelOffer>) -> ModelRow {
    let (message, price) = (&offer.received.message, &offer.received.message.price);
    ModelRow {
        model: message.model.clone(),
        quantization: message.quantization.clone(),
        node: offer.received.author.to_hex(),
        node_name: message.node.clone(),
        context_length: message.context_tokens.get(),
        max_output_tokens: message.max_output_tokens.get(),
        slots: message.slots,
        input_msat_per_mtok: price.input.get(),
        output_msat_per_mtok: price.output.get(),
        request_msat: price.request.get(),
        payment: message.payment.iter().map(|method| method.as_str().to_owned()).collect(),
        offer: offer.received.id.to_hex(),
    }
}

fn print(settings: &Settings, output: ModelsOutput) -> std::io::Result<()> {
    if settings.json {
        return terminal::print_json(&output);
    }
    let header = ["model", "quant", "context", "in msat/Mtok", "out msat/Mtok", "slots", "pay", "node"];
    let rows = output.models.into_iter().map(|row| {
        vec![
            row.model,
            row.quantization.unwrap_or_else(|| "-".to_owned()),
            row.context_length.to_string(),
            row.input_msat_per_mtok.to_string(),
            row.output_msat_per_mtok.to_string(),
            row.slots.to_string(),
            row.payment.join(","),
            format!("{} {}", row.node_name, terminal::short(&row.node)),
        ]
    });
    terminal::print_table(&header, rows.collect())
}
