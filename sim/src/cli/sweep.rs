//! `sweep`: comparisons over a grid.

use std::path::PathBuf;

use clap::Args;

use super::compare::{Common, age, load, share, write};
use super::{Outcome, say};
use crate::comparison::sweep::Sweep;
use crate::workload::trace::Trace;

#[derive(Debug, Args)]
pub(super) struct SweepArgs {
    #[command(flatten)]
    common: Common,
    /// Numbers of nodes.
    #[arg(long, value_delimiter = ',', num_args = 1.., default_values_t = [40])]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=10_000))]
    nodes: Vec<u16>,
    /// Loads: offered work over the capacity of the fleet.
    #[arg(long, value_delimiter = ',', num_args = 1.., default_values_t = [0.75], value_parser = load)]
    load: Vec<f64>,
    /// Ages of announced load when routers hear of it, in seconds.
    #[arg(long, value_delimiter = ',', num_args = 1.., default_values_t = [10.0], value_parser = age)]
    info_age: Vec<f64>,
    /// Shares of nodes that lie.
    #[arg(long, value_delimiter = ',', num_args = 1.., default_values_t = [0.0], value_parser = share)]
    liars: Vec<f64>,
    /// Write sweep.json, sweep.md and plots into this directory, and the report of each point into one of its own.
    #[arg(long)]
    out: PathBuf,
    /// Print JSON instead of Markdown.
    #[arg(long)]
    json: bool,
}

/// Runs all points, one after the other; what is done is written before the next one begins.
pub(super) fn sweep(args: &SweepArgs) -> Outcome {
    let trace = Trace::read(&args.common.trace)?;
    let mut grid = Vec::new();
    for nodes in &args.nodes {
        for load in &args.load {
            for liars in &args.liars {
                grid.extend(args.info_age.iter().map(|age| (*nodes, *load, *age, *liars)));
            }
        }
    }
    let mut sweep = Sweep::new();
    for (at, (nodes, load, age, liars)) in grid.iter().copied().enumerate() {
        eprintln!(
            "point {} of {}: {nodes} nodes, load {load}, age {age} s, liars {liars}",
            at + 1,
            grid.len()
        );
        let experiment = args.common.experiment(trace.clone(), nodes, load, age, liars)?;
        let comparison = args.common.run(&experiment, "")?;
        let folder = args.out.join(sweep.add(&comparison));
        write(&folder, &comparison, Some(&comparison.to_json()?))?;
        files(args, &sweep).map_err(|error| format!("{} cannot be written: {error}", args.out.display()))?;
    }
    say(&if args.json { sweep.to_json()? } else { sweep.page() })
}

fn files(args: &SweepArgs, sweep: &Sweep) -> std::io::Result<()> {
    std::fs::create_dir_all(&args.out)?;
    std::fs::write(args.out.join("sweep.json"), sweep.to_json()?)?;
    std::fs::write(args.out.join("sweep.md"), sweep.page())?;
    for (name, picture) in sweep.plots() {
        std::fs::write(args.out.join(name), picture)?;
    }
    Ok(())
}
