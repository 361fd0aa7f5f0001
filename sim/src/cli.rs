//! Commands of the simulator: data on stdout, everything else on stderr; 0 when all invariants held, 1 when one did not
//! or a file could not be written, 2 for a command that makes no sense.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::faults::FAULTS;
use crate::invariants::INVARIANTS;
use crate::report::{Report, markdown};
use crate::run_log::RunLog;
use crate::scenario::{Scenario, WorkloadKind};
use crate::swarm::{SwarmSums, run_seed};
use crate::world::World;

/// Simulates a fed_AI network: the production router, node and client on virtual time.
#[derive(Debug, Parser)]
#[command(name = "fedai-sim", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one market and report on it.
    Run(RunArgs),
    /// Run many small worlds with faults, and stop at the first broken invariant.
    Swarm {
        /// Worlds.
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// Seed of the first one.
        #[arg(long, default_value_t = 0)]
        first_seed: u64,
    },
    /// List workloads, faults and invariants.
    List,
}

#[derive(Debug, Parser)]
struct RunArgs {
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
    /// Workload.
    #[arg(long, value_enum, default_value = "poisson")]
    workload: Workload,
    /// Draw faults from the seed, too.
    #[arg(long)]
    faults: bool,
    /// Write report.json and report.md into this directory.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print JSON (schema_version in it) instead of Markdown.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Workload {
    /// Independent requests with exponential gaps.
    Poisson,
    /// Conversations of a few turns.
    Sessions,
}

/// Runs a command.
#[must_use]
pub fn execute(cli: &Cli) -> ExitCode {
    let result = match &cli.command {
        Command::Run(args) => run(args),
        Command::Swarm { seeds, first_seed } => swarm(*first_seed, *seeds),
        Command::List => list(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

type Outcome = Result<(), Box<dyn core::error::Error>>;

fn run(args: &RunArgs) -> Outcome {
    let kind = match args.workload {
        Workload::Poisson => WorkloadKind::Poisson,
        Workload::Sessions => WorkloadKind::Sessions,
    };
    let (nodes, requests) = (usize::from(args.nodes), usize::try_from(args.requests)?);
    let market = Scenario::market(kind, nodes, requests, args.rate, args.seed);
    let scenario = if args.faults { market.with_faults() } else { market };
    let progress = Progress::new();
    let outcome = World::new(scenario).run(&mut |log: &RunLog| progress.show(log.ended(), requests));
    progress.clear();
    let log = outcome.map_err(|violation| {
        let (RunArgs { nodes, requests, seed, rate, .. }, workload) = (args, args.workload);
        let faults = if args.faults { " --faults" } else { "" };
        let workload = format!("{workload:?}").to_lowercase();
        format!(
            "{violation}\nhint: replay it with `fedai-sim run --nodes {nodes} --requests {requests} --seed {seed} \
             --rate {rate} --workload {workload}{faults}`"
        )
    })?;
    let report = Report::new(&log);
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

fn swarm(first: u64, seeds: u64) -> Outcome {
    let (mut sums, progress) = (SwarmSums::default(), Progress::new());
    for seed in first..first.saturating_add(seeds) {
        let log = run_seed(seed).inspect_err(|_| progress.clear())?;
        sums.add(&log);
        progress.show(usize::try_from(seed.saturating_sub(first))?, usize::try_from(seeds)?);
    }
    progress.clear();
    say(&format!("{sums}\n"))
}

fn list() -> Outcome {
    let mut text = String::from("workloads\n  poisson   independent requests with exponential gaps\n");
    text.push_str("  sessions  conversations of a few turns that carry what was said\n");
    for (title, entries) in [("faults", FAULTS.as_slice()), ("invariants", INVARIANTS.as_slice())] {
        text.push_str(&format!("\n{title}\n"));
        for (name, meaning) in entries {
            text.push_str(&format!("  {name:<21} {meaning}\n"));
        }
    }
    say(&text)
}

/// A closed pipe is not our failure.
fn say(text: &str) -> Outcome {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.001..=10_000.0).contains(&rate) { Ok(rate) } else { Err("between 0.001 and 10000".to_owned()) }
}

/// One line on a terminal, nothing elsewhere.
struct Progress {
    is_shown: bool,
}

impl Progress {
    fn new() -> Self {
        Self { is_shown: std::io::stderr().is_terminal() }
    }

    fn show(&self, done: usize, of: usize) {
        let step = (of / 200).max(1);
        if self.is_shown && done.is_multiple_of(step) {
            eprint!("\r{done} of {of} ");
        }
    }

    fn clear(&self) {
        if self.is_shown {
            eprint!("\r\x1b[K");
        }
    }
}
