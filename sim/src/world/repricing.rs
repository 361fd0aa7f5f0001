//! Nodes look at their prices.

use fedai_protocol::{Msat, MsatPerMtok, UnixMicros};

use super::World;
use super::happenings::Happening;
use crate::invariants::Violation;
use crate::market::{Outlook, PriceStrategy, REPRICE_SECONDS, price_at};
use crate::run_log::PriceChange;
use crate::scenario::START;

/// A node that sets its price by a rule, and what it had at the last look.
pub(super) struct Seller {
    rule: Box<dyn PriceStrategy>,
    earned: u64,
    busy_micros: u128,
    at: UnixMicros,
}

impl Seller {
    pub(super) const fn new(rule: Box<dyn PriceStrategy>) -> Self {
        Self { rule, earned: 0, busy_micros: 0, at: START }
    }
}

impl World {
    pub(super) fn plan_repricing(&mut self) {
        if !self.prices.is_empty() {
            let at = self.agenda.now().plus_seconds(REPRICE_SECONDS);
            self.agenda.at(at, Happening::Reprice);
        }
    }

    /// Everybody who has a rule looks, one after the other, at the prices as they were before.
    pub(super) fn reprice(&mut self, now: UnixMicros) -> Result<(), Violation> {
        if self.to_come == 0 {
            return Ok(());
        }
        self.plan_repricing();
        let offered: Vec<MsatPerMtok> =
            self.parties.nodes.iter().map(|node| node.policy().price.output).collect();
        let mut sellers = core::mem::take(&mut self.prices);
        for (index, seller) in &mut sellers {
            let Some(price) = self.new_price(now, *index, seller, &offered) else { continue };
            let (seconds, output_msat_per_mtok) = (now.since(START) / 1_000_000, price.output.get());
            self.log.prices.push(PriceChange { seconds, node: *index, output_msat_per_mtok });
            self.with_node(*index, |node, turn| node.reprice(price, turn))?;
        }
        self.prices = sellers;
        Ok(())
    }

    fn new_price(
        &mut self,
        now: UnixMicros,
        index: usize,
        seller: &mut Seller,
        offered: &[MsatPerMtok],
    ) -> Option<fedai_protocol::Price> {
        let (node, spec) = (self.parties.nodes.get_mut(index)?, self.scenario.nodes.get(index)?);
        let earned = self.log.accounts.nodes.get(index).copied().unwrap_or(0);
        let busy = node.runner().busy_micros(now);
        let used = busy.saturating_sub(seller.busy_micros);
        let spent = used.saturating_mul(u128::from(spec.cost_msat_per_slot_second)) / 1_000_000;
        let slot_micros = u128::from(now.since(seller.at)).saturating_mul(u128::from(spec.runner.slots));
        let others: Vec<MsatPerMtok> = offered
            .iter()
            .enumerate()
            .filter(|(other, price)| *other != index && price.get() > 0)
            .map(|(_, price)| *price)
            .collect();
        let own = node.policy().price.output;
        let outlook = Outlook {
            own,
            list: spec.list_price.output,
            cost: spec.output_cost(),
            utilisation: used as f64 / (slot_micros as f64).max(1.0),
            earned: Msat::saturating(earned.saturating_sub(seller.earned)),
            spent: Msat::saturating(u64::try_from(spent).unwrap_or(u64::MAX)),
            others: &others,
        };
        let output = seller.rule.reprice(&outlook, &mut self.market_chance);
        (seller.earned, seller.busy_micros, seller.at) = (earned, busy, now);
        (output != own).then(|| price_at(&spec.list_price, output))
    }
}
