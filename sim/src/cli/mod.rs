//! Commands of the simulator: data on stdout, everything else on stderr; 0 when all invariants held, 1 when one did not
//! or a file could not be written, 2 for a command that makes no sense.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod adversaries;
mod calibrate;
mod compare;
mod list;
mod observe;
mod progress;
mod report;
mod run;
mod swarm;
mod sweep;

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
    Run(run::RunArgs),
    /// Run many small worlds with faults, and stop at the first broken invariant.
    Swarm(swarm::SwarmArgs),
    /// Find the smallest part of a failing world of the swarm that still fails.
    Shrink(swarm::ShrinkArgs),
    /// Put load on a real server with the OpenAI interface and record what comes.
    Observe(observe::ObserveArgs),
    /// Fit a runner's numbers to measurements, and check them on measurements that were not fitted.
    Calibrate(calibrate::CalibrateArgs),
    /// Replay recorded requests on a fitted runner and compare the times.
    Replay(calibrate::ReplayArgs),
    /// Weigh each kind of cheat against its honest twin, in the same worlds.
    Adversaries(adversaries::AdversariesArgs),
    /// Compare policies on the same fleets and the same recorded work.
    Compare(compare::CompareArgs),
    /// Compare over a grid of nodes, load, age of information and liars.
    Sweep(sweep::SweepArgs),
    /// Make page and plots of a comparison again out of its report.json.
    Report(report::ReportArgs),
    /// List policies, workloads, hardware, faults and invariants.
    List(list::ListArgs),
}

/// Runs a command.
#[must_use]
pub fn execute(cli: &Cli) -> ExitCode {
    let result = match &cli.command {
        Command::Run(args) => run::run(args),
        Command::Swarm(args) => swarm::swarm(args),
        Command::Shrink(args) => swarm::shrink_seed(args),
        Command::Observe(args) => observe::observe(args),
        Command::Calibrate(args) => calibrate::calibrate(args),
        Command::Replay(args) => calibrate::replay_observed(args),
        Command::Adversaries(args) => adversaries::adversaries(args),
        Command::Compare(args) => compare::compare(args),
        Command::Sweep(args) => sweep::sweep(args),
        Command::Report(args) => report::report(args),
        Command::List(args) => list::list(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a command ends with.
type Outcome = Result<(), Box<dyn core::error::Error>>;

/// A closed pipe is not our failure.
fn say(text: &str) -> Outcome {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
