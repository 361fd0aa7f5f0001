//! The report as a documented structure. `schema_version` changes whenever a field changes its meaning or
//! goes away; new fields may come at any time.

use std::collections::BTreeMap;

use serde::Serialize;

use super::market::MarketReport;
use crate::run_log::{JobLog, RunLog};
use crate::scenario::START;
use crate::statistics::fairness;
use crate::wire::Wire;

/// Version of the structure below.
pub const SCHEMA_VERSION: u32 = 2;

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Seed of the run.
    pub seed: u64,
    /// Name of the workload.
    pub workload: String,
    /// `sealed` or `typed`.
    pub wire: &'static str,
    /// True when faults were drawn.
    pub has_faults: bool,
    /// Length of the run in virtual time, in milliseconds.
    pub virtual_ms: u64,
    /// Turns of actors.
    pub events: u64,
    /// Jobs.
    pub requests: Requests,
    /// Latencies of jobs that ended well, in milliseconds.
    pub latency_ms: Latency,
    /// Money.
    pub cost: Cost,
    /// Nodes.
    pub nodes: Vec<NodeReport>,
    /// Jain's index over the utilisation of nodes: 1 is even, 1/n is one node doing all.
    pub jain_index: f64,
    /// Relays and faults.
    pub network: Network,
    /// Prices and revenue, when nodes set prices by a strategy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub market: Option<MarketReport>,
}

/// Jobs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Requests {
    /// That came.
    pub total: u64,
    /// That ended well.
    pub done: u64,
    /// That did not.
    pub dropped: u64,
    /// Share that did not.
    pub drop_rate: f64,
    /// The same by the code of the last refusal.
    pub drops_by_code: BTreeMap<String, u64>,
    /// Jobs opened at nodes; what exceeds `total` is failover.
    pub opened: u64,
}

/// Percentiles by nearest rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// Half are faster.
    pub p50: u64,
    /// One in twenty is slower.
    pub p95: u64,
    /// One in a hundred is slower.
    pub p99: u64,
}

/// Latencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// To the quote.
    pub quote: Percentiles,
    /// To the first output.
    pub ttft: Percentiles,
    /// To the end.
    pub total: Percentiles,
}

/// Money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Paid by clients in all.
    pub charged_msat: u64,
    /// Paid for each job that ended well.
    pub cost_msat_per_request: u64,
    /// What routers had of it.
    pub fees_msat: u64,
    /// What clients accepted and did not pay.
    pub unpaid_msat: u64,
    /// What nodes' list prices make of the metered usage, all receipts together.
    pub list_msat: u64,
    /// The same for each job that ended well.
    pub list_msat_per_request: u64,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeReport {
    /// Identity key (hex).
    pub key: String,
    /// Hardware class.
    pub class: String,
    /// Slots.
    pub slots: u32,
    /// Share of slot time used between the first arrival and the last end.
    pub utilisation: f64,
    /// Receipts.
    pub receipts: u64,
    /// Prompt tokens metered.
    pub input_tokens: u64,
    /// Output tokens metered.
    pub output_tokens: u64,
    /// What its list price makes of that.
    pub list_msat: u64,
    /// What it was paid.
    pub earned_msat: u64,
    /// What its busy slots cost it.
    pub cost_msat: u64,
}

/// Relays and faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Network {
    /// Events published.
    pub events_published: u64,
    /// Events lost by relays.
    pub events_dropped: u64,
    /// Extra copies delivered.
    pub events_duplicated: u64,
    /// Processes killed.
    pub node_crashes: u64,
    /// Routers killed.
    pub router_crashes: u64,
    /// Runners hung.
    pub runner_hangs: u64,
}

