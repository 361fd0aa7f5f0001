//! How many tokens a node counts, against what its fleet counts for the same.
//!
//! A count within the bounds cannot be called false by one client, but nodes with the same model count the same:
//! tokens of output for the bytes that clients verified, tokens of prompt for the size that clients asked for. What
//! a node counts beyond the fleet's median is part of its price, and no token of it makes it faster. A median of
//! nodes is not moved by a few of them, however much they count.

use fedai_protocol::{Tokens, UnixMicros, Usage};

use super::candidate::{CandidateView, FleetPrior};
use super::estimate::DecayedMean;

/// What was counted at one node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenNorm {
    /// Output tokens for a verified byte.
    output: DecayedMean,
    /// Prompt tokens for one that was asked for.
    input: DecayedMean,
}

impl TokenNorm {
    /// Takes the usage of a receipt that its client accepted, and the prompt size that its ticket was asked for.
    pub fn observe(&mut self, now: UnixMicros, usage: &Usage, asked: Tokens) {
        if usage.output_bytes >= OUTPUT_BYTES_MIN {
            let rate = usage.output_tokens.get() as f64 / usage.output_bytes as f64;
            self.output.observe(now, rate, HALF_LIFE_SECONDS);
        }
        if asked.get() > 0 {
            let rate = usage.input_tokens.get() as f64 / asked.get() as f64;
            self.input.observe(now, rate, HALF_LIFE_SECONDS);
        }
    }

    /// Means of prompt and output, when there are any.
    #[must_use]
    pub fn rates(&self) -> (Option<f64>, Option<f64>) {
        (self.input.mean(), self.output.mean())
    }

    /// Writes into the candidate what its price really comes to, and what its speed does.
    pub(crate) fn apply(&self, row: &mut CandidateView, prior: &FleetPrior) {
        row.counted_input = excess(&self.input, prior.input_rate);
        row.counted_output = excess(&self.output, prior.output_rate);
        let slower = row.counted_output.max(1.0);
        row.decode_ms *= slower;
        row.decode_job_ms *= slower;
    }
}

/// Tokens that are counted where the fleet counts one; a node that is caught at more is dearer than what it counts.
fn excess(own: &DecayedMean, fleet: f64) -> f64 {
    if fleet <= 0.0 {
        return 1.0;
    }
    let ratio = own.blended(fleet, PRIOR_WEIGHT) / fleet;
    let caught = (ratio - TOLERATED).max(0.0);
    CAUGHT_WEIGHT.mul_add(caught, ratio).clamp(RATIO_MIN, RATIO_MAX)
}

/// Shorter outputs are mostly markers.
const OUTPUT_BYTES_MIN: u64 = 16;
/// A way of counting is a property of a node, not of an hour.
const HALF_LIFE_SECONDS: f64 = 7.0 * 86_400.0;
/// Jobs that the fleet's median weighs.
const PRIOR_WEIGHT: f64 = 6.0;
/// Templates and languages differ by about so much.
const TOLERATED: f64 = 1.1;
/// What is counted beyond that is taken for so much more: honest meters are worth more than the same price.
const CAUGHT_WEIGHT: f64 = 2.0;
const RATIO_MIN: f64 = 0.8;
const RATIO_MAX: f64 = 16.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(output_tokens: u64) -> Usage {
        Usage {
            input_tokens: Tokens::saturating(90),
            output_tokens: Tokens::saturating(output_tokens),
            output_bytes: 400,
            ..Usage::default()
        }
    }

    fn ratio(output_tokens: u64, jobs: u64) -> f64 {
        let mut norm = TokenNorm::default();
        (0..jobs)
            .for_each(|job| norm.observe(UnixMicros(job), &usage(output_tokens), Tokens::saturating(90)));
        excess(&norm.output, 0.25)
    }

    #[test]
    fn who_counts_as_the_fleet_does_pays_nothing_for_it() {
        assert_eq!(ratio(100, 50), 1.0);
        assert!(
            (1.0..1.1).contains(&ratio(108, 200)),
            "within what templates differ by: {}",
            ratio(108, 200)
        );
        assert_eq!(excess(&DecayedMean::default(), 0.0), 1.0, "nothing is known of the fleet");
        assert_eq!(ratio(400, 0), 1.0, "nothing is known of the node");
    }

    #[test]
    fn an_over_count_costs_its_author_more_than_it_brings() {
        assert!(ratio(135, 100) > 1.7, "{}", ratio(135, 100));
        assert!(ratio(200, 10) > 1.8 && ratio(200, 100) > ratio(200, 10));
        assert_eq!(ratio(40_000, 100), RATIO_MAX);
        assert_eq!(ratio(1, 1_000), RATIO_MIN, "an under-count is no licence to be drawn without end");
    }
}
