//! `fedai schema [NAME]`: the JSON schemas of what `--json` prints. The same files are under docs/schema.

use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use super::audit_output::AuditOutput;
use super::bench_output::BenchOutput;
use super::exit_code::ExitStatus;
use super::failure::{CliFailure, ErrorOutput};
use super::global_flags::GlobalFlags;
use super::json_output as out;
use super::terminal;

/// Flags of `fedai schema`.
#[derive(Clone, Debug, clap::Args)]
pub struct SchemaArgs {
    /// Which one; all names without it
    pub name: Option<String>,
}

/// `fedai schema`, without a name.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SchemasOutput {
    /// Version of this form.
    pub v: u64,
    /// What can be named.
    pub schemas: Vec<String>,
}

/// All schemas by name.
#[must_use]
pub fn schemas() -> Vec<(&'static str, Schema)> {
    vec![
        ("answer", schema_for!(out::AnswerOutput)),
        ("audit", schema_for!(AuditOutput)),
        ("bench", schema_for!(BenchOutput)),
        ("doctor", schema_for!(out::DoctorOutput)),
        ("error", schema_for!(ErrorOutput)),
        ("export", schema_for!(out::ExportOutput)),
        ("key", schema_for!(out::KeyOutput)),
        ("launch", schema_for!(out::LaunchOutput)),
        ("models", schema_for!(out::ModelsOutput)),
        ("nodes", schema_for!(out::NodesOutput)),
        ("quote", schema_for!(out::QuoteOutput)),
        ("receipts", schema_for!(out::ReceiptsOutput)),
        ("routers", schema_for!(out::RoutersOutput)),
        ("schemas", schema_for!(SchemasOutput)),
        ("serve", schema_for!(out::ServeOutput)),
        ("up", schema_for!(out::UpOutput)),
        ("verify", schema_for!(out::VerifyOutput)),
        ("why", schema_for!(out::WhyOutput)),
    ]
}

/// A schema as its file holds it.
#[must_use]
pub fn file_text(schema: &Schema) -> String {
    let text = serde_json::to_string_pretty(schema.as_value()).unwrap_or_default();
    format!("{text}\n")
}

/// Runs the command.
pub fn run(global: &GlobalFlags, arguments: &SchemaArgs) -> Result<ExitStatus, CliFailure> {
    let all = schemas();
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    let Some(wanted) = &arguments.name else {
        if global.json() {
            let names = names.into_iter().map(str::to_owned).collect();
            terminal::print_json(&SchemasOutput { v: 1, schemas: names })?;
            return Ok(ExitStatus::Success);
        }
        terminal::print(&format!("{}\n", names.join("\n")))?;
        return Ok(ExitStatus::Success);
    };
    match all.iter().find(|(name, _)| name == wanted) {
        Some((_, schema)) => {
            terminal::print(&file_text(schema))?;
            Ok(ExitStatus::Success)
        }
        None => {
            let text = format!("no schema is called {wanted:?}\nhint: one of {}", names.join(", "));
            Err(CliFailure::usage(text))
        }
    }
}
