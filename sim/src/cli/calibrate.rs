//! `calibrate` and `replay`: a runner's numbers from measurements, and how well they do.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Outcome, say};
use crate::calibration::accuracy::Accuracy;
use crate::calibration::observation::Observations;
use crate::calibration::perf_model::fit_table;
use crate::calibration::profile_file::CalibratedRunner;
use crate::calibration::replay::replay;
use crate::calibration::report::{CalibrationReport, accuracy_table, machines_page};

#[derive(Debug, Args)]
pub(super) struct CalibrateArgs {
    /// Requests that `observe` recorded: fits on every second run (or the earlier half), checks on the rest.
    #[arg(long, required_unless_present = "perf_model", conflicts_with = "perf_model")]
    observed: Option<PathBuf>,
    /// Table of measured times in the form of Splitwise's perf_model.csv: fits each machine in it.
    #[arg(long)]
    perf_model: Option<PathBuf>,
    /// Write report.json, report.md and what goes with them into this directory.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// Requests that `observe` recorded.
    #[arg(long)]
    observed: PathBuf,
    /// Numbers that `calibrate` wrote.
    #[arg(long)]
    profile: PathBuf,
    /// Print JSON instead of Markdown.
    #[arg(long)]
    json: bool,
}

/// Fits a runner.
pub(super) fn calibrate(args: &CalibrateArgs) -> Outcome {
    let (page, files) = match (&args.observed, &args.perf_model) {
        (Some(path), _) => of_observations(path)?,
        (None, Some(path)) => of_table(path)?,
        (None, None) => return Err("nothing to calibrate on".into()),
    };
    if let Some(folder) = &args.out {
        let write = || {
            std::fs::create_dir_all(folder)?;
            std::fs::write(folder.join("report.md"), &page)?;
            files.iter().try_for_each(|(name, text)| std::fs::write(folder.join(name), text))
        };
        write().map_err(|error| format!("{} cannot be written: {error}", folder.display()))?;
    }
    say(&page)
}

/// Replays recorded requests.
pub(super) fn replay_observed(args: &ReplayArgs) -> Outcome {
    let observations = observations(&args.observed)?;
    let profile = CalibratedRunner::parse(&read(&args.profile)?)
        .map_err(|error| format!("{}: {error}", args.profile.display()))?;
    let replayed = replay(&profile, &observations);
    let pairs: Vec<_> = observations.requests.iter().zip(replayed).collect();
    let accuracy = Accuracy::of(&pairs).ok_or("no request of the file could be replayed")?;
    if args.json {
        return say(&format!("{}\n", serde_json::to_string_pretty(&accuracy)?));
    }
    say(&accuracy_table("Replayed", &accuracy))
}

/// The page, and the other files by name.
type Report = (String, Vec<(&'static str, String)>);

fn of_observations(path: &Path) -> Result<Report, Box<dyn core::error::Error>> {
    let report = CalibrationReport::new(&observations(path)?)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let json = |text: String| format!("{text}\n");
    let mut files = vec![
        ("report.json", json(serde_json::to_string_pretty(&report)?)),
        ("profile.json", json(serde_json::to_string_pretty(&report.profile)?)),
    ];
    files.extend(report.plots());
    Ok((report.page(), files))
}

fn of_table(path: &Path) -> Result<Report, Box<dyn core::error::Error>> {
    let fits = fit_table(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))?;
    let report = serde_json::json!({"schema_version": 1, "machines": fits});
    Ok((machines_page(&fits), vec![("report.json", format!("{}\n", serde_json::to_string_pretty(&report)?))]))
}

fn observations(path: &Path) -> Result<Observations, String> {
    Observations::parse(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}
