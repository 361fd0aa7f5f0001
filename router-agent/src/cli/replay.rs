//! `replay`: makes recorded decisions again; every one must come out the same, byte for byte.

use std::io::BufRead;
use std::path::Path;
use std::process::ExitCode;

use super::output::{failure, text};
use crate::core::decision_entry::{DecisionEntry, Replayed};

/// Exit code when a record does not hold.
const DIFFERS: u8 = 7;

/// Replays a file.
pub(super) fn file(path: &Path) -> ExitCode {
    let lines = match std::fs::File::open(path) {
        Ok(file) => std::io::BufReader::new(file).lines(),
        Err(error) => {
            let hint = "hint: decisions are in decisions.jsonl of the router's data directory";
            return failure(1, &format!("{}: {error}\n{hint}", path.display()));
        }
    };
    let (mut same, mut not_kept) = (0_u64, 0_u64);
    for (number, line) in (1_u64..).zip(lines) {
        let entry = line
            .map_err(|error| error.to_string())
            .and_then(|line| serde_json::from_str::<DecisionEntry>(&line).map_err(|error| error.to_string()));
        match entry.map(|entry| entry.replay()) {
            Ok(Replayed::Same) => same += 1,
            Ok(Replayed::NotKept) => not_kept += 1,
            Ok(Replayed::Differs) => {
                let hint = "hint: the line was changed, or it was made by another version of the scheduler";
                return failure(
                    DIFFERS,
                    &format!("{}:{number}: comes out differently\n{hint}", path.display()),
                );
            }
            Err(error) => return failure(DIFFERS, &format!("{}:{number}: {error}", path.display())),
        }
    }
    text(&format!("{same} decisions came out the same; {not_kept} did not keep their inputs"))
}
