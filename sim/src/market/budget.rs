//! What a client will pay: each job has a worth, and a job that costs more than its worth is not bought.
//!
//! Worth is drawn per token around the fleet's list price, so a node that asks too much loses the jobs below it first
//! and demand falls with price, as it does where there is another way to get an answer.

use fedai_protocol::{Msat, MsatPerMtok, Tokens};

use crate::chance::Chance;

/// Clients' budgets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// The fleet's usual price of output.
    pub usual: MsatPerMtok,
    /// Mean worth of a job above the usual price, as a multiple of it.
    pub surplus_mean: f64,
}

impl Budget {
    /// Budgets around a usual price.
    #[must_use]
    pub const fn around(usual: MsatPerMtok) -> Self {
        Self { usual, surplus_mean: 1.5 }
    }

    /// The most that somebody will pay for a job of this size. A prompt token counts as a third of an output token.
    pub fn draw(&self, prompt: Tokens, output: Tokens, chance: &mut Chance) -> Msat {
        let tokens = prompt.get() as f64 / 3.0 + output.get() as f64;
        let surplus = chance.exponential(self.surplus_mean * 1e6) as f64 / 1e6;
        let worth = tokens * self.usual.get() as f64 / 1e6 * (LEAST_WORTH + surplus);
        Msat::saturating(worth.ceil().max(1.0) as u64)
    }
}

/// Nobody asks for a job that is worth less than this multiple of the usual price.
const LEAST_WORTH: f64 = 0.75;
