//! `fedai chat`: a prompt from the command line or a pipe is answered once; at a terminal without a prompt it becomes a
//! conversation.

use std::io::ErrorKind;

use fedai_protocol::job_open::JobEndpoint;
use fedai_relay_bridge::RelayRole;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::answer_report::{Silent, StreamPrinter, answer_output, status_of, summary_line};
use super::exit_code::ExitStatus;
use super::failure::CliFailure;
use super::global_flags::Settings;
use super::job_flags::{JobFlags, not_empty, read_prompt};
use super::{chat_loop, terminal};
use crate::core::job_spec::JobSpec;
use crate::core::router_silence::Unheard;
use crate::shell::buyer::{Bought, Buyer, HeldTicket, RouterContact};

/// Flags of `fedai chat`.
#[derive(Clone, Debug, clap::Args)]
pub struct ChatArgs {
    /// What to ask; - reads standard input, nothing at a terminal starts a conversation
    pub prompt: Option<String>,
    /// System prompt
    #[arg(short, long, value_name = "TEXT")]
    pub system: Option<String>,
    #[command(flatten)]
    pub(crate) job: JobFlags,
}

/// Runs the command.
pub async fn run(settings: &Settings, arguments: ChatArgs) -> Result<ExitStatus, CliFailure> {
    let prompt = read_prompt(arguments.prompt.clone())?;
    if prompt.is_none() && settings.json {
        let text = "--json needs a prompt\nhint: fedai chat --json \"Name three colours.\"";
        return Err(CliFailure::usage(text));
    }
    let prompt = prompt.map(not_empty).transpose()?;
    let buyer = settings.connect().await?;
    let status = match prompt {
        Some(prompt) => once(settings, &arguments, &buyer, prompt).await,
        None => chat_loop::run(settings, &arguments, &buyer).await,
    };
    buyer.close().await;
    status
}

async fn once(
    settings: &Settings,
    arguments: &ChatArgs,
    buyer: &Buyer,
    prompt: String,
) -> Result<ExitStatus, CliFailure> {
    let contacts = contacts(settings, buyer).await?;
    let mut messages = system_message(arguments);
    messages.push(json!({"role": "user", "content": prompt}));
    let spec = spec(settings, arguments, messages, &contacts, None)?;
    buy_and_report(settings, buyer, spec, &contacts).await
}

/// Buys one answer and reports it as the settings say.
pub(crate) async fn buy_and_report(
    settings: &Settings,
    buyer: &Buyer,
    spec: JobSpec,
    contacts: &[RouterContact],
) -> Result<ExitStatus, CliFailure> {
    let cancel = cancel_on_signal();
    if settings.json {
        let mut bought = buyer.run(spec, contacts, None, &mut Silent, &cancel.token).await?;
        terminal::print_json(&answer_output(&bought))?;
        return status_without_second_object(&mut bought).await;
    }
    match buy_live(buyer, spec, contacts, None, &cancel.token).await? {
        Some(mut bought) => {
            if !settings.quiet {
                terminal::say(&summary_line(&bought));
            }
            status_of(&mut bought).await
        }
        None => Ok(ExitStatus::Success),
    }
}

/// A disputed receipt is in the object that was printed; a second one would break readers.
async fn status_without_second_object(bought: &mut Bought) -> Result<ExitStatus, CliFailure> {
    match status_of(bought).await {
        Err(failure) => {
            terminal::say(&failure.for_people());
            Ok(failure.status)
        }
        status => status,
    }
}

/// Buys one answer and prints it as it comes; nothing when the reader has gone.
pub(crate) async fn buy_live(
    buyer: &Buyer,
    spec: JobSpec,
    contacts: &[RouterContact],
    held: Option<HeldTicket>,
    cancel: &CancellationToken,
) -> Result<Option<Bought>, CliFailure> {
    let mut printer = StreamPrinter::default();
    let outcome = buyer.run(spec, contacts, held, &mut printer, cancel).await;
    let is_shown = outcome.as_ref().map_or_else(|failure| failure.has_shown, |_| true);
    if (is_shown || printer.has_failed())
        && let Err(error) = printer.finish()
    {
        return if error.kind() == ErrorKind::BrokenPipe { Ok(None) } else { Err(error.into()) };
    }
    Ok(Some(outcome?))
}

/// The routers to ask, or exit code 5.
pub(crate) async fn contacts(settings: &Settings, buyer: &Buyer) -> Result<Vec<RouterContact>, CliFailure> {
    use crate::shell::config::RouterWish;
    let patience = settings.timeout.min(std::time::Duration::from_secs(5));
    let contacts = buyer.routers(settings.router, patience).await;
    if contacts.is_empty() && settings.router != RouterWish::Own {
        if buyer.pool().connected(RelayRole::Discovery) == 0 {
            let text = "the connection to every relay was lost";
            let failure = CliFailure::new(ExitStatus::NoRelay, "no_relay", text);
            return Err(failure.hint(Unheard::Relays.hint()));
        }
        let what = match settings.router {
            RouterWish::Named(key) => format!("router {} is not announced on these relays", key.to_hex()),
            _ => "no router is announced on these relays".to_owned(),
        };
        let hint = "start a network on this machine: fedai up; or schedule here: --router self";
        return Err(CliFailure::new(ExitStatus::NoMatch, "no_router", what).hint(hint));
    }
    Ok(contacts)
}

/// The job of one turn.
pub(crate) fn spec(
    settings: &Settings,
    arguments: &ChatArgs,
    messages: Vec<Value>,
    contacts: &[RouterContact],
    previous: Option<(&str, fedai_protocol::PublicKey)>,
) -> Result<JobSpec, CliFailure> {
    let asked = arguments.job.model(settings);
    let model = asked.as_deref().or_else(|| previous.map(|(model, _)| model));
    let mut fields = arguments.job.request_fields(model);
    fields.insert("messages".into(), Value::Array(messages));
    arguments.job.spec(settings, JobEndpoint::Chat, fields, contacts, previous.map(|(_, node)| node))
}

/// The first message, when there is a system prompt.
pub(crate) fn system_message(arguments: &ChatArgs) -> Vec<Value> {
    arguments.system.iter().map(|text| json!({"role": "system", "content": text})).collect()
}

/// Listens for Ctrl-C and SIGTERM as long as it lives.
pub(crate) struct CancelOnSignal {
    /// Cancelled by the signal.
    pub(crate) token: CancellationToken,
    listener: tokio::task::JoinHandle<()>,
}

impl Drop for CancelOnSignal {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// A token that is cancelled by Ctrl-C or SIGTERM.
pub(crate) fn cancel_on_signal() -> CancelOnSignal {
    let token = CancellationToken::new();
    let cancelled = token.clone();
    let listener = tokio::spawn(async move {
        wait_for_signal().await;
        cancelled.cancel();
    });
    CancelOnSignal { token, listener }
}

/// Waits for Ctrl-C or SIGTERM.
pub(crate) async fn wait_for_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    drop(tokio::signal::ctrl_c().await);
}
