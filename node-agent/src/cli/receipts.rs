//! `receipts`: the node's own chain, from its journal, as a list or as a file that anyone can check.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use fedai_protocol::receipts_file::write_file;
use fedai_protocol::{Message, Receipt};
use fedai_relay_bridge::wall_clock;

use super::DataArgs;
use super::exit::Failure;
use crate::shell::node_journal::{ReceiptRecord, read_receipts};
use crate::shell::status_file::replace;

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
    match command {
        ReceiptsCommand::List(args) => list(args),
        ReceiptsCommand::Export(args) => export(args),
    }
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    for record in read(&args.data)? {
        let receipt = Receipt::parse(&record.receipt).map_err(Failure::general)?;
        if args.json {
            anstream::println!("{}", serde_json::to_string(&receipt.message).map_err(Failure::general)?);
            continue;
        }
        let Receipt { seq, model, usage, amount, job, .. } = receipt.message;
        anstream::println!(
            "{seq:>6}  {}  {:>7} in {:>7} out  {amount}  {model}  {job}",
            receipt.created_at,
            usage.input_tokens.get(),
            usage.output_tokens.get()
        );
    }
    Ok(())
}

fn export(args: &ExportArgs) -> Result<(), Failure> {
    let records = read(&args.data)?;
    let entries: Vec<_> =
        records.into_iter().map(|record| (Some(record.dispatch), record.receipt, None)).collect();
    let text = write_file(&entries);
    match &args.file {
        Some(path) => {
            replace(path, text.as_bytes()).map_err(Failure::general)?;
            anstream::eprintln!("{} receipts written to {}", entries.len(), path.display());
        }
        None => print!("{text}"),
    }
    Ok(())
}

fn read(data: &DataArgs) -> Result<Vec<ReceiptRecord>, Failure> {
    read_receipts(&data.dir()?, wall_clock::now_seconds()).map_err(Failure::general)
}
