//! `fedai complete`: continues a text, for models and uses without a chat template.

use fedai_protocol::job_open::JobEndpoint;

use super::chat::{buy_and_report, contacts};
use super::exit_code::ExitStatus;
use super::failure::CliFailure;
use super::global_flags::Settings;
use super::job_flags::{JobFlags, not_empty, read_prompt};

/// Flags of `fedai complete`.
#[derive(Clone, Debug, clap::Args)]
pub struct CompleteArgs {
    /// Text to continue; - reads standard input
    pub prompt: Option<String>,
    /// Text at which to stop; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    #[command(flatten)]
    job: JobFlags,
}

/// Runs the command.
pub async fn run(settings: &Settings, arguments: CompleteArgs) -> Result<ExitStatus, CliFailure> {
    let Some(prompt) = read_prompt(arguments.prompt)? else {
        return Err(CliFailure::usage("no text to continue\nhint: fedai complete \"Once upon a time\""));
    };
    let prompt = not_empty(prompt)?;
    let buyer = settings.connect().await?;
    let mut fields = arguments.job.request_fields(arguments.job.model(settings).as_deref());
    fields.insert("prompt".into(), prompt.into());
    if !arguments.stop.is_empty() {
        fields.insert("stop".into(), arguments.stop.into());
    }
    let status = async {
        let contacts = contacts(settings, &buyer).await?;
        let spec = arguments.job.spec(settings, JobEndpoint::Completion, fields, &contacts, None)?;
        buy_and_report(settings, &buyer, spec, &contacts).await
    };
    let status = status.await;
    buyer.close().await;
    status
}
