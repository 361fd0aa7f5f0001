//! What a market did: revenue by price strategy, and the way of prices.

use core::fmt::{self, Write as _};
use std::collections::BTreeMap;

use serde::Serialize;

use crate::market::pricing::Pricing;
use crate::run_log::RunLog;
use crate::statistics::significant;

/// One market.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MarketReport {
    /// What routers took, in msat.
    pub fees_msat: u64,
    /// By strategy.
    pub strategies: BTreeMap<&'static str, StrategyReport>,
}

/// All nodes with one strategy.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StrategyReport {
    /// Nodes.
    pub nodes: u64,
    /// Receipts.
    pub receipts: u64,
    /// Money received, in msat.
    pub earned_msat: u64,
    /// Cost of the work done, in msat.
    pub cost_msat: u64,
    /// The difference, for each node.
    pub profit_msat_per_node: f64,
    /// Mean price of output over its list price, at the end.
    pub last_over_list: f64,
    /// The way there: seconds of the run, and the mean price over list prices from then on.
    pub path: Vec<(u64, f64)>,
}

impl MarketReport {
    /// Reads it out of a log; `pricing` says who has which strategy.
    #[must_use]
    pub fn new(log: &RunLog, pricing: &[Pricing]) -> Self {
        let mut strategies: BTreeMap<&'static str, StrategyReport> = BTreeMap::new();
        for (node, pricing) in log.nodes.iter().zip(pricing) {
            let row = strategies.entry(pricing.as_str()).or_default();
            row.nodes = row.nodes.saturating_add(1);
            row.receipts = row.receipts.saturating_add(node.sums.receipts);
            row.earned_msat = row.earned_msat.saturating_add(node.earned_msat);
            row.cost_msat = row.cost_msat.saturating_add(node.cost_msat);
        }
        for (name, row) in &mut strategies {
            let profit = row.earned_msat as f64 - row.cost_msat as f64;
            row.profit_msat_per_node = significant(profit / row.nodes.max(1) as f64, 6);
            row.path = path(log, pricing, name);
            row.last_over_list = row.path.last().map_or(1.0, |(_, over)| *over);
        }
        Self { fees_msat: log.accounts.routers.iter().sum(), strategies }
    }

    /// Appends the tables to a page.
    pub fn write(&self, text: &mut String) -> fmt::Result {
        writeln!(text, "\n## Market\n")?;
        writeln!(
            text,
            "| strategy | nodes | receipts | earned, msat | cost, msat | profit a node | price over list |"
        )?;
        writeln!(text, "|---|---:|---:|---:|---:|---:|---:|")?;
        for (name, row) in &self.strategies {
            writeln!(
                text,
                "| {name} | {} | {} | {} | {} | {:.0} | {:.3} |",
                row.nodes,
                row.receipts,
                row.earned_msat,
                row.cost_msat,
                row.profit_msat_per_node,
                row.last_over_list
            )?;
        }
        writeln!(text, "\nRouters took {} msat.", self.fees_msat)
    }
}

/// The mean price of a strategy's nodes over their list prices, whenever one of them changes.
fn path(log: &RunLog, pricing: &[Pricing], name: &str) -> Vec<(u64, f64)> {
    let specs = log.scenario.nodes.iter().zip(pricing).enumerate();
    let mut over: BTreeMap<usize, (f64, f64)> = specs
        .filter(|(_, (_, pricing))| pricing.as_str() == name)
        .map(|(index, (spec, _))| (index, (spec.list_price.output.get().max(1) as f64, 1.0)))
        .collect();
    let mut path: Vec<(u64, f64)> = vec![(0, 1.0)];
    for change in &log.prices {
        let Some((list, ratio)) = over.get_mut(&change.node) else { continue };
        *ratio = change.output_msat_per_mtok as f64 / *list;
        let mean = over.values().map(|(_, ratio)| ratio).sum::<f64>() / over.len().max(1) as f64;
        match path.last_mut().filter(|(at, _)| *at == change.seconds) {
            Some((_, last)) => *last = significant(mean, 4),
            None => path.push((change.seconds, significant(mean, 4))),
        }
    }
    path
}
