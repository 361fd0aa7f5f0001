//! What the runs say of one adversary: plain numbers over the seeds, with intervals.

use serde::Serialize;

use super::audited::AuditedFinding;
use super::{Adversary, Beneficiaries};
use crate::run_log::RunLog;
use crate::statistics::{Interval, significant};

/// What one party and its customers got out of one world.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Take {
    /// Received less what the work really done has cost, in msat.
    pub profit: f64,
    /// Share of all jobs that were accepted.
    pub share: f64,
    /// The same, day by day.
    pub daily: Vec<f64>,
    /// Receipts that clients disputed.
    pub disputed: f64,
    /// Proofs that routers found.
    pub proofs: f64,
    /// Rank at the first router, at the end.
    pub rank: f64,
    /// Seconds until the first word against it.
    pub first_word_seconds: Option<u64>,
    /// Jobs that ended without an answer, of all clients.
    pub failed: f64,
    /// Jobs of all clients.
    pub jobs: f64,
    /// What clients paid above the price of what was used, in msat.
    pub overpaid: f64,
    /// 95th percentile of the total time of jobs that ended well, in milliseconds.
    pub total_p95_ms: f64,
    /// What audits cost, in msat.
    pub audits_msat: f64,
    /// Canaries that were answered.
    pub canaries: f64,
    /// When an audit called it an outlier first.
    pub found_seconds: Option<u64>,
    /// Others that were called outliers.
    pub false_alarms: f64,
}

impl Take {
    /// Reads it out of the log of a run.
    #[must_use]
    pub fn of(log: &RunLog, who: &Beneficiaries) -> Self {
        let mut take = Self::default();
        let days = log.conduct.days();
        let all: Vec<u64> =
            (0..days).map(|day| log.conduct.books().map(|(_, book)| book.on(day)).sum()).collect();
        let mut own = vec![0_u64; days];
        for index in &who.nodes {
            if let Some(node) = log.nodes.get(*index) {
                take.profit += node.earned_msat as f64 - node.cost_msat as f64 - node.own_msat as f64;
            }
            let Some(book) = log.conduct.of(*index) else { continue };
            own.iter_mut().enumerate().for_each(|(day, sum)| *sum = sum.saturating_add(book.on(day)));
            take.disputed += book.disputed as f64;
            take.proofs += book.accused.values().sum::<u64>() as f64;
            take.rank = take.rank.max(f64::from(book.rank));
            take.first_word_seconds = match (take.first_word_seconds, book.first_word_seconds) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        for router in &who.routers {
            take.profit += log.accounts.routers.get(*router).copied().unwrap_or(0) as f64;
        }
        let share = |own: u64, all: u64| if all == 0 { 0.0 } else { own as f64 / all as f64 };
        take.share = share(own.iter().sum(), all.iter().sum());
        take.daily = own.iter().zip(&all).map(|(own, all)| share(*own, *all)).collect();
        let mut totals: Vec<u32> =
            log.jobs.iter().filter(|job| job.is_done()).map(|job| job.total_ms).collect();
        totals.sort_unstable();
        let at = totals.len().saturating_mul(95).div_ceil(100).saturating_sub(1);
        take.total_p95_ms = totals.get(at).copied().map_or(0.0, f64::from);
        take.jobs = log.jobs.len() as f64;
        take.failed = (log.jobs.len() - totals.len()) as f64;
        let found = &log.audits.found_seconds;
        take.found_seconds = who.nodes.iter().filter_map(|node| found.get(node)).min().copied();
        take.false_alarms = found.keys().filter(|node| !who.nodes.contains(node)).count() as f64;
        (take.audits_msat, take.canaries) = (log.audits.spent_msat as f64, log.audits.answered as f64);
        take.overpaid = log.conduct.books().map(|(_, book)| book.overpaid_msat).sum::<u64>() as f64;
        take
    }
}

/// One adversary against its honest twin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheatFinding {
    /// What it does.
    pub does: &'static str,
    /// What it hopes to gain.
    pub hopes: &'static str,
    /// What meets it.
    pub met_by: &'static str,
    /// Mean profit over the seeds, in msat.
    pub profit_msat: f64,
    /// Mean profit of the honest twin, in msat.
    pub honest_profit_msat: f64,
    /// 95 % interval of the profit.
    pub profit: Interval,
    /// 95 % interval of the twin's profit.
    pub honest_profit: Interval,
    /// Paired difference, cheat less twin.
    pub gain: Interval,
    /// Mean difference for a day, in msat.
    pub gain_msat_per_day: f64,
    /// Share of all jobs.
    pub share: f64,
    /// The twin's.
    pub honest_share: f64,
    /// Receipts that clients disputed, a run.
    pub disputed: f64,
    /// Proofs that routers found, a run.
    pub proofs: f64,
    /// Rank at the end, of 100.
    pub rank: f64,
    /// The twin's.
    pub honest_rank: f64,
    /// Hours until the first word against it; none when there never was one.
    pub first_word_hours: Option<f64>,
    /// Days until its share of a day's jobs was under half of the twin's for good; none when it never was.
    pub share_halved_days: Option<u64>,
    /// Jobs of all clients that ended without an answer, for ten thousand.
    pub failed_per_10k: f64,
    /// The same in the twin's world.
    pub honest_failed_per_10k: f64,
    /// Paid above the price of what was used, in msat a run.
    pub overpaid_msat: f64,
    /// 95th percentile of a job's total time, in milliseconds.
    pub total_p95_ms: f64,
    /// The same in the twin's world.
    pub honest_total_p95_ms: f64,
    /// In a word.
    pub verdict: CheatVerdict,
    /// The same where somebody audits the nodes; for those against whom audits are what is left.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audited: Vec<AuditedFinding>,
}

