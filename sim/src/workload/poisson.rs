//! Independent people: exponential gaps, and sizes with a long tail.

use fedai_protocol::UnixMicros;
use fedai_protocol::quote_request::Mode;

use super::prompt::Prompt;
use super::{Arrival, Delivery};
use crate::chance::Chance;

/// Parameters of the workload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Poisson {
    /// Jobs in all.
    pub requests: usize,
    /// Jobs a second.
    pub rate: f64,
    /// Mean of the bytes of a prompt above the least.
    pub prompt_bytes_mean: f64,
    /// Mean of the words of an answer above the least.
    pub words_mean: f64,
}

impl Poisson {
    /// Draws the arrivals.
    #[must_use]
    pub fn draw(&self, start: UnixMicros, chance: &mut Chance) -> Vec<Arrival> {
        let mut at = start;
        let mut arrivals = Vec::with_capacity(self.requests);
        for job in 0..self.requests {
            at = at.plus(chance.exponential(1e6 / self.rate.max(1e-6)));
            let bytes = chance.exponential(self.prompt_bytes_mean).saturating_add(64).min(PROMPT_BYTES_MAX);
            let words = chance.exponential(self.words_mean).saturating_add(1).min(WORDS_MAX);
            let mode = draw_mode(chance);
            let prompt = Prompt { job, words, bytes };
            arrivals.push(Arrival::single(at, prompt, mode, draw_delivery(chance)));
        }
        arrivals
    }
}

/// Most people leave the default.
pub(crate) fn draw_mode(chance: &mut Chance) -> Mode {
    match chance.between(0, 9) {
        0 => Mode::Cheapest,
        1 | 2 => Mode::Fastest,
        _ => Mode::Balanced,
    }
}

pub(super) fn draw_delivery(chance: &mut Chance) -> Delivery {
    match chance.between(0, 3) {
        0 => Delivery::LiveRestarted,
        1 => Delivery::Buffered,
        _ => Delivery::LiveContinued,
    }
}

/// Larger ones are a workload of their own; these still exceed what fits a job open.
pub(super) const PROMPT_BYTES_MAX: u64 = 24_000;
/// An answer of a few pages.
pub(super) const WORDS_MAX: u64 = 1_500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Stream;

    #[test]
    fn arrivals_come_in_order_and_at_their_rate() {
        let poisson = Poisson { requests: 5_000, rate: 4.0, prompt_bytes_mean: 800.0, words_mean: 50.0 };
        let arrivals = poisson.draw(UnixMicros(0), &mut Chance::new(3, Stream::Workload));
        assert!(arrivals.windows(2).all(|pair| pair[0].at <= pair[1].at));
        let seconds = arrivals[4_999].at.0 as f64 / 1e6;
        assert!((5_000.0 / seconds - 4.0).abs() < 0.2, "{seconds}");
    }
}
