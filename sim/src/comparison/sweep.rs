//! Comparisons over a grid: one table, and a line for each policy over everything that was varied.

use core::fmt::Write as _;
use std::collections::BTreeMap;

use serde::Serialize;

use super::markdown::cell;
use super::report::{Comparison, PolicyReport, SCHEMA_VERSION, Setting};
use crate::report::plot::{Axis, LineChart, Mark, Scale, Series};
use crate::statistics::Interval;

/// A sweep.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sweep {
    /// Version of this structure and of those in it.
    pub schema_version: u32,
    /// Names of the policies, in the order of the command.
    pub order: Vec<String>,
    /// All points of the grid.
    pub points: Vec<SweepPoint>,
}

/// One point.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SweepPoint {
    /// Where its own report is.
    pub folder: String,
    /// What was compared on.
    pub setting: Setting,
    /// The main numbers of each policy.
    pub policies: BTreeMap<String, MainNumbers>,
}

/// The main numbers of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MainNumbers {
    /// 95th percentile of the time to the first token.
    pub ttft_p95_ms: Interval,
    /// Median of the time to the end.
    pub total_p50_ms: Interval,
    /// Its 95th percentile.
    pub total_p95_ms: Interval,
    /// Share of requests that did not end well.
    pub drop_rate: Interval,
    /// Charged for a request that ended well.
    pub cost_msat_per_request: Interval,
    /// Jain's index of the utilisation of nodes.
    pub jain: Interval,
}

impl MainNumbers {
    fn of(report: &PolicyReport) -> Self {
        Self {
            ttft_p95_ms: report.ttft_ms.p95,
            total_p50_ms: report.total_ms.p50,
            total_p95_ms: report.total_ms.p95,
            drop_rate: report.drop_rate,
            cost_msat_per_request: report.cost_msat_per_request,
            jain: report.jain,
        }
    }
}

impl Sweep {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { schema_version: SCHEMA_VERSION, order: Vec::new(), points: Vec::new() }
    }

    /// Adds a point; gives the folder for its own report.
    pub fn add(&mut self, comparison: &Comparison) -> String {
        let Setting { nodes, load, info_age_seconds, liars, .. } = &comparison.setting;
        let folder = format!("nodes-{nodes}_load-{load}_age-{info_age_seconds}_liars-{liars}");
        let numbers =
            comparison.policies.iter().map(|(name, report)| (name.clone(), MainNumbers::of(report)));
        self.order.clone_from(&comparison.order);
        self.points.push(SweepPoint {
            folder: folder.clone(),
            setting: comparison.setting.clone(),
            policies: numbers.collect(),
        });
        folder
    }

    /// The sweep as JSON, with a line end.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    /// One table.
    #[must_use]
    pub fn page(&self) -> String {
        let mut text = "# Sweep\n\n".to_owned();
        if let Some(Setting { trace, seeds, requests, warm_up, mode, routers, .. }) =
            self.points.first().map(|point| &point.setting)
        {
            // Writing to a String does not fail.
            let _infallible = writeln!(
                text,
                "{trace}, {routers} routers, mode {mode}, {} seeds of {requests} requests, the first {warm_up} not \
                 counted. Means over seeds with 95 % intervals; times are of requests that ended well.\n",
                seeds.len()
            );
        }
        text.push_str(
            "| nodes | load, % | age, s | liars, % | policy | first token p95, s | total p50, s | total p95, s \
             | drops, % | msat | Jain |\n|---:|---:|---:|---:|---|---:|---:|---:|---:|---:|---:|\n",
        );
        for point in &self.points {
            let Setting { nodes, load, info_age_seconds, liars, .. } = &point.setting;
            for name in &self.order {
                let Some(numbers) = point.policies.get(name) else { continue };
                let _infallible = writeln!(
                    text,
                    "| {nodes} | {:.0} | {info_age_seconds} | {:.0} | {name} | {} | {} | {} | {} | {} | {} |",
                    load * 100.0,
                    liars * 100.0,
                    cell(&numbers.ttft_p95_ms, 1e-3, 2),
                    cell(&numbers.total_p50_ms, 1e-3, 2),
                    cell(&numbers.total_p95_ms, 1e-3, 2),
                    cell(&numbers.drop_rate, 100.0, 2),
                    cell(&numbers.cost_msat_per_request, 1.0, 1),
                    cell(&numbers.jain, 1.0, 3),
                );
            }
        }
        text
    }

    /// A picture for everything that was varied, the rest as in the first point: its file name, and it.
    #[must_use]
    pub fn plots(&self) -> Vec<(String, String)> {
        type Value = fn(&Setting) -> f64;
        let dimensions: [(&str, &str, Value); 4] = [
            ("nodes", "nodes", |setting| f64::from(u32::try_from(setting.nodes).unwrap_or(u32::MAX))),
            ("load", "offered work over capacity", |setting| setting.load),
            ("age", "age of announced load, s", |setting| setting.info_age_seconds),
            ("liars", "share of nodes that lie", |setting| setting.liars),
        ];
        let Some(first) = self.points.first().map(|point| &point.setting) else { return Vec::new() };
        let mut plots = Vec::new();
        for (name, label, value) in dimensions {
            let is_fixed = |setting: &Setting| {
                dimensions
                    .iter()
                    .all(|(other, _, of)| *other == name || of(setting).total_cmp(&of(first)).is_eq())
            };
            let line: Vec<&SweepPoint> =
                self.points.iter().filter(|point| is_fixed(&point.setting)).collect();
            if line.len() < 2 {
                continue;
            }
            let series = self.order.iter().enumerate().map(|(style, policy)| Series {
                name: policy.clone(),
                style,
                points: line
                    .iter()
                    .filter_map(|point| {
                        Some((value(&point.setting), point.policies.get(policy)?.total_p95_ms.mean / 1e3))
                    })
                    .collect(),
            });
            let chart = LineChart {
                title: format!("Slow requests over {name}"),
                x: Axis::new(label, Scale::Linear),
                y: Axis::new("95th percentile of the total time, s", Scale::Log),
                mark: Mark::DottedLine,
                series: series.collect(),
            };
            plots.push((format!("over_{name}.svg"), chart.to_svg()));
        }
        plots
    }
}

impl Default for Sweep {
    fn default() -> Self {
        Self::new()
    }
}