/// In a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheatVerdict {
    /// It earns less than its twin.
    Loses,
    /// A tie: the interval of the difference holds 0, it may be the luck of the seeds.
    Tie,
    /// It earns more.
    Gains,
}

impl CheatFinding {
    /// Sums up the runs of the seeds, in order of the seeds.
    #[must_use]
    pub fn of(adversary: &Adversary, cheats: &[Take], twins: &[Take], days: u64) -> Self {
        let of = |takes: &[Take], value: fn(&Take) -> f64| takes.iter().map(value).collect::<Vec<f64>>();
        let mean = |takes: &[Take], value: fn(&Take) -> f64| Interval::of(&of(takes, value)).mean;
        let profit = |take: &Take| take.profit;
        let gain = Interval::of_differences(&of(cheats, profit), &of(twins, profit));
        let (own, honest) = (Interval::of(&of(cheats, profit)), Interval::of(&of(twins, profit)));
        let failed = |take: &Take| if take.jobs > 0.0 { take.failed * 1e4 / take.jobs } else { 0.0 };
        let first = cheats.iter().filter_map(|take| take.first_word_seconds).min();
        Self {
            does: adversary.does,
            hopes: adversary.hopes,
            met_by: adversary.met_by,
            profit_msat: own.mean,
            honest_profit_msat: honest.mean,
            profit: own,
            honest_profit: honest,
            gain,
            gain_msat_per_day: significant(gain.mean / (days.max(1) as f64), 6),
            share: mean(cheats, |take| take.share),
            honest_share: mean(twins, |take| take.share),
            disputed: mean(cheats, |take| take.disputed),
            proofs: mean(cheats, |take| take.proofs),
            rank: mean(cheats, |take| take.rank),
            honest_rank: mean(twins, |take| take.rank),
            first_word_hours: first.map(|seconds| significant(seconds as f64 / 3_600.0, 3)),
            share_halved_days: halved(cheats, twins),
            failed_per_10k: mean(cheats, failed),
            honest_failed_per_10k: mean(twins, failed),
            overpaid_msat: mean(cheats, |take| take.overpaid),
            total_p95_ms: mean(cheats, |take| take.total_p95_ms),
            honest_total_p95_ms: mean(twins, |take| take.total_p95_ms),
            verdict: verdict(gain),
            audited: Vec::new(),
        }
    }
}

/// What the interval of the paired difference holds apart from 0, and nothing else. One seed has no interval: a
/// difference of one seed is a tie.
pub(super) fn verdict(gain: Interval) -> CheatVerdict {
    if gain.low >= gain.high {
        CheatVerdict::Tie
    } else if gain.low > 0.0 {
        CheatVerdict::Gains
    } else if gain.high < 0.0 {
        CheatVerdict::Loses
    } else {
        CheatVerdict::Tie
    }
}

/// The first day from which on the mean share is under half of the twin's, on every day.
fn halved(cheats: &[Take], twins: &[Take]) -> Option<u64> {
    let days = cheats.iter().chain(twins).map(|take| take.daily.len()).max().unwrap_or(0);
    let on = |takes: &[Take], day: usize| takes.iter().filter_map(|take| take.daily.get(day)).sum::<f64>();
    let under = |day: usize| on(cheats, day) < on(twins, day) / 2.0;
    let from = (0..days).rev().take_while(|day| under(*day)).last()?;
    u64::try_from(from).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_interval_apart_from_nothing_is_a_gain_or_a_loss() {
        let of = |differences: &[f64]| verdict(Interval::of(differences));
        assert_eq!(of(&[10.0, 11.0, 12.0]), CheatVerdict::Gains);
        assert_eq!(of(&[-10.0, -11.0, -12.0]), CheatVerdict::Loses);
        assert_eq!(of(&[10.0, -9.0, 30.0]), CheatVerdict::Tie, "it may be luck");
        assert_eq!(of(&[1e6]), CheatVerdict::Tie, "one seed has no interval");
        assert_eq!(of(&[0.0, 0.0]), CheatVerdict::Tie);
    }
}
