//! The one question of `fedai up --once`: waits until the router knows the node, asks, prints the answer, and as
//! the last line on stdout what was verified.

use std::time::Duration;

use fedai_protocol::RefusalCode;
use fedai_protocol::job_open::JobEndpoint;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::answer_report::{Silent, answer_output, status_of};
use super::chat::{buy_live, cancel_on_signal};
use super::exit_code::ExitStatus;
use super::failure::CliFailure;
use super::global_flags::Settings;
use super::job_flags::{JobFlags, not_empty};
use super::terminal;
use super::up::UpArgs;
use super::up_runner::check_model;
use crate::core::job_ending::JobFailure;
use crate::core::job_spec::JobSpec;
use crate::shell::buyer::{Bought, Buyer, RouterContact};

/// Wait for the router to have heard of the node.
const MATCH_WAIT: Duration = Duration::from_secs(20);
/// Wait after which a person is told what is waited for.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// Between two looks.
const MATCH_INTERVAL: Duration = Duration::from_millis(200);

/// The model to ask for, in lower case as offers name it.
pub(crate) fn wanted_model(settings: &Settings, arguments: &UpArgs) -> Option<String> {
    JobFlags::plain(arguments.model.clone(), arguments.max_tokens).model(settings)
}

/// Asks; `offered` are the models of the node.
pub(crate) async fn ask(
    settings: &Settings,
    arguments: &UpArgs,
    prompt: &str,
    offered: &[String],
) -> Result<ExitStatus, CliFailure> {
    let prompt = not_empty(prompt.to_owned())?;
    check_model(wanted_model(settings, arguments).as_deref(), offered)?;
    let buyer = settings.connect().await?;
    let cancel = cancel_on_signal();
    let outcome = async {
        let contacts = wait_for_match(settings, arguments, &buyer, &cancel.token).await?;
        terminal::say("");
        let spec = spec(settings, arguments, &contacts, &prompt)?;
        buy(settings, &buyer, spec, &contacts, &cancel.token).await
    };
    let outcome = outcome.await;
    buyer.close().await;
    outcome
}

async fn buy(
    settings: &Settings,
    buyer: &Buyer,
    spec: JobSpec,
    contacts: &[RouterContact],
    cancel: &CancellationToken,
) -> Result<ExitStatus, CliFailure> {
    if settings.json {
        let mut bought = buyer.run(spec, contacts, None, &mut Silent, cancel).await?;
        terminal::print_json(&answer_output(&bought))?;
        return status_of(&mut bought).await;
    }
    let Some(mut bought) = buy_live(buyer, spec, contacts, None, cancel).await? else {
        return Ok(ExitStatus::Success);
    };
    let status = status_of(&mut bought).await?;
    terminal::print(&verified_line(&bought))?;
    Ok(status)
}

/// The last line: `verified`, the receipt's event id, price, counts, who.
fn verified_line(bought: &Bought) -> String {
    let output = answer_output(bought);
    format!(
        "verified {} · {} msat · {}+{} tokens · {} · first token {} ms, total {} ms\n",
        output.receipt,
        output.cost_msat,
        output.usage.input_tokens,
        output.usage.output_tokens,
        terminal::without_controls(&output.model),
        output.timings_ms.first_token,
        output.timings_ms.total
    )
}

fn spec(
    settings: &Settings,
    arguments: &UpArgs,
    contacts: &[RouterContact],
    prompt: &str,
) -> Result<JobSpec, CliFailure> {
    let flags = JobFlags::plain(arguments.model.clone(), arguments.max_tokens);
    let mut fields = flags.request_fields(flags.model(settings).as_deref());
    fields.insert("messages".into(), Value::Array(vec![json!({"role": "user", "content": prompt})]));
    flags.spec(settings, JobEndpoint::Chat, fields, contacts, None)
}

/// A network that has just been started: the router may not have heard of the node yet.
async fn wait_for_match(
    settings: &Settings,
    arguments: &UpArgs,
    buyer: &Buyer,
    cancel: &CancellationToken,
) -> Result<Vec<RouterContact>, CliFailure> {
    let is_early = |failure: &JobFailure| {
        matches!(failure.refusal.code, RefusalCode::NoNode | RefusalCode::UnknownModel)
    };
    let begun = tokio::time::Instant::now();
    let (mut looks, mut is_said) = (tokio::time::interval(MATCH_INTERVAL), false);
    loop {
        looks.tick().await;
        let contacts = buyer.routers(settings.router, settings.timeout.min(Duration::from_secs(5))).await;
        let is_own = settings.router == crate::shell::config::RouterWish::Own;
        let outcome = if contacts.is_empty() && !is_own {
            None
        } else {
            Some(buyer.quote(spec(settings, arguments, &contacts, "?")?, &contacts, cancel).await)
        };
        match outcome {
            Some(Ok(_)) => return Ok(contacts),
            Some(Err(failure)) if !is_early(&failure) => return Err(failure.into()),
            Some(Err(failure)) if begun.elapsed() > MATCH_WAIT => return Err(failure.into()),
            None if begun.elapsed() > MATCH_WAIT => {
                let text = "the router's profile does not arrive\nhint: run it again with -v to see why";
                return Err(CliFailure::new(ExitStatus::NoMatch, "no_router", text));
            }
            _ if begun.elapsed() > SILENCE_MAX && !is_said => {
                terminal::say(&format!(
                    "waiting  up to {} s for the router to hear of the node",
                    MATCH_WAIT.as_secs()
                ));
                is_said = true;
            }
            _ => {}
        }
    }
}
