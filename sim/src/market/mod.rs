//! The market: how nodes set prices, what clients will pay, what a router takes.
//!
//! A price strategy is a pure rule. Once in every [`REPRICE_SECONDS`] the world shows each node an [`Outlook`] - its
//! own price, cost, load and income of the period, and the public prices of the others - and gets a new price back;
//! where it differs, the node publishes an offer. The rule never sees a private number of anybody else. Prices are one
//! number, the price of output; the other parts of the node's list price keep their proportion to it ([`price_at`]).

pub mod budget;
pub mod cost_plus;
pub mod fixed;
pub mod learning;
pub mod load_priced;
pub mod pricing;
pub mod undercut;

use fedai_protocol::{Msat, MsatPerMtok, Price};

use crate::chance::Chance;

/// What a node knows when it sets its price.
#[derive(Clone, Copy, Debug)]
pub struct Outlook<'a> {
    /// Its price of output now.
    pub own: MsatPerMtok,
    /// The list price of output that it came with.
    pub list: MsatPerMtok,
    /// What a million output tokens, and the prompt tokens that come with them, cost it at the margin.
    pub cost: MsatPerMtok,
    /// Share of its slots that was busy in the period, from 0 to 1.
    pub utilisation: f64,
    /// Money received in the period.
    pub earned: Msat,
    /// Cost of the work done in the period.
    pub spent: Msat,
    /// Public prices of output of the others that offer the same model, in any order.
    pub others: &'a [MsatPerMtok],
}

impl Outlook<'_> {
    /// No rule asks less than this: what it costs and a twentieth on top.
    #[must_use]
    pub fn floor(&self) -> MsatPerMtok {
        MsatPerMtok::saturating(self.cost.get().saturating_mul(21) / 20).max(MsatPerMtok::saturating(1))
    }

    /// No rule asks more than this: four times the list price, or twice the floor where that is more.
    #[must_use]
    pub fn most(&self) -> MsatPerMtok {
        let most = self.list.get().saturating_mul(4).max(self.floor().get().saturating_mul(2));
        MsatPerMtok::saturating(most)
    }

    /// A price within the bounds.
    #[must_use]
    pub fn bounded(&self, price: u64) -> MsatPerMtok {
        MsatPerMtok::saturating(price).clamp(self.floor(), self.most())
    }
}

/// A rule that sets a price. What it remembers is its own; chance comes in from outside.
pub trait PriceStrategy: core::fmt::Debug + Send {
    /// The price of output from now on.
    fn reprice(&mut self, outlook: &Outlook<'_>, chance: &mut Chance) -> MsatPerMtok;
}

/// The list price with its output part set to `output` and the other parts in proportion, each rounded up.
#[must_use]
pub fn price_at(list: &Price, output: MsatPerMtok) -> Price {
    let scale = |part: u64| {
        let base = u128::from(list.output.get().max(1));
        let scaled = (u128::from(part) * u128::from(output.get())).div_ceil(base);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    };
    Price {
        input: MsatPerMtok::saturating(scale(list.input.get())),
        cached_input: list.cached_input.map(|cached| MsatPerMtok::saturating(scale(cached.get()))),
        output,
        request: Msat::saturating(scale(list.request.get())),
    }
}

/// How often prices are looked at.
pub const REPRICE_SECONDS: u64 = 900;

#[cfg(test)]
#[path = "market_tests.rs"]
mod tests;
