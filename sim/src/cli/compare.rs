//! `compare`: policies on the same fleets and the same recorded work.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use clap::Args;
use clap::builder::PossibleValuesParser;
use fedai_protocol::quote_request::Mode;

use super::progress::Progress;
use super::{Outcome, say};
use crate::comparison::experiment::Draw;
use crate::comparison::{Comparison, Contender, Experiment, markdown, plots, run, summary};
use crate::workload::trace::Trace;

/// What every run of an experiment has in common.
#[derive(Clone, Debug, Args)]
pub(super) struct Common {
    /// A recorded trace: a table with the head TIMESTAMP,ContextTokens,GeneratedTokens, or lines of objects with
    /// timestamp (ms), input_length, output_length and hash_ids.
    #[arg(long)]
    pub(super) trace: PathBuf,
    /// Seeds: each is one draw of fleet, liars and stretch of the trace, the same for every policy.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub(super) seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    pub(super) first_seed: u64,
    /// Policies, first the one that matters most; `list` says what each is.
    #[arg(long, value_delimiter = ',', num_args = 1.., default_values = ALL)]
    #[arg(value_parser = PossibleValuesParser::new(ALL))]
    pub(super) policies: Vec<String>,
    /// Requests of each run: consecutive ones of the trace, from a place that the seed draws; the first fifth is not
    /// counted.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(10..=10_000_000))]
    pub(super) requests: u32,
    /// Routers; each client asks one of them.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub(super) routers: u16,
    /// What clients value.
    #[arg(long, default_value = "balanced", value_parser = PossibleValuesParser::new(MODES))]
    pub(super) mode: String,
    /// Seconds after which a client has left.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) deadline: u64,
    /// Runs at the same time; the output does not depend on it.
    #[arg(long, default_value_t = NonZeroUsize::MIN)]
    pub(super) jobs: NonZeroUsize,
}

#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    #[command(flatten)]
    common: Common,
    /// Nodes, of hardware classes drawn from the seed.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    nodes: u16,
    /// Offered work over the capacity of the fleet.
    #[arg(long, default_value_t = 0.75, value_parser = load)]
    load: f64,
    /// Age of announced load when routers hear of it, in seconds.
    #[arg(long, default_value_t = 10.0, value_parser = age)]
    info_age: f64,
    /// Share of nodes that claim three times the slots, twice the speed and no load.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    liars: f64,
    /// Write report.json, report.md and plots into this directory.
    #[arg(long)]
    out: PathBuf,
    /// Print JSON (docs/schema/sim-compare.json) instead of Markdown.
    #[arg(long)]
    json: bool,
}

/// Names of all policies.
const ALL: [&str; 9] =
    ["fedai", "jsq", "p2c", "least-load", "litellm", "fedai-ts", "round-robin", "random", "cheapest"];
const MODES: [&str; 3] = ["cheapest", "fastest", "balanced"];

/// Compares, writes, prints.
pub(super) fn compare(args: &CompareArgs) -> Outcome {
    let trace = Trace::read(&args.common.trace)?;
    let experiment = args.common.experiment(trace, args.nodes, args.load, args.info_age, args.liars)?;
    let comparison = args.common.run(&experiment, "")?;
    let (json, page) = (comparison.to_json()?, markdown::page(&comparison));
    write(&args.out, &comparison, Some(&json))?;
    say(if args.json { &json } else { &page })
}

impl Common {
    pub(super) fn experiment(
        &self,
        trace: Trace,
        nodes: u16,
        load: f64,
        info_age: f64,
        liars: f64,
    ) -> Result<Experiment, Box<dyn core::error::Error>> {
        Ok(Experiment {
            trace,
            nodes: usize::from(nodes),
            routers: usize::from(self.routers),
            load,
            info_age_seconds: info_age,
            liars,
            requests: usize::try_from(self.requests)?,
            mode: self.mode.parse::<Mode>().map_err(|_| "no such mode")?,
            deadline_seconds: self.deadline,
        })
    }

    /// Runs an experiment with progress on stderr.
    pub(super) fn run(
        &self,
        experiment: &Experiment,
        what: &str,
    ) -> Result<Comparison, Box<dyn core::error::Error>> {
        let seeds = self.first_seed..self.first_seed.saturating_add(self.seeds);
        let draws: Vec<Draw> = seeds.map(|seed| experiment.draw(seed)).collect();
        let mut contenders: Vec<Contender> =
            self.policies.iter().filter_map(|name| Contender::named(name)).collect();
        let mut seen = Vec::new();
        contenders.retain(|contender| {
            !seen.contains(contender) && {
                seen.push(*contender);
                true
            }
        });
        let (progress, of) = (Mutex::new(Progress::new()), draws.len().saturating_mul(contenders.len()));
        let shown = |done: usize| {
            if let Ok(progress) = progress.lock() {
                progress.show(done, of);
            }
        };
        let results = run::run_all(experiment, &draws, &contenders, self.jobs, &shown);
        if let Ok(progress) = progress.lock() {
            progress.clear();
        }
        let results = results.map_err(|violation| format!("{violation}{what}"))?;
        Ok(summary::comparison(experiment, &draws, &contenders, &results))
    }
}

/// Writes page and plots, and the report itself where it is new.
pub(super) fn write(folder: &Path, comparison: &Comparison, json: Option<&str>) -> Outcome {
    let files = || -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        if let Some(json) = json {
            std::fs::write(folder.join("report.json"), json)?;
        }
        std::fs::write(folder.join("report.md"), markdown::page(comparison))?;
        for (name, picture) in plots::all(comparison) {
            std::fs::write(folder.join(name), picture)?;
        }
        Ok(())
    };
    files().map_err(|error| format!("{} cannot be written: {error}", folder.display()).into())
}

fn number(text: &str, low: f64, high: f64) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (low..=high).contains(&value) { Ok(value) } else { Err(format!("between {low} and {high}")) }
}

pub(super) fn load(text: &str) -> Result<f64, String> {
    number(text, 0.01, 5.0)
}

pub(super) fn age(text: &str) -> Result<f64, String> {
    number(text, 0.5, 600.0)
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    number(text, 0.0, 1.0)
}
