//! `run`: one market.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};

use super::progress::Progress;
use super::{Outcome, say};
use crate::churn::Churn;
use crate::hooks::Hooks;
use crate::market::budget::Budget;
use crate::market::pricing::Pricing;
use crate::report::market::MarketReport;
use crate::report::{Report, markdown};
use crate::run_log::RunLog;
use crate::scenario::{RouterSpec, Scenario, WorkloadKind};
use crate::world::World;

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Nodes, of hardware classes drawn from the seed.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    nodes: u16,
    /// Requests.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    requests: u32,
    /// Seed of everything: the same seed gives the same bytes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Requests a second; by default, what --load gives.
    #[arg(long, value_parser = rate, conflicts_with = "load")]
    rate: Option<f64>,
    /// Share of what all nodes can do that is asked of them.
    #[arg(long, default_value_t = 0.5, value_parser = share)]
    load: f64,
    /// Workload; `list` says what each is.
    #[arg(long, default_value = "poisson", value_parser = workloads())]
    workload: String,
    /// How parties speak: as typed values, or really signed and sealed (a hundred times slower).
    #[arg(long, value_enum, default_value = "typed")]
    wire: WireChoice,
    /// Routers; every node announces itself to all of them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    routers: u8,
    /// Routers that a client asks at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    ask: u8,
    /// Age of load announcements when they arrive, in seconds.
    #[arg(long, default_value_t = 0.0, value_parser = seconds)]
    info_age: f64,
    /// Draw faults from the seed, too.
    #[arg(long)]
    faults: bool,
    /// Nodes set their prices by this strategy, or `mixed`: by all in turn. Without it prices stay as they are.
    #[arg(long, value_parser = strategies())]
    pricing: Option<String>,
    /// What routers take of each job's price, in parts per million.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=500_000))]
    fee_ppm: u32,
    #[command(flatten)]
    churn: ChurnArgs,
    /// Write report.json and report.md into this directory.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print JSON (schema_version in it) instead of Markdown.
    #[arg(long)]
    json: bool,
}

/// Who comes and goes.
#[derive(Debug, Args)]
struct ChurnArgs {
    /// Mean time between two failures of a node, in seconds; 0 is never.
    #[arg(long, default_value_t = 0.0, value_parser = seconds)]
    mtbf: f64,
    /// Mean time until a failed node is back, in seconds.
    #[arg(long, default_value_t = 60.0, value_parser = seconds)]
    mttr: f64,
    /// Share of nodes that fail every minute for a few seconds.
    #[arg(long, default_value_t = 0.0, value_parser = part)]
    flapping: f64,
    /// Time that a node loads its model after each start, in seconds.
    #[arg(long, default_value_t = 0.0, value_parser = seconds)]
    model_load: f64,
    /// Mean time between two restarts of a router, in seconds; 0 is never.
    #[arg(long, default_value_t = 0.0, value_parser = seconds)]
    router_restart: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WireChoice {
    /// Typed values.
    Typed,
    /// Signed and sealed events.
    Sealed,
}

impl RunArgs {
    fn scenario(&self) -> Result<Scenario, Box<dyn core::error::Error>> {
        let kind = WorkloadKind::named(&self.workload).ok_or("no such workload")?;
        let (nodes, requests) = (usize::from(self.nodes), usize::try_from(self.requests)?);
        let mut market = match self.rate {
            Some(rate) => Scenario::market(kind, nodes, requests, rate, self.seed),
            None => Scenario::market_at_load(kind, nodes, requests, self.load, self.seed),
        };
        market.routers = vec![RouterSpec::default(); usize::from(self.routers)];
        market.routers_asked = usize::from(self.ask);
        market.info_age_ms = (self.info_age * 1e3) as u64;
        for router in &mut market.routers {
            router.fee.ppm = self.fee_ppm;
        }
        if self.pricing.is_some() {
            market.budget = Some(Budget::around(market.usual_price()));
        }
        let ChurnArgs { mtbf, mttr, flapping, model_load, router_restart } = self.churn;
        for node in &mut market.nodes {
            node.load_ms = (model_load * 1e3) as u64;
        }
        if self.faults {
            market = market.with_faults();
        }
        market = market.with_churn(&Churn {
            mtbf_seconds: mtbf,
            mttr_seconds: if mtbf > 0.0 { mttr } else { 0.0 },
            flapping_share: flapping,
            router_restart_seconds: router_restart,
        });
        Ok(if self.wire == WireChoice::Typed { market.typed() } else { market })
    }
}

/// Runs one market and writes its report.
pub(super) fn run(args: &RunArgs) -> Outcome {
    let requests = usize::try_from(args.requests)?;
    let progress = Progress::new();
    let pricing: Vec<Pricing> = args.pricing.as_ref().map_or_else(Vec::new, |name| {
        let nodes = 0..usize::from(args.nodes);
        nodes.map(|index| Pricing::named(name).unwrap_or_else(|| Pricing::mixed(index))).collect()
    });
    let prices = pricing.iter().map(|pricing| pricing.strategy()).enumerate().collect();
    let outcome = World::with(args.scenario()?, Hooks { prices, ..Hooks::default() })
        .run(&mut |log: &RunLog| progress.show(log.ended(), requests));
    progress.clear();
    let log = outcome.map_err(|violation| {
        let words: Vec<String> = std::env::args().skip(1).collect();
        format!("{violation}\nhint: replay it with `fedai-sim {}`", words.join(" "))
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

fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let is_within = (least..=most).contains(&number);
    if is_within { Ok(number) } else { Err(format!("between {least} and {most}")) }
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, 0.001, 10_000.0)
}

fn share(text: &str) -> Result<f64, String> {
    number(text, 0.001, 5.0)
}

fn part(text: &str) -> Result<f64, String> {
    number(text, 0.0, 1.0)
}

fn seconds(text: &str) -> Result<f64, String> {
    number(text, 0.0, 10_000_000.0)
}
