//! `fedai receipts`: what was bought, and files of receipts that anyone can check.

use std::path::{Path, PathBuf};

use fedai_protocol::Receipt;
use fedai_protocol::message::Message;
use fedai_protocol::receipts_file::{ReceiptLine, verify_file};
use serde_json::json;

use super::exit_code::ExitStatus;
use super::failure::CliFailure;
use super::global_flags::GlobalFlags;
use super::json_output::{ExportOutput, ReceiptRow, ReceiptsOutput, VerifyOutput};
use super::terminal;
use crate::shell::receipt_store::{ReceiptStore, ReceiptStoreError, read_shared};
use crate::shell::{config, private_file};

/// Commands on receipts.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum ReceiptsCommand {
    /// List this client's receipts
    List,
    /// Show one receipt whole
    Show {
        /// Id of the receipt or its job, or its beginning
        id: String,
    },
    /// Check a file; exit code 7 and the line number where it does not hold
    Verify {
        /// File; this client's own without it
        file: Option<PathBuf>,
    },
    /// Write all receipts in a form that anyone can check
    Export {
        /// File; standard output without it
        file: Option<PathBuf>,
    },
}

/// Runs the command.
pub fn run(global: &GlobalFlags, command: &ReceiptsCommand) -> Result<ExitStatus, CliFailure> {
    let store = ReceiptStore::new(&config::data_folder(global.data.as_deref())?);
    match command {
        ReceiptsCommand::List => list(global, &store),
        ReceiptsCommand::Show { id } => show(&store, id),
        ReceiptsCommand::Verify { file } => {
            verify(global, &file.clone().unwrap_or_else(|| store.path().to_owned()))
        }
        ReceiptsCommand::Export { file } => export(global, &store, file.as_deref()),
    }
}

impl From<ReceiptStoreError> for CliFailure {
    fn from(error: ReceiptStoreError) -> Self {
        let status = match error {
            ReceiptStoreError::Damaged { .. } => ExitStatus::Verification,
            ReceiptStoreError::Disk { .. } | ReceiptStoreError::TooLong { .. } => ExitStatus::Failure,
        };
        Self::new(status, "receipts", error.to_string())
    }
}

fn list(global: &GlobalFlags, store: &ReceiptStore) -> Result<ExitStatus, CliFailure> {
    let receipts: Vec<ReceiptRow> = store.entries()?.iter().filter_map(row).collect();
    let output = ReceiptsOutput { v: 1, receipts };
    if global.json() {
        terminal::print_json(&output)?;
        return Ok(ExitStatus::Success);
    }
    let rows = output.receipts.into_iter().map(|row| {
        vec![
            terminal::short(&row.receipt).to_owned(),
            row.model,
            format!("{}+{}", row.input_tokens, row.output_tokens),
            row.amount_msat.to_string(),
            row.verdict.unwrap_or_else(|| "-".to_owned()),
            terminal::short(&row.node).to_owned(),
            terminal::short(&row.job).to_owned(),
        ]
    });
    terminal::print_table(&["receipt", "model", "tokens", "msat", "verdict", "node", "job"], rows.collect())?;
    Ok(ExitStatus::Success)
}

fn row(line: &ReceiptLine) -> Option<ReceiptRow> {
    let received = Receipt::parse(&line.receipt).ok()?;
    let receipt = received.message;
    Some(ReceiptRow {
        receipt: received.id.to_hex(),
        created_at: received.created_at.0,
        node: received.author.to_hex(),
        model: receipt.model,
        input_tokens: receipt.usage.input_tokens.get(),
        output_tokens: receipt.usage.output_tokens.get(),
        amount_msat: receipt.amount.get(),
        verdict: line.ack.as_ref().and_then(|ack| ack.tag("verdict")).map(str::to_owned),
        job: receipt.job.to_string(),
    })
}

fn show(store: &ReceiptStore, id: &str) -> Result<ExitStatus, CliFailure> {
    let wanted = id.to_ascii_lowercase();
    let found = store.entries()?.into_iter().find(|line| {
        line.receipt.id().to_hex().starts_with(&wanted)
            || Receipt::parse(&line.receipt).is_ok_and(|r| r.message.job.to_string().starts_with(&wanted))
    });
    let Some(line) = found.filter(|_| id.len() >= 4) else {
        let text = format!("no receipt {id:?} is kept here\nhint: see the ids: fedai receipts list");
        return Err(CliFailure::new(ExitStatus::Failure, "unknown_id", text));
    };
    let whole = json!({"v": 1, "dispatch": line.dispatch, "receipt": line.receipt, "ack": line.ack});
    let text = serde_json::to_string_pretty(&whole).unwrap_or_default();
    terminal::print(&format!("{text}\n"))?;
    Ok(ExitStatus::Success)
}

fn verify(global: &GlobalFlags, path: &Path) -> Result<ExitStatus, CliFailure> {
    let file = path.display().to_string();
    let text = read_shared(path).map_err(|error| {
        let text = format!("{file}: {error}\nhint: fedai receipts export FILE writes one");
        CliFailure::new(ExitStatus::Failure, "io", text)
    })?;
    let text = String::from_utf8_lossy(&text);
    let result = verify_file(&text);
    let summary = result.as_ref().ok().copied().unwrap_or_default();
    let output = VerifyOutput {
        v: 1,
        file: file.clone(),
        ok: result.is_ok(),
        receipts: summary.receipts,
        acknowledged: summary.acknowledged,
        amount_msat: summary.amount_msat,
        closed: summary.closed,
        line: result.as_ref().err().map(|error| error.line),
        reason: result.as_ref().err().map(|error| error.reason.clone()),
    };
    if global.json() {
        terminal::print_json(&output)?;
    }
    match result {
        Ok(_) => {
            if !global.json() {
                terminal::print(&format!(
                    "ok: {} receipts, {} acknowledged, {} msat\n",
                    output.receipts, output.acknowledged, output.amount_msat
                ))?;
            }
            Ok(ExitStatus::Success)
        }
        Err(error) => {
            terminal::say(&format!("error: {file}: {error}"));
            Ok(ExitStatus::Verification)
        }
    }
}

fn export(global: &GlobalFlags, store: &ReceiptStore, file: Option<&Path>) -> Result<ExitStatus, CliFailure> {
    let Some(path) = file else {
        // Many lines, which a reader of one object would not expect.
        if global.json() {
            let text =
                "--json needs a file to export to\nhint: leave out --json: the export is JSON, a line each";
            return Err(CliFailure::usage(text));
        }
        terminal::print(&store.export()?)?;
        return Ok(ExitStatus::Success);
    };
    let text = store.export()?;
    let shown = path.display().to_string();
    private_file::write_whole(path, text.as_bytes())
        .map_err(|error| CliFailure::new(ExitStatus::Failure, "io", format!("{shown}: {error}")))?;
    if global.json() {
        // The last line closes the file.
        let receipts = text.lines().count().saturating_sub(1) as u64;
        terminal::print_json(&ExportOutput { v: 1, file: shown, receipts })?;
    }
    Ok(ExitStatus::Success)
}
