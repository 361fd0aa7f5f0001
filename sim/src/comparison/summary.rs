//! From the measures of all runs to the report.

use std::collections::BTreeMap;

use super::contender::Contender;
use super::experiment::{Draw, Experiment};
use super::measures::Measures;
use super::report::{
    Comparison, Differences, DrawnNode, Draws, PlotData, PolicyReport, QuantileIntervals, Ratios,
    SCHEMA_VERSION, SeedReport, Setting,
};
use super::run::Results;
use crate::statistics::fine_histogram::FineHistogram;
use crate::statistics::{Interval, significant};

/// Sums an experiment up.
#[must_use]
pub fn comparison(
    experiment: &Experiment,
    draws: &[Draw],
    contenders: &[Contender],
    results: &Results,
) -> Comparison {
    let of = |wanted: Contender| {
        contenders.iter().position(|contender| *contender == wanted).and_then(|at| results.get(at))
    };
    let (fedai, jsq) = (of(Contender::Fedai), of(Contender::Jsq));
    let mut policies = BTreeMap::new();
    for (contender, measures) in contenders.iter().zip(results) {
        let mut report = policy(draws, measures);
        report.less_fedai = fedai.filter(|_| *contender != Contender::Fedai).map(|them| less(measures, them));
        report.over_jsq = jsq.filter(|_| *contender != Contender::Jsq).map(|them| over(measures, them));
        policies.insert(contender.name().to_owned(), report);
    }
    Comparison {
        schema_version: SCHEMA_VERSION,
        setting: setting(experiment, draws),
        draws: drawn(draws),
        order: contenders.iter().map(|contender| contender.name().to_owned()).collect(),
        policies,
    }
}

fn setting(experiment: &Experiment, draws: &[Draw]) -> Setting {
    Setting {
        trace: experiment.trace.name.clone(),
        nodes: experiment.nodes,
        routers: experiment.routers,
        load: experiment.load,
        info_age_seconds: experiment.info_age_seconds,
        liars: experiment.liars,
        requests: experiment.requests,
        warm_up: experiment.warm_up(),
        mode: format!("{:?}", experiment.mode).to_lowercase(),
        deadline_seconds: experiment.deadline_seconds,
        seeds: draws.iter().map(|draw| draw.scenario.seed).collect(),
    }
}

fn drawn(draws: &[Draw]) -> Draws {
    let interval = |value: fn(&Draw) -> f64| Interval::of(&draws.iter().map(value).collect::<Vec<f64>>());
    let first = draws.first();
    let node = |at: &usize| {
        let draw = first?;
        Some(DrawnNode {
            class: draw.scenario.nodes.get(*at)?.class.to_owned(),
            capacity_per_second: significant(draw.capacities.get(*at).copied()?, 6),
            lies: draw.liars.contains(at),
        })
    };
    Draws {
        capacity_per_second: interval(|draw| draw.capacities.iter().sum()),
        offered_per_second: interval(|draw| draw.rate),
        capacity_spread: interval(Draw::spread),
        first_seed_nodes: first.map(Draw::by_capacity).unwrap_or_default().iter().filter_map(node).collect(),
    }
}

fn values(measures: &[Measures], value: impl Fn(&Measures) -> f64) -> Vec<f64> {
    measures.iter().map(value).collect()
}

fn policy(draws: &[Draw], measures: &[Measures]) -> PolicyReport {
    let interval = |value: fn(&Measures) -> f64| Interval::of(&values(measures, value));
    let by_seed = draws.iter().zip(measures).map(|(draw, measured)| SeedReport {
        seed: draw.scenario.seed,
        ttft_p95_ms: measured.ttft_ms.p95,
        total_p95_ms: measured.total_ms.p95,
        drop_rate: significant(measured.drop_rate, 6),
        cost_msat_per_request: significant(measured.cost_msat, 6),
        jain: significant(measured.jain, 6),
    });
    PolicyReport {
        ttft_ms: QuantileIntervals {
            p50: interval(|m| m.ttft_ms.p50),
            p95: interval(|m| m.ttft_ms.p95),
            p99: interval(|m| m.ttft_ms.p99),
        },
        total_ms: QuantileIntervals {
            p50: interval(|m| m.total_ms.p50),
            p95: interval(|m| m.total_ms.p95),
            p99: interval(|m| m.total_ms.p99),
        },
        drop_rate: interval(|m| m.drop_rate),
        cost_msat_per_request: interval(|m| m.cost_msat),
        jain: interval(|m| m.jain),
        utilisation: interval(|m| m.utilisation),
        attempts_per_request: interval(|m| m.attempts),
        less_fedai: None,
        over_jsq: None,
        by_seed: by_seed.collect(),
        plots: plot_data(draws, measures),
    }
}

fn less(ours: &[Measures], theirs: &[Measures]) -> Differences {
    let pair =
        |value: fn(&Measures) -> f64| Interval::of_differences(&values(ours, value), &values(theirs, value));
    Differences {
        ttft_p95_ms: pair(|m| m.ttft_ms.p95),
        total_p95_ms: pair(|m| m.total_ms.p95),
        drop_rate: pair(|m| m.drop_rate),
        cost_msat_per_request: pair(|m| m.cost_msat),
    }
}

fn over(ours: &[Measures], theirs: &[Measures]) -> Ratios {
    let pair = |value: fn(&Measures) -> f64| {
        let ratios = ours.iter().zip(theirs).map(|(a, b)| value(a) / value(b).max(1.0));
        Interval::of(&ratios.collect::<Vec<f64>>())
    };
    Ratios { ttft_p95: pair(|m| m.ttft_ms.p95), total_p95: pair(|m| m.total_ms.p95) }
}

fn plot_data(draws: &[Draw], measures: &[Measures]) -> PlotData {
    let merged = |histogram: fn(&Measures) -> &FineHistogram| {
        let mut all = FineHistogram::default();
        measures.iter().for_each(|measured| all.merge(histogram(measured)));
        let steps = (0..=98_u32).map(|percent| percent * 10).chain(981..=1_000);
        steps
            .filter_map(|permille| Some((permille, significant(all.quantile(u64::from(permille))?, 4))))
            .collect()
    };
    let (Some(first), Some(draw)) = (measures.first(), draws.first()) else { return PlotData::default() };
    let (step, levels) = &first.under_way;
    let by_node = draw.by_capacity();
    PlotData {
        ttft_ms: merged(|m| &m.ttft),
        total_ms: merged(|m| &m.total),
        under_way: (0_u32..)
            .zip(levels)
            .map(|(at, level)| (significant(step * f64::from(at), 5), *level))
            .collect(),
        by_node: by_node.iter().filter_map(|at| Some(significant(*first.by_node.get(*at)?, 4))).collect(),
    }
}
