//! The same requests at the same times, on the runner of the simulator.

use std::collections::BTreeMap;

use fedai_protocol::UnixMicros;

use super::observation::{Observations, ObservedRequest};
use super::profile_file::CalibratedRunner;
use crate::runner::{Prefix, Progress, RunnerEvent, RunnerModel, Work};

/// Times of one request, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayedRequest {
    /// From being sent to the first token.
    pub ttft_us: u64,
    /// From being sent to the end.
    pub total_us: u64,
}

/// Replays every run from an idle runner. Requests in the order of the file; what the runner refuses has no times.
#[must_use]
pub fn replay(calibrated: &CalibratedRunner, observations: &Observations) -> Vec<ReplayedRequest> {
    observations.runs().into_iter().flat_map(|run| replay_run(calibrated, run)).collect()
}

fn replay_run(calibrated: &CalibratedRunner, requests: &[ObservedRequest]) -> Vec<ReplayedRequest> {
    let mut runner = RunnerModel::new(calibrated.runner, UnixMicros(0));
    let mut times: BTreeMap<usize, ReplayedRequest> = BTreeMap::new();
    let mut arrivals = requests.iter().enumerate().peekable();
    let mut due = None;
    loop {
        let seen =
            |request: &ObservedRequest| UnixMicros(request.arrival_us.saturating_add(calibrated.overhead_us));
        let next = arrivals.peek().map(|(_, request)| seen(request));
        match (next, due) {
            (Some(at), step) if step.is_none_or(|step: crate::runner::Due| at < step.at) => {
                let Some((number, request)) = arrivals.next() else { break };
                let prefix = Prefix::Session {
                    session: number as u64,
                    instructions: 0,
                    instruction_tokens: calibrated.instruction_tokens,
                };
                let (prompt_tokens, output_tokens) = (request.prompt_tokens, request.output_tokens);
                let work = Work { prompt_tokens, output_tokens, prefix };
                due = runner.submit(at, number, work).unwrap_or_default().or(due);
            }
            (_, Some(step)) => {
                let Progress { events, next } = runner.step(step.at, step.ticket);
                for event in events {
                    note(&mut times, requests, step.at, event);
                }
                due = next;
            }
            (_, None) => break,
        }
    }
    (0..requests.len()).map(|number| times.get(&number).copied().unwrap_or_default()).collect()
}

fn note(
    times: &mut BTreeMap<usize, ReplayedRequest>,
    requests: &[ObservedRequest],
    now: UnixMicros,
    event: RunnerEvent<usize>,
) {
    let (RunnerEvent::Tokens { key, .. } | RunnerEvent::Done { key, .. }) = event;
    let sent = requests.get(key).map_or(0, |request| request.arrival_us);
    let time = times.entry(key).or_default();
    match event {
        RunnerEvent::Tokens { from: 0, .. } => time.ttft_us = now.since(UnixMicros(sent)),
        RunnerEvent::Tokens { .. } => {}
        RunnerEvent::Done { .. } => time.total_us = now.since(UnixMicros(sent)),
    }
}
