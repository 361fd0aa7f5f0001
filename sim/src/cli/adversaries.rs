//! `adversaries`: each kind of cheat against its honest twin.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::progress::Progress;
use super::{Outcome, say};
use crate::adversaries::experiment::{Experiment, Findings};
use crate::adversaries::{ADVERSARIES, named, page};

#[derive(Debug, Args)]
pub(super) struct AdversariesArgs {
    /// Simulated days of each run.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=365))]
    days: u64,
    /// Seeds, from 1 on: each gives other hardware, prices and customers.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: u64,
    /// Nodes.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(2..=200))]
    nodes: u16,
    /// Only these, separated by commas.
    #[arg(long, value_delimiter = ',', num_args = 1.., value_parser = names())]
    only: Vec<String>,
    /// Threads; the report is the same with any number.
    #[arg(long, default_value_t = threads(), value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Write report.json, report.md and profits.svg into this directory.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print JSON (schema_version in it) instead of Markdown.
    #[arg(long)]
    json: bool,
}

/// Runs them and writes the report.
pub(super) fn adversaries(args: &AdversariesArgs) -> Outcome {
    let chosen = args.only.iter().filter_map(|name| named(name));
    let chosen: Vec<_> = if args.only.is_empty() { ADVERSARIES.iter().collect() } else { chosen.collect() };
    let experiment = Experiment {
        adversaries: chosen,
        days: args.days,
        seeds: args.seeds,
        nodes: usize::from(args.nodes),
        jobs: None,
        threads: usize::from(args.threads),
    };
    let progress = Progress::new();
    let outcome = experiment.run(&|done, of| progress.show(done, of));
    progress.clear();
    let findings = outcome?;
    let json = format!("{}\n", serde_json::to_string_pretty(&findings)?);
    let text = page::page(&findings);
    if let Some(folder) = &args.out {
        write(folder, &json, &text, &findings)
            .map_err(|error| format!("{} cannot be written: {error}", folder.display()))?;
    }
    say(if args.json { &json } else { &text })
}

fn write(folder: &Path, json: &str, text: &str, findings: &Findings) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("report.json"), json)?;
    std::fs::write(folder.join("report.md"), text)?;
    std::fs::write(folder.join("profits.svg"), page::plot(findings))
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(ADVERSARIES.iter().map(|adversary| adversary.name))
}

fn threads() -> u16 {
    let there = std::thread::available_parallelism().map_or(1, core::num::NonZero::get);
    u16::try_from(there).unwrap_or(1).clamp(1, 16)
}
