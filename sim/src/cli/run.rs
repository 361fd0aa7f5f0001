//! `run`: one market.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::progress::Progress;
use super::{Outcome, say};
use crate::hooks::Hooks;
use crate::market::budget::Budget;
use crate::market::pricing::Pricing;
use crate::report::market::MarketReport;
use crate::report::{Report, markdown};
use crate::run_log::RunLog;
use crate::scenario::{Scenario, WorkloadKind};
use crate::world::World;

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Nodes, of hardware classes drawn from the seed.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=5_000))]
    nodes: u16,
    /// Requests.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    requests: u32,
    /// Seed of everything: the same seed gives the same bytes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Requests a second.
    #[arg(long, default_value_t = 2.0, value_parser = rate)]
    rate: f64,
    /// Workload; `list` says what each is.
    #[arg(long, default_value = "poisson", value_parser = workloads())]
    workload: String,
    /// Draw faults from the seed, too.
    #[arg(long)]
    faults: bool,
    /// Nodes set their prices by this strategy, or `mixed`: by all in turn. Without it prices stay as they are.
    #[arg(long, value_parser = strategies())]
    pricing: Option<String>,
    /// What routers take of each job's price, in parts per million.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=500_000))]
    fee_ppm: u32,
    /// Write report.json and report.md into this directory.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print JSON (schema_version in it) instead of Markdown.
    #[arg(long)]
    json: bool,
}

/// Runs one market and writes its report.
pub(super) fn run(args: &RunArgs) -> Outcome {
    let kind = WorkloadKind::named(&args.workload).ok_or("no such workload")?;
    let (nodes, requests) = (usize::from(args.nodes), usize::try_from(args.requests)?);
    let market = Scenario::market(kind, nodes, requests, args.rate, args.seed);
    let mut scenario = if args.faults { market.with_faults() } else { market };
    for router in &mut scenario.routers {
        router.fee.ppm = args.fee_ppm;
    }
    if args.pricing.is_some() {
        scenario.budget = Some(Budget::around(scenario.usual_price()));
    }
    let progress = Progress::new();
    let pricing: Vec<Pricing> = args.pricing.as_ref().map_or_else(Vec::new, |name| {
        (0..nodes).map(|index| Pricing::named(name).unwrap_or_else(|| Pricing::mixed(index))).collect()
    });
    let prices = pricing.iter().map(|pricing| pricing.strategy()).enumerate().collect();
    let outcome = World::with(scenario, Hooks { prices, ..Hooks::default() })
        .run(&mut |log: &RunLog| progress.show(log.ended(), requests));
    progress.clear();
    let log = outcome.map_err(|violation| {
        let RunArgs { nodes, requests, seed, rate, workload, .. } = args;
        let faults = if args.faults { " --faults" } else { "" };
        let pricing = args.pricing.as_ref().map_or(String::new(), |name| format!(" --pricing {name}"));
        let fee = if args.fee_ppm > 0 { format!(" --fee-ppm {}", args.fee_ppm) } else { String::new() };
        format!(
            "{violation}\nhint: replay it with `fedai-sim run --nodes {nodes} --requests {requests} --seed {seed} \
             --rate {rate} --workload {workload}{faults}{pricing}{fee}`"
        )
    })?;
    let mut report = Report::new(&log);
    report.market = args.pricing.is_some().then(|| MarketReport::new(&log, &pricing));
    let (json, page) = (report.to_json()?, markdown::page(&report));
    if let Some(folder) = &args.out {
        write(folder, &json, &page)
            .map_err(|error| format!("{} cannot be written: {error}", folder.display()))?;
    }
    say(if args.json { &json } else { &page })
}

fn write(folder: &Path, json: &str, page: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("report.json"), json)?;
    std::fs::write(folder.join("report.md"), page)
}

fn strategies() -> PossibleValuesParser {
    PossibleValuesParser::new(Pricing::ALL.map(Pricing::as_str).into_iter().chain(["mixed"]))
}

fn workloads() -> PossibleValuesParser {
    PossibleValuesParser::new(WorkloadKind::NAMES.map(|(name, _)| name))
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.001..=10_000.0).contains(&rate) { Ok(rate) } else { Err("between 0.001 and 10000".to_owned()) }
}
