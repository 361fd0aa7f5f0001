//! Keeps an eye on the runner: is it there, what does it have, how busy is it.
//!
//! A port that is open proves nothing: a runner counts as up when it made a token just now, either for a job or for a
//! question of ours. The rule: nothing is advertised that did not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::offered_models::offered;
use super::runners::{InferRequest, Runner, RunnerError, RunnerEvent, RunnerModel};
use crate::core::Input;

/// What the watch and the rest of the shell tell each other.
#[derive(Debug, Default)]
pub(super) struct Signs {
    /// Lines of output of jobs, ever.
    pub(super) output: AtomicU64,
    /// Jobs on the runner now.
    pub(super) running: AtomicU64,
    /// Seconds (Unix) of the last sign of life of the runner.
    pub(super) alive_at: AtomicU64,
}

/// Looks at a runner until told to stop.
pub(super) struct RunnerWatch {
    pub(super) runner: Arc<dyn Runner>,
    pub(super) slots: Option<u32>,
    pub(super) beat: Duration,
    pub(super) signs: Arc<Signs>,
    pub(super) inputs: mpsc::Sender<Input>,
}

impl RunnerWatch {
    /// Runs until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.watch() => {}
        }
    }

    async fn watch(&self) {
        let mut known: Vec<RunnerModel> = Vec::new();
        let mut was_up = None;
        let mut output_seen = 0;
        loop {
            let models = self.runner.list_models().await;
            let outcome = match &models {
                Ok(models) => self.is_alive(models, &mut output_seen).await,
                Err(error) => Err(error.clone()),
            };
            if let (Ok(models), Ok(())) = (models, &outcome)
                && (models != known || was_up.is_none())
            {
                known.clone_from(&models);
                self.say(Input::ModelsChanged(offered(&models, self.slots))).await;
            }
            let up = outcome.is_ok();
            if let Err(error) = &outcome {
                if was_up != Some(false) {
                    tracing::warn!(code = error.code(), "the runner does not serve: {error}");
                }
            } else {
                self.signs.alive_at.store(fedai_relay_bridge::wall_clock::now_seconds().0, Ordering::Relaxed);
            }
            if was_up != Some(up) {
                self.say(if up { Input::RunnerUp } else { Input::RunnerDown }).await;
                was_up = Some(up);
            }
            self.rest(up).await;
        }
    }

    /// True when a token was made since the last look, or is made now.
    async fn is_alive(&self, models: &[RunnerModel], output_seen: &mut u64) -> Result<(), RunnerError> {
        let output = self.signs.output.load(Ordering::Relaxed);
        if core::mem::replace(output_seen, output) != output {
            return Ok(());
        }
        if self.signs.running.load(Ordering::Relaxed) > 0 {
            // A question would wait in line behind the jobs; their own deadlines watch over them.
            return self.runner.health().await;
        }
        let model = models.iter().find(|model| model.loaded != Some(false)).or_else(|| models.first());
        let Some(model) = model else { return Err(RunnerError::Loading) };
        if model.supports_chat == Some(false) {
            return self.runner.health().await;
        }
        let cancel = CancellationToken::new();
        let mut answer = self.runner.infer(InferRequest::canary(&model.id), cancel);
        match answer.next().await {
            Some(Ok(RunnerEvent::Delta(_) | RunnerEvent::Usage(_) | RunnerEvent::Done)) => Ok(()),
            Some(Err(error)) => Err(error),
            None => Err(RunnerError::Protocol { what: "no answer to a test question" }),
        }
    }

    /// Until the next look: short while it is down, and with a look at the load now and then.
    async fn rest(&self, up: bool) {
        if !up {
            tokio::time::sleep(DOWN_BEAT.min(self.beat)).await;
            return;
        }
        let mut left = self.beat;
        while !left.is_zero() {
            let nap = left.min(LOAD_BEAT);
            tokio::time::sleep(nap).await;
            left = left.saturating_sub(nap);
            if let Ok(load) = self.runner.load().await {
                let requests = load.running.unwrap_or(0).saturating_add(load.waiting.unwrap_or(0));
                self.say(Input::RunnerLoad { requests }).await;
            }
        }
    }

    async fn say(&self, input: Input) {
        // Nobody listens any more: the node is gone, and the stop follows.
        drop(self.inputs.send(input).await);
    }
}

const DOWN_BEAT: Duration = Duration::from_secs(1);
const LOAD_BEAT: Duration = Duration::from_secs(5);
