//! The world's only source of randomness: ChaCha8 under one seed, in streams that do not disturb each other.
//!
//! The rule: whoever draws has a stream of its own, so that a change of the fault rates leaves the workload of the same
//! seed as it was, and two runs can be compared job by job.

use fedai_protocol::Entropy;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// What a stream is drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Nodes of the scenario.
    Fleet = 1,
    /// Arrivals and sizes of jobs.
    Workload = 2,
    /// Rates and times of faults.
    Faults = 3,
    /// Delays, losses and repeats on relays.
    Relay = 4,
    /// Keys, nonces and signatures.
    Keys = 5,
    /// Times of router restarts.
    Router = 6,
    /// Sizes of jobs, and how long people think, where they do not share a stream with the arrivals.
    Sizes = 7,
    /// Which part of a recorded trace is replayed.
    Trace = 8,
    /// What clients will pay and whom they ask, and what sellers try.
    Market = 9,
    /// Which nodes of a comparison lie.
    Liars = 20,
    /// Who comes and goes.
    Churn = 10,
    /// What an auditor asks.
    Audit = 11,
}

/// One stream.
#[derive(Clone, Debug)]
pub struct Chance(ChaCha8Rng);

impl Chance {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64, stream: Stream) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream as u64);
        Self(rng)
    }

    /// The stream of one fault of a run.
    #[must_use]
    pub fn of_fault(seed: u64, fault: u32) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(FAULT_STREAMS | u64::from(fault));
        Self(rng)
    }

    /// Evenly in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Evenly from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low.saturating_add(self.below(high.saturating_sub(low).saturating_add(1)))
    }

    /// True in so many of a thousand cases.
    pub fn happens(&mut self, permille: u64) -> bool {
        self.below(1_000) < permille
    }

    /// Exponentially distributed with this mean, rounded down.
    pub fn exponential(&mut self, mean: f64) -> u64 {
        (-mean * libm::log(1.0 - self.unit())).max(0.0) as u64
    }
}

/// Above all of [`Stream`].
const FAULT_STREAMS: u64 = 1 << 32;

impl Entropy for Chance {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let draw = |stream| Chance::new(7, stream).bytes32();
        assert_eq!(draw(Stream::Relay), draw(Stream::Relay));
        assert_ne!(draw(Stream::Relay), draw(Stream::Keys));
    }

    #[test]
    fn the_exponential_has_its_mean() {
        let mut chance = Chance::new(7, Stream::Workload);
        let sum: u64 = (0..50_000).map(|_| chance.exponential(1_000_000.0)).sum();
        let mean = sum as f64 / 50_000.0;
        assert!((mean - 1_000_000.0).abs() < 20_000.0, "{mean}");
    }
}
