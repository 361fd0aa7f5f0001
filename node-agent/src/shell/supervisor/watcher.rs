//! The loop that starts a runner, looks at it, and decides that it has to be started again.
//!
//! The rule about looking: a runner whose own counters rise is alive and is left alone, because a
//! canary would queue behind paying requests and a busy runner would look like a dead one.

use super::backoff::Backoff;
use super::process::Process;
use super::{State, Status, SupervisorEvent, SupervisorSpec};
use crate::shell::runners::{InferRequest, Runner, RunnerError, RunnerEvent};
use futures_util::StreamExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

pub(super) struct Watcher {
    spec: SupervisorSpec,
    runner: Arc<dyn Runner>,
    status: watch::Sender<Status>,
    events: mpsc::Sender<SupervisorEvent>,
    stop: CancellationToken,
    backoff: Backoff,
    last_progress: Option<u64>,
}

impl Watcher {
    pub(super) fn new(
        spec: SupervisorSpec,
        runner: Arc<dyn Runner>,
        status: watch::Sender<Status>,
        events: mpsc::Sender<SupervisorEvent>,
        stop: CancellationToken,
    ) -> Self {
        let backoff = Backoff::new(spec.restart.clone());
        Self { spec, runner, status, events, stop, backoff, last_progress: None }
    }

    pub(super) async fn run(mut self) {
        while !self.stop.is_cancelled() {
            self.set(State::Starting);
            match Process::spawn(&self.spec).await {
                Ok(process) => self.watch(process).await,
                Err(error) => {
                    tracing::warn!(%error, "a runner could not be started");
                    self.record_exit("it did not start".into());
                }
            }
            self.wait_to_restart().await;
        }
        self.set(State::Stopped);
        self.tell(SupervisorEvent::Stopped);
    }

    /// Watches one process until it ended, failed, or is to be stopped; afterwards it is gone.
    async fn watch(&mut self, mut process: Process) {
        let (pid, sandbox) = (process.pid, process.sandbox.clone());
        self.status.send_modify(|status| {
            status.pid = Some(pid);
            status.sandbox = sandbox;
        });
        self.tell(SupervisorEvent::Started { pid });
        let stop = self.stop.clone();
        let keep_output = process.output_switch();
        let ended_by_itself = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            how = process.wait() => Some(how),
            () = self.serve(&keep_output) => None,
        };
        if stop.is_cancelled() {
            self.set(State::Stopping);
        }
        let how = match ended_by_itself {
            Some(how) => how,
            None => process.stop(self.spec.stop_timeout).await,
        };
        self.record_exit(how);
    }

    /// Looks at a running process for as long as it works.
    async fn serve(&mut self, keep_output: &AtomicBool) {
        let deadline = Instant::now() + self.spec.start_timeout;
        match timeout_at(deadline, self.wait_for_first_token()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return self.canary_failed(&error),
            Err(_) => return self.canary_failed(&RunnerError::Loading),
        }
        keep_output.store(false, Ordering::Relaxed);
        self.set(State::Healthy);
        self.tell(SupervisorEvent::Healthy);
        let healthy_since = Instant::now();
        let every = self.spec.canary_interval;
        let mut ticks = interval_at(healthy_since + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failures = 0;
        loop {
            ticks.tick().await;
            match self.look().await {
                Ok(()) => {
                    if failures > 0 {
                        self.set(State::Healthy);
                        self.tell(SupervisorEvent::Healthy);
                    }
                    failures = 0;
                    if healthy_since.elapsed() >= self.spec.restart.window {
                        self.backoff.forgive();
                    }
                }
                Err(error) => {
                    failures += 1;
                    self.set(State::Unhealthy);
                    self.canary_failed(&error);
                    if failures >= self.spec.canary_failures_max {
                        return;
                    }
                }
            }
        }
    }

    async fn wait_for_first_token(&self) -> Result<(), RunnerError> {
        let mut ticks = interval(START_POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.runner.health().await.is_ok() {
                match self.canary().await {
                    // Some servers say they are healthy before the model is there, and a first token can take
                    // longer than any later one: until it came, only the whole time to start counts.
                    Err(RunnerError::Loading | RunnerError::Unreachable | RunnerError::Stalled { .. }) => {}
                    outcome => return outcome,
                }
            }
        }
    }

    async fn look(&mut self) -> Result<(), RunnerError> {
        if let Ok(load) = self.runner.load().await {
            let before = std::mem::replace(&mut self.last_progress, load.progress);
            let busy = load.running.is_some_and(|running| running > 0);
            let moved = before.zip(load.progress).is_some_and(|(before, now)| now > before);
            if busy && moved {
                return Ok(());
            }
        }
        self.canary().await
    }

    async fn canary(&self) -> Result<(), RunnerError> {
        let limit = self.spec.canary_timeout;
        match timeout(limit, self.one_token()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(RunnerError::Stalled {
                phase: "the canary's token",
                waited_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }

    async fn one_token(&self) -> Result<(), RunnerError> {
        let model = match &self.spec.model {
            Some(model) => model.clone(),
            None => {
                let listed = self.runner.list_models().await?;
                let first = listed.into_iter().next();
                first.ok_or(RunnerError::Protocol { what: "it lists no model" })?.id
            }
        };
        let mut stream = self.runner.infer(InferRequest::canary(model), CancellationToken::new());
        while let Some(event) = stream.next().await {
            if event? == RunnerEvent::Done {
                return Ok(());
            }
        }
        Err(RunnerError::Protocol { what: "the canary's answer did not end" })
    }

    /// Waits before the next start; returns at once if the supervisor is being stopped.
    async fn wait_to_restart(&mut self) {
        if self.stop.is_cancelled() {
            return;
        }
        let Some(after) = self.backoff.next(Instant::now()) else {
            self.set(State::Flapping);
            self.tell(SupervisorEvent::Flapping);
            return self.stop.cancelled().await;
        };
        self.status.send_modify(|status| status.restarts = status.restarts.saturating_add(1));
        self.set(State::BackingOff);
        self.tell(SupervisorEvent::Restarting { after });
        let _stopped_or_waited = timeout(after, self.stop.cancelled()).await;
    }

    fn canary_failed(&self, error: &RunnerError) {
        self.tell(SupervisorEvent::CanaryFailed { code: error.code() });
    }

    fn record_exit(&self, how: String) {
        self.status.send_modify(|status| {
            status.pid = None;
            status.last_exit = Some(how.clone());
        });
        self.tell(SupervisorEvent::Exited { how });
    }

    fn set(&self, state: State) {
        self.status.send_modify(|status| status.state = state);
    }

    fn tell(&self, event: SupervisorEvent) {
        tracing::debug!(?event, "runner supervision");
        let _full_or_unheard = self.events.try_send(event);
    }
}

/// Between two looks at a runner that is starting.
const START_POLL: Duration = Duration::from_millis(100);
