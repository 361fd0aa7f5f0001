//! What one run under one policy says: the numbers that comparisons are made of.

use crate::run_log::{JobLog, RunLog};
use crate::scenario::START;
use crate::statistics::fine_histogram::FineHistogram;
use crate::statistics::{fairness, quantile};

/// Latency quantiles of one run, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quantiles {
    /// Half are faster.
    pub p50: f64,
    /// One in twenty is slower.
    pub p95: f64,
    /// One in a hundred is slower.
    pub p99: f64,
}

/// One run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measures {
    /// To the first output, of requests that ended well.
    pub ttft_ms: Quantiles,
    /// To the end, of requests that ended well.
    pub total_ms: Quantiles,
    /// Share of requests that did not end well.
    pub drop_rate: f64,
    /// Charged for a request that ended well.
    pub cost_msat: f64,
    /// Jain's index of the utilisation of nodes.
    pub jain: f64,
    /// Mean of it, weighted by slots.
    pub utilisation: f64,
    /// Jobs opened at nodes for each request.
    pub attempts: f64,
    /// All times to the first output.
    pub ttft: FineHistogram,
    /// All times to the end.
    pub total: FineHistogram,
    /// Utilisation of every node, in the order of the scenario.
    pub by_node: Vec<f64>,
    /// Requests under way at even distances of time from the first arrival on, and that distance in seconds.
    pub under_way: (f64, Vec<u32>),
}

impl Measures {
    /// Measures a run, without its first `warm_up` requests.
    #[must_use]
    pub fn of(log: &RunLog, warm_up: usize) -> Self {
        let counted = || log.jobs.iter().skip(warm_up);
        let done: Vec<&JobLog> = counted().filter(|job| job.is_done()).collect();
        let (came, good) = (counted().count().max(1) as f64, done.len() as f64);
        let (mut ttft, mut total) = (FineHistogram::default(), FineHistogram::default());
        for job in &done {
            ttft.add(f64::from(job.ttft_ms));
            total.add(f64::from(job.total_ms));
        }
        let by_node = utilisations(log);
        let slots = || log.nodes.iter().map(|node| f64::from(node.slots));
        let used: f64 = by_node.iter().zip(slots()).map(|(share, slots)| share * slots).sum();
        Self {
            ttft_ms: quantiles(done.iter().map(|job| job.ttft_ms)),
            total_ms: quantiles(done.iter().map(|job| job.total_ms)),
            drop_rate: 1.0 - good / came,
            cost_msat: done.iter().map(|job| job.paid_msat as f64).sum::<f64>() / good.max(1.0),
            jain: fairness::jain(&by_node),
            utilisation: used / slots().sum::<f64>().max(1.0),
            attempts: counted().map(|job| f64::from(job.attempts)).sum::<f64>() / came,
            ttft,
            total,
            by_node,
            under_way: under_way(log),
        }
    }
}

fn quantiles(values: impl Iterator<Item = u32>) -> Quantiles {
    let sorted = quantile::sorted(values.map(f64::from).collect());
    let at = |permille| quantile::nearest_rank(&sorted, permille).unwrap_or(0.0);
    Quantiles { p50: at(500), p95: at(950), p99: at(990) }
}

/// Share of slot time that each node used, from the first arrival to the last end.
fn utilisations(log: &RunLog) -> Vec<f64> {
    let ends = log.jobs.iter().filter_map(JobLog::ended_at);
    let first = log.jobs.iter().map(|job| job.at).min().unwrap_or(START);
    let span = ends.max().unwrap_or(first).since(first).max(1) as f64;
    let share =
        |node: &crate::run_log::NodeLog| node.busy_micros as f64 / (span * f64::from(node.slots.max(1)));
    log.nodes.iter().map(share).collect()
}

/// Requests under way, at so many points.
fn under_way(log: &RunLog) -> (f64, Vec<u32>) {
    let first = log.jobs.iter().map(|job| job.at).min().unwrap_or(START);
    let last = log.jobs.iter().map(|job| job.at).max().unwrap_or(first);
    let step = last.since(first) as f64 / (POINTS - 1) as f64;
    let mut changes = [0_i64; POINTS + 1];
    let place = |micros: u64| ((micros as f64 / step.max(1.0)).ceil() as usize).min(POINTS);
    for job in &log.jobs {
        let Some(end) = job.ended_at() else { continue };
        for (at, change) in [(place(job.at.since(first)), 1), (place(end.since(first)), -1)] {
            if let Some(slot) = changes.get_mut(at) {
                *slot += change;
            }
        }
    }
    let mut level = 0_i64;
    let levels = changes.iter().take(POINTS).map(|change| {
        level += change;
        u32::try_from(level).unwrap_or(0)
    });
    (step / 1e6, levels.collect())
}

/// Points of a line over time.
const POINTS: usize = 121;
