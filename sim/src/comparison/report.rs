//! A comparison as a documented structure, `docs/schema/sim-compare.json`. `schema_version` changes whenever a field
//! changes its meaning or goes away; new fields may come at any time.
//!
//! Numbers have at most six significant digits. Everything that the page and the plots show is in here, so that both
//! can be made again from the file.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::statistics::Interval;

/// Version of the structure below.
pub const SCHEMA_VERSION: u32 = 1;

/// A comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// What was compared on.
    pub setting: Setting,
    /// What fleet and workload of the seeds were.
    pub draws: Draws,
    /// Names of the policies, in the order of the command.
    pub order: Vec<String>,
    /// What each policy did.
    pub policies: BTreeMap<String, PolicyReport>,
}

/// What was compared on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Setting {
    /// File name of the trace.
    pub trace: String,
    /// Nodes.
    pub nodes: usize,
    /// Routers; a client asks one, drawn for each job.
    pub routers: usize,
    /// Offered work over the capacity of the fleet.
    pub load: f64,
    /// Age of announced load when routers hear of it, in seconds.
    pub info_age_seconds: f64,
    /// Share of nodes that lie.
    pub liars: f64,
    /// Requests of each run.
    pub requests: usize,
    /// Requests at the beginning that are not counted.
    pub warm_up: usize,
    /// What clients value.
    pub mode: String,
    /// After so many seconds a client has left.
    pub deadline_seconds: u64,
    /// Seeds, one run each and policy.
    pub seeds: Vec<u64>,
}

/// Fleets and workloads of the seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Draws {
    /// What the fleet can do of this trace, in requests a second.
    pub capacity_per_second: Interval,
    /// What was asked of it, in requests a second.
    pub offered_per_second: Interval,
    /// Capacity of the best node over that of the least.
    pub capacity_spread: Interval,
    /// Nodes of the first seed, by capacity: hardware class, requests a second, and whether it lies.
    pub first_seed_nodes: Vec<DrawnNode>,
}

/// A node of the first seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DrawnNode {
    /// Hardware class.
    pub class: String,
    /// What it can do of this trace, in requests a second.
    pub capacity_per_second: f64,
    /// Whether it lies.
    pub lies: bool,
}

/// Quantiles by nearest rank, each as a mean over seeds with its 95 % interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QuantileIntervals {
    /// Half are faster.
    pub p50: Interval,
    /// One in twenty is slower.
    pub p95: Interval,
    /// One in a hundred is slower.
    pub p99: Interval,
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyReport {
    /// Time to the first token of requests that ended well.
    pub ttft_ms: QuantileIntervals,
    /// Time to the end of requests that ended well.
    pub total_ms: QuantileIntervals,
    /// Share of requests that did not end well.
    pub drop_rate: Interval,
    /// Charged for a request that ended well.
    pub cost_msat_per_request: Interval,
    /// Jain's index of the utilisation of nodes.
    pub jain: Interval,
    /// Share of slot time used.
    pub utilisation: Interval,
    /// Jobs opened at nodes for each request; what exceeds 1 is failover.
    pub attempts_per_request: Interval,
    /// This policy less `fedai`, seed by seed; missing without `fedai`, and for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub less_fedai: Option<Differences>,
    /// This policy over `jsq`, seed by seed; missing without `jsq`, and for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_jsq: Option<Ratios>,
    /// The same by seed.
    pub by_seed: Vec<SeedReport>,
    /// What plots show beyond that.
    pub plots: PlotData,
}

/// Paired differences.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Differences {
    /// 95th percentiles of the time to the first token.
    pub ttft_p95_ms: Interval,
    /// 95th percentiles of the time to the end.
    pub total_p95_ms: Interval,
    /// Drop rates.
    pub drop_rate: Interval,
    /// Costs of a request.
    pub cost_msat_per_request: Interval,
}

/// Paired ratios.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ratios {
    /// 95th percentiles of the time to the first token.
    pub ttft_p95: Interval,
    /// 95th percentiles of the time to the end.
    pub total_p95: Interval,
}

/// One seed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SeedReport {
    /// Seed.
    pub seed: u64,
    /// 95th percentile of the time to the first token.
    pub ttft_p95_ms: f64,
    /// 95th percentile of the time to the end.
    pub total_p95_ms: f64,
    /// Drop rate.
    pub drop_rate: f64,
    /// Cost of a request.
    pub cost_msat_per_request: f64,
    /// Jain's index.
    pub jain: f64,
}

/// Points of plots.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlotData {
    /// Time to the first token of all seeds together: thousandths of requests, and the milliseconds that they stay
    /// below.
    pub ttft_ms: Vec<(u32, f64)>,
    /// The same of the time to the end.
    pub total_ms: Vec<(u32, f64)>,
    /// Requests under way in the first seed: seconds from the first arrival, and how many.
    pub under_way: Vec<(f64, u32)>,
    /// Utilisation of the nodes of the first seed, by capacity.
    pub by_node: Vec<f64>,
}

impl Comparison {
    /// The report as JSON, with a line end.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }
}

/// The schema of a report, as `docs/schema/sim-compare.json` has it.
pub fn schema() -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&schemars::schema_for!(Comparison)).map(|text| text + "\n")
}
