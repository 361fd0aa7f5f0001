//! What audits do to an adversary, and what they cost.

use serde::Serialize;

use super::finding::{CheatVerdict, Take, verdict};
use crate::statistics::{Interval, significant};

/// An adversary where somebody audits the nodes and routers follow, against its honest twin in the same world.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AuditedFinding {
    /// Days from audit to audit.
    pub every_days: u64,
    /// What the audits of all nodes cost a day, in msat.
    pub cost_msat_per_day: f64,
    /// Canaries answered, a run.
    pub canaries: f64,
    /// Days until it was called an outlier first; none when it was not with some seed.
    pub found_days: Option<f64>,
    /// Honest nodes that were called outliers, a run.
    pub false_alarms: f64,
    /// Mean profit over the seeds, in msat.
    pub profit_msat: f64,
    /// Mean profit of the honest twin, in msat.
    pub honest_profit_msat: f64,
    /// Paired difference, cheat less twin.
    pub gain: Interval,
    /// Mean difference for a day, in msat.
    pub gain_msat_per_day: f64,
    /// Share of all jobs.
    pub share: f64,
    /// The twin's.
    pub honest_share: f64,
    /// In a word.
    pub verdict: CheatVerdict,
}

impl AuditedFinding {
    /// Sums up the runs of the seeds, in order of the seeds.
    #[must_use]
    pub fn of(every_days: u64, cheats: &[Take], twins: &[Take], days: u64) -> Self {
        let of = |takes: &[Take], value: fn(&Take) -> f64| takes.iter().map(value).collect::<Vec<f64>>();
        let mean = |takes: &[Take], value: fn(&Take) -> f64| Interval::of(&of(takes, value)).mean;
        let profit = |take: &Take| take.profit;
        let gain = Interval::of_differences(&of(cheats, profit), &of(twins, profit));
        let per_day = |msat: f64| significant(msat / (days.max(1) as f64), 6);
        let found: Option<Vec<f64>> =
            cheats.iter().map(|take| take.found_seconds.map(|seconds| seconds as f64 / 86_400.0)).collect();
        Self {
            every_days,
            cost_msat_per_day: per_day(mean(cheats, |take| take.audits_msat)),
            canaries: mean(cheats, |take| take.canaries),
            found_days: found
                .filter(|days| !days.is_empty())
                .map(|days| significant(Interval::of(&days).mean, 3)),
            false_alarms: mean(cheats, |take| take.false_alarms),
            profit_msat: mean(cheats, profit),
            honest_profit_msat: mean(twins, profit),
            gain,
            gain_msat_per_day: per_day(gain.mean),
            share: mean(cheats, |take| take.share),
            honest_share: mean(twins, |take| take.share),
            verdict: verdict(gain),
        }
    }
}