impl Report {
    /// Sums a run up.
    #[must_use]
    pub fn new(log: &RunLog) -> Self {
        let done: Vec<&JobLog> = log.jobs.iter().filter(|job| job.is_done()).collect();
        let (total, good) = (log.jobs.len() as u64, done.len() as u64);
        let charged_msat = log.jobs.iter().map(|job| job.paid_msat).fold(0, u64::saturating_add);
        let fees_msat = log.accounts.routers.iter().copied().fold(0, u64::saturating_add);
        let list_msat = log.nodes.iter().map(|node| node.list_msat).fold(0, u64::saturating_add);
        let each = |sum: u64| sum.checked_div(good).unwrap_or(0);
        let nodes = node_reports(log);
        let loads: Vec<f64> = nodes.iter().map(|node| node.utilisation).collect();
        Self {
            schema_version: SCHEMA_VERSION,
            seed: log.scenario.seed,
            workload: log.scenario.workload.to_owned(),
            wire: if log.scenario.wire == Wire::Sealed { "sealed" } else { "typed" },
            has_faults: !log.scenario.faults.is_none(),
            virtual_ms: log.finished_at.millis_since(START),
            events: log.events,
            requests: Requests {
                total,
                done: good,
                dropped: total.saturating_sub(good),
                drop_rate: ratio(total.saturating_sub(good) as f64, total as f64),
                drops_by_code: log.refusals(),
                opened: log.attempts,
            },
            latency_ms: Latency {
                quote: percentiles(done.iter().map(|job| u64::from(job.quote_ms))),
                ttft: percentiles(done.iter().map(|job| u64::from(job.ttft_ms))),
                total: percentiles(done.iter().map(|job| u64::from(job.total_ms))),
            },
            cost: Cost {
                charged_msat,
                cost_msat_per_request: each(charged_msat),
                fees_msat,
                unpaid_msat: log.accounts.unpaid,
                list_msat,
                list_msat_per_request: each(list_msat),
            },
            nodes,
            jain_index: ratio(fairness::jain(&loads), 1.0),
            market: None,
            network: Network {
                events_published: log.relay.published,
                events_dropped: log.relay.dropped,
                events_duplicated: log.relay.duplicated,
                node_crashes: log.crashes,
                router_crashes: log.router_crashes,
                runner_hangs: log.hangs,
            },
        }
    }

    /// The report as indented JSON with a line break at its end.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }
}

fn node_reports(log: &RunLog) -> Vec<NodeReport> {
    let first = log.jobs.first().map_or(START, |job| job.at);
    let last = log.jobs.iter().filter_map(JobLog::ended_at).max().unwrap_or(first);
    let span = last.since(first) as f64;
    let report = |node: &crate::run_log::NodeLog| NodeReport {
        key: node.key.clone(),
        class: node.class.to_owned(),
        slots: node.slots,
        utilisation: ratio(node.busy_micros as f64, span * f64::from(node.slots)),
        receipts: node.sums.receipts,
        input_tokens: node.sums.input_tokens,
        output_tokens: node.sums.output_tokens,
        list_msat: node.list_msat,
        earned_msat: node.earned_msat,
        cost_msat: node.cost_msat,
    };
    log.nodes.iter().map(report).collect()
}

/// Four decimals are what a report can mean.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { (part / whole * 1e4).round() / 1e4 } else { 0.0 }
}

fn percentiles(values: impl Iterator<Item = u64>) -> Percentiles {
    let mut sorted: Vec<u64> = values.collect();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let rank = sorted.len().saturating_mul(percent).div_ceil(100).saturating_sub(1);
        sorted.get(rank).copied().unwrap_or(0)
    };
    Percentiles { p50: at(50), p95: at(95), p99: at(99) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_ranks() {
        let percentiles_of_hundred = percentiles((1..=100).rev());
        assert_eq!(percentiles_of_hundred, Percentiles { p50: 50, p95: 95, p99: 99 });
        assert_eq!(percentiles([7].into_iter()), Percentiles { p50: 7, p95: 7, p99: 7 });
        assert_eq!(percentiles([].into_iter()), Percentiles::default());
    }
}
