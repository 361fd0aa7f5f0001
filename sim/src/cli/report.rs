//! `report`: page and plots of a comparison again, out of its `report.json`.

use std::path::PathBuf;

use clap::Args;

use super::compare::write;
use super::{Outcome, say};
use crate::comparison::report::SCHEMA_VERSION;
use crate::comparison::{Comparison, markdown};

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Directory with the report.json of a comparison.
    folder: PathBuf,
}

/// Reads the report and writes the rest.
pub(super) fn report(args: &ReportArgs) -> Outcome {
    let file = args.folder.join("report.json");
    let text = std::fs::read_to_string(&file)
        .map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    let comparison: Comparison = serde_json::from_str(&text)
        .map_err(|error| format!("{} is no report of `fedai-sim compare`: {error}", file.display()))?;
    if comparison.schema_version != SCHEMA_VERSION {
        let found = comparison.schema_version;
        return Err(format!(
            "{} has schema version {found}, and this program knows {SCHEMA_VERSION}: run `fedai-sim compare` again",
            file.display()
        )
        .into());
    }
    write(&args.folder, &comparison, None)?;
    say(&markdown::page(&comparison))
}
