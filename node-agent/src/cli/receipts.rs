//! `receipts`: the node's own chain, from its journal, as a list or as a file that anyone can check.

use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fedai_protocol::receipts_file::FileLines;
use fedai_protocol::{Message, Receipt};

use super::DataArgs;
use super::exit::Failure;
use crate::shell::node_journal::{ReadError, ReceiptRecord, each_receipt};
use crate::shell::status_file::replace_with;

#[derive(Debug, Subcommand)]
pub(crate) enum ReceiptsCommand {
    /// List receipts, oldest first.
    List(ListArgs),
    /// Write all receipts with their tickets to a file (or to stdout) for `fedai receipts verify`.
    Export(ExportArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    data: DataArgs,
    /// As JSON, one receipt a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    data: DataArgs,
    /// File; stdout where it is missing.
    file: Option<PathBuf>,
}

/// Lists or exports.
pub(super) fn run(command: &ReceiptsCommand) -> Result<(), Failure> {
    let outcome = match command {
        ReceiptsCommand::List(args) => list(&args.data.dir()?, args.json),
        ReceiptsCommand::Export(args) => export(&args.data.dir()?, args.file.as_deref()),
    };
    match outcome {
        // Whoever reads has had enough.
        Err(ReadError::Io(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.map_err(Failure::general),
    }
}

fn list(data: &Path, as_json: bool) -> Result<(), ReadError> {
    let mut out = anstream::stdout().lock();
    each_receipt(data, |record| {
        let receipt = Receipt::parse(&record.receipt).map_err(std::io::Error::other)?.message;
        if as_json {
            return writeln!(out, "{}", serde_json::to_string(&receipt)?);
        }
        let Receipt { seq, model, usage, amount, job, .. } = receipt;
        writeln!(
            out,
            "{seq:>6}  {}  {:>7} in {:>7} out  {amount}  {model}  {job}",
            record.receipt.created_at(),
            usage.input_tokens.get(),
            usage.output_tokens.get()
        )
    })
}

fn export(data: &Path, file: Option<&Path>) -> Result<(), ReadError> {
    match file {
        Some(path) => {
            let written = replace_with(path, |file| write_all(data, &mut BufWriter::new(file)))?;
            anstream::eprintln!("{written} receipts written to {}", path.display());
        }
        None => drop(write_all(data, &mut std::io::stdout().lock())?),
    }
    Ok(())
}

/// Writes the file of all receipts; how many they are.
fn write_all(data: &Path, out: &mut impl Write) -> Result<u64, ReadError> {
    let mut lines = FileLines::default();
    each_receipt(data, |ReceiptRecord { dispatch, receipt }| {
        out.write_all(lines.entry(Some(dispatch), receipt, None).as_bytes())
    })?;
    let written = lines.written();
    out.write_all(lines.end().as_bytes())?;
    out.flush()?;
    Ok(written)
}
