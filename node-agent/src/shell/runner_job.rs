//! One job on the runner: its events become inputs, its errors become refusals in our words.
//!
//! The rule: no text of the runner travels on but the output itself; everything waits on the core's channel,
//! so a slow
//! client slows its runner and not the memory.

use std::sync::Arc;

use fedai_protocol::job_open::JobEndpoint;
use fedai_protocol::output_stream::output_line;
use fedai_protocol::{JobId, Refusal, RefusalCode};
use futures_util::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::runners::{Endpoint, InferRequest, Runner, RunnerError, RunnerEvent};
use crate::core::metering::ReportedUsage;
use crate::core::{Input, RunnerWork};

/// How a job on the runner is stopped and slowed. Clones hold the same.
#[derive(Clone)]
pub(super) struct RunnerReins {
    pub(super) cancel: CancellationToken,
    is_held: Arc<watch::Sender<bool>>,
}

impl Default for RunnerReins {
    fn default() -> Self {
        Self { cancel: CancellationToken::new(), is_held: Arc::new(watch::Sender::new(false)) }
    }
}

impl RunnerReins {
    /// Takes no more output, or takes it again.
    pub(super) fn hold(&self, is_held: bool) {
        self.is_held.send_replace(is_held);
    }

    /// Waits while output is not taken; a runner's stream that is not read waits by itself.
    async fn passage(&self) {
        if *self.is_held.borrow() {
            let mut is_held = self.is_held.subscribe();
            // The sender is ours, so only the value ends this; or there is nobody to wait for any more.
            self.cancel.run_until_cancelled(is_held.wait_for(|is_held| !is_held)).await;
        }
    }
}

/// Runs a job to its end and says everything that happens.
pub(super) async fn run_job(
    runner: Arc<dyn Runner>,
    job: JobId,
    work: RunnerWork,
    reins: RunnerReins,
    inputs: mpsc::Sender<Input>,
) {
    if let Err(error) = drive(runner.as_ref(), job, work, &reins, &inputs).await {
        tracing::debug!(%job, code = error.code(), "the runner ended a job");
        // A closed channel means that the node is gone, and with it whoever wanted to know.
        drop(inputs.send(Input::RunnerError { job, refusal: refusal_of(&error) }).await);
    }
}

async fn drive(
    runner: &dyn Runner,
    job: JobId,
    work: RunnerWork,
    reins: &RunnerReins,
    inputs: &mpsc::Sender<Input>,
) -> Result<(), RunnerError> {
    let RunnerWork { model, endpoint, body, max_output_tokens, count_against } = work;
    let body = serde_json::from_str(&body).map_err(|_| RunnerError::BadRequest { status: 400 })?;
    let endpoint = match endpoint {
        JobEndpoint::Chat => Endpoint::Chat,
        JobEndpoint::Completion => Endpoint::Completion,
        JobEndpoint::Embedding => Endpoint::Embedding,
    };
    let request = InferRequest { endpoint, model, body, max_output_tokens };
    if let Some(limit) = count_against {
        let estimate = runner.estimate(&request).await;
        if estimate.prompt_is_exact && u64::from(estimate.prompt_tokens) > limit {
            let n_ctx = u32::try_from(limit).unwrap_or(u32::MAX);
            return Err(RunnerError::ContextExceeded { n_prompt: estimate.prompt_tokens, n_ctx });
        }
    }
    let mut events = runner.infer(request, reins.cancel.clone());
    while let Some(event) = events.next().await {
        let input = match event? {
            RunnerEvent::Delta(choice) => Input::RunnerDelta { job, line: output_line(&choice) },
            RunnerEvent::Usage(usage) => {
                let usage = ReportedUsage {
                    input_tokens: u64::from(usage.prompt_tokens),
                    output_tokens: u64::from(usage.completion_tokens),
                    cached_tokens: u64::from(usage.cached_tokens.unwrap_or(0)),
                    reasoning_tokens: u64::from(usage.reasoning_tokens.unwrap_or(0)),
                };
                Input::RunnerUsage { job, usage }
            }
            RunnerEvent::Done => Input::RunnerDone { job },
        };
        reins.passage().await;
        let is_last = matches!(input, Input::RunnerDone { .. });
        if inputs.send(input).await.is_err() || is_last {
            return Ok(());
        }
    }
    Err(RunnerError::Protocol { what: "the stream ended without an end" })
}

/// What a client is told.
fn refusal_of(error: &RunnerError) -> Refusal {
    let text = |code, text: &str| Refusal::new(code, text);
    match error {
        RunnerError::ContextExceeded { n_prompt, n_ctx } => Refusal::new(
            RefusalCode::ContextExceeded,
            format!("the prompt has {n_prompt} tokens, there is room for {n_ctx}"),
        ),
        RunnerError::BadRequest { .. } => {
            text(RefusalCode::RunnerRejected, "the runner refused the request as invalid")
        }
        RunnerError::Unsupported => {
            text(RefusalCode::RunnerRejected, "the runner does not have this interface")
        }
        RunnerError::Overloaded { retry_after_s } => {
            let wait = u64::from(retry_after_s.unwrap_or(1)).saturating_mul(1_000);
            text(RefusalCode::Busy, "the runner is overloaded").retry_after(wait)
        }
        RunnerError::Loading => text(RefusalCode::Busy, "the runner is loading its model").retry_after(5_000),
        RunnerError::Stalled { .. } => {
            text(RefusalCode::Stalled, "the runner gave no output within its deadline")
        }
        RunnerError::Cancelled => text(RefusalCode::Cancelled, "stopped"),
        RunnerError::Unreachable
        | RunnerError::Unauthorized
        | RunnerError::Failed { .. }
        | RunnerError::Protocol { .. } => text(RefusalCode::RunnerFailed, "the runner failed"),
    }
}
