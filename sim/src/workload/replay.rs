//! A recorded trace as a workload: a stretch of it, faster or slower than it was recorded.
//!
//! Gaps keep their proportions, so bursts stay bursts; sizes stay as they are. A seed draws where the stretch begins,
//! and the trace begins again at its end, so that every seed is another stretch of the same people.

use fedai_protocol::UnixMicros;
use fedai_protocol::quote_request::Mode;

use super::block_table::BlockTable;
use super::prompt::Prompt;
use super::trace::{Recorded, Trace};
use super::{Arrival, Delivery};
use crate::chance::{Chance, Stream};

/// A stretch of a trace, at the speed of its recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    requests: Vec<Recorded>,
    blocks: BlockTable,
}

impl Replay {
    /// So many consecutive requests, from a place that the seed draws.
    #[must_use]
    pub fn of_seed(trace: &Trace, requests: usize, seed: u64) -> Self {
        let last = (trace.requests.len() as u64).saturating_sub(1);
        let first = Chance::new(seed, Stream::Trace).between(0, last);
        Self::from(trace, usize::try_from(first).unwrap_or(0), requests)
    }

    /// So many consecutive requests, from this one on.
    #[must_use]
    pub fn from(trace: &Trace, first: usize, requests: usize) -> Self {
        let count = trace.requests.len().max(1) as u64;
        let lap_micros = trace.span_micros().saturating_add(trace.span_micros() / count).max(1);
        let laps = (0_u64..).flat_map(|lap| trace.requests.iter().map(move |request| (lap, *request)));
        let mut stretch: Vec<Recorded> = laps
            .skip(first)
            .take(requests)
            .map(|(lap, request)| Recorded {
                at_micros: request.at_micros.saturating_add(lap.saturating_mul(lap_micros)),
                ..request
            })
            .collect();
        let begin = stretch.first().map_or(0, |request| request.at_micros);
        for request in &mut stretch {
            request.at_micros = request.at_micros.saturating_sub(begin);
        }
        Self { requests: stretch, blocks: trace.blocks.clone() }
    }

    /// Its requests, at the speed of the recording.
    #[must_use]
    pub fn requests(&self) -> &[Recorded] {
        &self.requests
    }

    /// The blocks that its prompts are made of.
    #[must_use]
    pub const fn blocks(&self) -> &BlockTable {
        &self.blocks
    }

    /// Seconds that it took, and one more mean gap, so that requests by seconds are its rate.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        let span = self.requests.last().map_or(0, |request| request.at_micros) as f64 / 1e6;
        let count = self.requests.len() as f64;
        if count > 1.0 { (span * count / (count - 1.0)).max(1e-6) } else { 1.0 }
    }

    /// Its requests a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.requests.len() as f64 / self.seconds()
    }

    /// The arrivals, at so many a second over the whole stretch.
    #[must_use]
    pub fn arrivals(&self, start: UnixMicros, rate: f64, mode: Mode) -> Vec<Arrival> {
        let stretch = self.rate() / rate.max(1e-9);
        let job = |(job, request): (usize, &Recorded)| {
            let at = start.plus((request.at_micros as f64 * stretch).round() as u64);
            let (words, bytes) =
                (u64::from(request.output_tokens), u64::from(request.input_tokens).saturating_mul(4));
            let mut arrival =
                Arrival::single(at, Prompt { job, words, bytes }, mode, Delivery::LiveContinued);
            arrival.blocks = request.blocks;
            arrival
        };
        self.requests.iter().enumerate().map(job).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace() -> Trace {
        let lines = (0..10).map(|i| {
            format!(
                "{{\"timestamp\": {}, \"input_length\": {}, \"output_length\": 5}}\n",
                i * i * 1_000,
                100 + i
            )
        });
        Trace::parse("t", &lines.collect::<String>()).unwrap()
    }

    #[test]
    fn a_stretch_goes_on_at_the_begin_of_the_trace_and_keeps_its_gaps() {
        let replay = Replay::from(&trace(), 8, 4);
        let read: Vec<_> = replay.requests().iter().map(|r| (r.at_micros / 1_000, r.input_tokens)).collect();
        // 64 s, 81 s; a lap is 81 s and a tenth of it.
        assert_eq!(read, [(0, 108), (17_000, 109), (25_100, 100), (26_100, 101)]);
    }

    #[test]
    fn the_rate_is_the_one_asked_for() {
        for rate in [0.1, 1.0, 25.0] {
            let replay = Replay::from(&trace(), 0, 25);
            let arrivals = replay.arrivals(UnixMicros(1_000_000), rate, Mode::Balanced);
            let seconds = (arrivals[24].at.0 - 1_000_000) as f64 / 1e6;
            assert!((24.0 / seconds / rate - 1.0).abs() < 1e-3, "{rate}: {seconds}");
            assert!(arrivals.iter().enumerate().all(|(job, arrival)| arrival.prompt.job == job));
        }
    }

    #[test]
    fn seeds_are_different_stretches() {
        let first = |seed| Replay::of_seed(&trace(), 3, seed).requests()[0].input_tokens;
        assert_eq!(first(1), first(1));
        assert!((1..9).any(|seed| first(seed) != first(1)));
    }
}
