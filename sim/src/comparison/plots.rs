//! The pictures of a comparison, by file name.

use super::report::{Comparison, PolicyReport};
use crate::report::plot::{Axis, Bar, BarChart, LineChart, Mark, Scale, Series};
use crate::statistics::Interval;

/// Draws all of them.
#[must_use]
pub fn all(comparison: &Comparison) -> Vec<(&'static str, String)> {
    let setting = &comparison.setting;
    let (load, liars) = (setting.load * 100.0, setting.liars * 100.0);
    let place = format!("{load:.0} % load, load {:.0} s old, {liars:.0} % liars", setting.info_age_seconds);
    let bars = |title: &str, axis: Axis, value: fn(&PolicyReport) -> Interval| {
        let bars = policies(comparison).map(|(style, name, report)| Bar {
            name: name.to_owned(),
            style,
            value: value(report),
        });
        BarChart { title: format!("{title} ({place})"), axis, bars: bars.collect() }.to_svg()
    };
    let lines = |title: &str, x: Axis, y: Axis, mark: Mark, points: fn(&PolicyReport) -> Vec<(f64, f64)>| {
        let series = policies(comparison).map(|(style, name, report)| Series {
            name: name.to_owned(),
            style,
            points: points(report),
        });
        LineChart { title: format!("{title} ({place})"), x, y, mark, series: series.collect() }.to_svg()
    };
    let seconds = |label: &str| Axis::new(format!("{label}, s"), Scale::Log);
    let part = || Axis::share("share of requests that end sooner");
    let p95 = |label: &str| {
        Axis::new(format!("95th percentile of the {label}, ms, with 95 % interval"), Scale::Linear)
    };
    let mut plots = vec![
        (
            "ttft.svg",
            lines("Time to first token", seconds("time to first token"), part(), Mark::Line, |report| {
                distribution(&report.plots.ttft_ms)
            }),
        ),
        (
            "total.svg",
            lines("Total time", seconds("total time"), part(), Mark::Line, |report| {
                distribution(&report.plots.total_ms)
            }),
        ),
        ("ttft_p95.svg", bars("Slow first tokens", p95("time to first token"), |report| report.ttft_ms.p95)),
        ("total_p95.svg", bars("Slow requests", p95("total time"), |report| report.total_ms.p95)),
        (
            "cost.svg",
            bars("Cost", Axis::new("msat for a request, with 95 % interval", Scale::Linear), |report| {
                report.cost_msat_per_request
            }),
        ),
        (
            "drops.svg",
            bars(
                "Drops",
                Axis::new("share of requests dropped, with 95 % interval", Scale::Linear),
                |report| report.drop_rate,
            ),
        ),
    ];
    plots.extend(of_first_seed(comparison, &place));
    plots
}

/// What is only shown of one seed.
fn of_first_seed(comparison: &Comparison, place: &str) -> [(&'static str, String); 2] {
    let lines = |title: &str, x: Axis, y: Axis, mark: Mark, points: fn(&PolicyReport) -> Vec<(f64, f64)>| {
        let series = policies(comparison).map(|(style, name, report)| Series {
            name: name.to_owned(),
            style,
            points: points(report),
        });
        LineChart { title: format!("{title} ({place})"), x, y, mark, series: series.collect() }.to_svg()
    };
    [
        (
            "under_way.svg",
            lines(
                "Requests under way, first seed",
                Axis::new("time since the first request, s", Scale::Linear),
                Axis::new("requests under way", Scale::Linear),
                Mark::Line,
                |report| report.plots.under_way.iter().map(|(at, level)| (*at, f64::from(*level))).collect(),
            ),
        ),
        (
            "share.svg",
            lines(
                "Share by node, first seed",
                Axis::new("node, from the least capable to the most", Scale::Linear),
                Axis::share("share of its slot time used"),
                Mark::DottedLine,
                |report| (1_u32..).map(f64::from).zip(report.plots.by_node.iter().copied()).collect(),
            ),
        ),
    ]
}

/// Policies in their order, each with the style that it always has.
fn policies(comparison: &Comparison) -> impl Iterator<Item = (usize, &str, &PolicyReport)> {
    comparison
        .order
        .iter()
        .enumerate()
        .filter_map(|(style, name)| Some((style, name.as_str(), comparison.policies.get(name)?)))
}

fn distribution(points: &[(u32, f64)]) -> Vec<(f64, f64)> {
    points.iter().map(|(permille, ms)| (ms / 1e3, f64::from(*permille) / 1e3)).collect()
}
