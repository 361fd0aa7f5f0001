//! Which of several binding quotes is the best, by what the client values.
//!
//! A price is binding. A time is a router's claim, so it is believed only as far as it cannot be a lie that pays: never
//! below what that router itself took to answer, and claims that differ little count as equal, so that a millisecond
//! less buys nothing. The same goes for trust: above the floor more of it has no weight.

use fedai_protocol::quote_request::Mode;

use super::quote_check::Ticket;

/// Shortest time to a first token that is believed, in milliseconds.
const TTFT_MS_MIN: u64 = 50;
/// Steps per doubling in which claimed times are compared: about 19 % each.
const STEPS_PER_DOUBLING: f64 = 4.0;
/// Trust from which on a node counts as trusted, as the routers' own floor.
const TRUST_FLOOR: f64 = 0.9;

/// A quote, and how long its router took to give it.
#[derive(Clone, Debug)]
pub struct RankedTicket {
    /// The quote.
    pub ticket: Ticket,
    /// From the question to the answer, in milliseconds.
    pub answered_ms: u64,
}

impl RankedTicket {
    /// The time to first token, as far as it is believed, in steps.
    fn time_step(&self) -> u64 {
        let claimed = self.ticket.nodes.first().map_or(u64::MAX, |node| node.expected_ttft_ms);
        let believed = claimed.max(self.answered_ms).max(TTFT_MS_MIN).min(u64::from(u32::MAX));
        let doublings = u64::from(believed.ilog2());
        // Linear between two powers of two: no logarithm that machines could disagree about.
        let rest = (believed - (1 << doublings)) * (STEPS_PER_DOUBLING as u64) / (1 << doublings);
        doublings * (STEPS_PER_DOUBLING as u64) + rest
    }

    /// The same in milliseconds.
    fn time_ms(&self) -> u64 {
        let claimed = self.ticket.nodes.first().map_or(u64::MAX, |node| node.expected_ttft_ms);
        claimed.max(self.answered_ms).max(TTFT_MS_MIN)
    }

    /// True when the record that came along, and that the router committed to, names a trusted node.
    fn is_trusted(&self) -> bool {
        let Some(node) = self.ticket.nodes.first().map(|node| node.node) else { return false };
        let candidates = self.ticket.record.iter().flat_map(|record| &record.candidates);
        candidates
            .filter(|candidate| candidate.node == node)
            .filter_map(|candidate| candidate.terms.as_ref())
            .any(|terms| terms.trust >= TRUST_FLOOR)
    }
}

/// The best quote; among equals the one of the smaller key, so that the order of arrival does not matter.
#[must_use]
pub fn best(tickets: Vec<RankedTicket>, mode: Mode) -> Option<Ticket> {
    let (cost_median, time_median) = (
        median(tickets.iter().map(|ticket| ticket.ticket.ceiling.get())),
        median(tickets.iter().map(RankedTicket::time_ms)),
    );
    // One median price is worth one median time.
    let both = |ticket: &RankedTicket| {
        let share = |value: u64, median: u64| u128::from(value) * 1_000 / u128::from(median.max(1));
        let cost = if cost_median == 0 { 0 } else { share(ticket.ticket.ceiling.get(), cost_median) };
        u64::try_from(cost + share(ticket.time_ms(), time_median)).unwrap_or(u64::MAX)
    };
    let rank = |ticket: &RankedTicket| {
        let (cost, time) = (ticket.ticket.ceiling.get(), ticket.time_step());
        match mode {
            Mode::Cheapest => (0, cost, time),
            Mode::Fastest => (0, time, cost),
            Mode::Balanced => (0, both(ticket) / 50, cost),
            Mode::Trusted => (u64::from(!ticket.is_trusted()), both(ticket) / 50, cost),
        }
    };
    let best = tickets.into_iter().min_by_key(|ticket| (rank(ticket), ticket.ticket.router));
    best.map(|ticket| ticket.ticket)
}

fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
#[path = "quote_rank_tests.rs"]
mod tests;
