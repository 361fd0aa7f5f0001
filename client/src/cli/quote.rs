//! `fedai quote`: what a job of this size would cost, and who would do it. Buys nothing: the ticket is left unused.

use fedai_protocol::Tokens;
use fedai_protocol::job_open::JobEndpoint;
use serde_json::{Value, json};

use super::chat::{cancel_on_signal, contacts};
use super::exit_code::ExitStatus;
use super::failure::CliFailure;
use super::global_flags::Settings;
use super::job_flags::JobFlags;
use super::json_output::{QuoteOutput, QuotedRow};
use super::terminal;
use crate::core::quote_check::Ticket;

/// Flags of `fedai quote`.
#[derive(Clone, Debug, clap::Args)]
pub struct QuoteArgs {
    /// Size of the prompt in tokens
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub prompt_tokens: u32,
    #[command(flatten)]
    job: JobFlags,
}

/// Runs the command.
pub async fn run(settings: &Settings, arguments: QuoteArgs) -> Result<ExitStatus, CliFailure> {
    let buyer = settings.connect().await?;
    let outcome = async {
        let contacts = contacts(settings, &buyer).await?;
        let mut fields = arguments.job.request_fields(arguments.job.model(settings).as_deref());
        fields.insert("messages".into(), Value::Array(vec![json!({"role": "user", "content": ""})]));
        let mut spec = arguments.job.spec(settings, JobEndpoint::Chat, fields, &contacts, None)?;
        spec.prompt_tokens = Tokens::saturating(u64::from(arguments.prompt_tokens));
        let ticket = buyer.quote(spec, &contacts, &cancel_on_signal().token).await?;
        print(settings, &ticket)?;
        Ok(ExitStatus::Success)
    };
    let outcome = outcome.await;
    buyer.close().await;
    outcome
}

fn print(settings: &Settings, ticket: &Ticket) -> std::io::Result<()> {
    let output = QuoteOutput {
        v: 1,
        router: ticket.router.to_hex(),
        model: ticket.dispatch.model.clone(),
        ceiling_msat: ticket.ceiling.get(),
        fee_msat: ticket.fee.get(),
        nodes: ticket
            .nodes
            .iter()
            .map(|node| QuotedRow {
                node: node.node.to_hex(),
                name: node.descriptor.message.name.clone(),
                max_cost_msat: node.max_cost.get(),
                expected_first_token_ms: node.expected_ttft_ms,
                offer: node.offer.id.to_hex(),
            })
            .collect(),
        decision: ticket.request.to_hex(),
        uses: ticket.dispatch.uses,
        expires_at: ticket.dispatch.expires_at.0,
    };
    if settings.json {
        return terminal::print_json(&output);
    }
    terminal::print(&format!(
        "{}: at most {} msat a job (fee {} msat), by router {}\n",
        terminal::without_controls(&output.model),
        output.ceiling_msat,
        output.fee_msat,
        terminal::short(&output.router)
    ))?;
    let rows = output.nodes.into_iter().map(|row| {
        let wait = format!("{} ms", row.expected_first_token_ms);
        vec![row.name, terminal::short(&row.node).to_owned(), row.max_cost_msat.to_string(), wait]
    });
    terminal::print_table(&["node", "key", "at most msat", "first token"], rows.collect())?;
    terminal::say(&format!("why these: fedai why {}", terminal::short(&output.decision)));
    Ok(())
}
