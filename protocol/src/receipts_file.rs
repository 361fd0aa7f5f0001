//! A file of receipts that anyone can check offline.
//!
//! One JSON object a line, in one form only. Each line carries the hash of the line before it, so an altered, removed,
//! inserted or moved line shows; a last `end` line with count and head, without which no file holds, shows a cut tail.
//! Every event in it is verified, the receipt's author must be a node that the dispatch names, and the acknowledgement
//! must come from the client that the receipt names.

use serde::{Deserialize, Serialize};

use crate::dispatch::Dispatch;
use crate::domain_separation::{self, digest};
use crate::limits::RECEIPTS_LINE_BYTES_MAX;
use crate::message::Message;
use crate::receipt::Receipt;
use crate::receipt_ack::ReceiptAck;
use crate::verified_event::VerifiedEvent;

/// Hash that the first line names as its predecessor.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptLine {
    /// Number of the entry, from 0.
    pub n: u64,
    /// Hash of the line before.
    pub prev: String,
    /// The ticket (kind 21437).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispatch: Option<VerifiedEvent>,
    /// The receipt (kind 1434).
    pub receipt: VerifiedEvent,
    /// The client's word on it (kind 1435).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack: Option<VerifiedEvent>,
}

/// Last line of a file. Without it the tail was cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndLine {
    /// Number of entries.
    pub end: u64,
    /// Hash of the last entry's line.
    pub prev: String,
}

/// What a good file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileSummary {
    /// Receipts.
    pub receipts: u64,
    /// Acknowledged ones.
    pub acknowledged: u64,
    /// Sum of amounts in msat.
    pub amount_msat: u64,
    /// True when the file ends with an `end` line; always so in a file that holds.
    pub closed: bool,
}

/// The first line that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct FileError {
    /// Line number, from 1.
    pub line: usize,
    /// Why.
    pub reason: String,
}

/// Hash of one line (without its line break), which the next line names.
#[must_use]
pub fn line_hash(line: &str) -> String {
    hex::encode(digest(domain_separation::RECEIPTS_FILE, &[line.as_bytes()]))
}

/// The lines of a file, for who does not have it in memory as a whole.
#[derive(Clone, Debug)]
pub struct FileLines {
    written: u64,
    prev: String,
}

impl Default for FileLines {
    fn default() -> Self {
        Self { written: 0, prev: GENESIS.to_owned() }
    }
}

impl FileLines {
    /// The line of the next receipt, with its dispatch and acknowledgement where they are known.
    pub fn entry(
        &mut self,
        dispatch: Option<VerifiedEvent>,
        receipt: VerifiedEvent,
        ack: Option<VerifiedEvent>,
    ) -> String {
        let prev = core::mem::take(&mut self.prev);
        let line = ReceiptLine { n: self.written, prev, dispatch, receipt, ack };
        let mut text = serde_json::to_string(&line).unwrap_or_default();
        self.prev = line_hash(&text);
        self.written = self.written.saturating_add(1);
        text.push('\n');
        text
    }

    /// The last line, without which the file is taken for cut off.
    #[must_use]
    pub fn end(self) -> String {
        let end = EndLine { end: self.written, prev: self.prev };
        let mut text = serde_json::to_string(&end).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Receipts so far.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }
}

/// Writes a file from entries: dispatch, receipt, acknowledgement.
#[must_use]
pub fn write_file(entries: &[(Option<VerifiedEvent>, VerifiedEvent, Option<VerifiedEvent>)]) -> String {
    let mut lines = FileLines::default();
    let entries = entries.iter().cloned();
    let mut file: String =
        entries.map(|(dispatch, receipt, ack)| lines.entry(dispatch, receipt, ack)).collect();
    file.push_str(&lines.end());
    file
}

/// Checks a whole file.
pub fn verify_file(text: &str) -> Result<FileSummary, FileError> {
    let mut summary = FileSummary::default();
    let mut prev = GENESIS.to_owned();
    let mut chains = Chains::default();
    for (index, line) in text.lines().enumerate() {
        let fail = |reason: String| FileError { line: index + 1, reason };
        if summary.closed {
            return Err(fail("a line follows the end of the file".into()));
        }
        if line.len() > RECEIPTS_LINE_BYTES_MAX {
            return Err(fail(format!("longer than {RECEIPTS_LINE_BYTES_MAX} bytes")));
        }
        if let Ok(end) = serde_json::from_str::<EndLine>(line) {
            if end.end != summary.receipts || end.prev != prev {
                return Err(fail(format!(
                    "the file says {} receipts, {} are here (lines are missing)",
                    end.end, summary.receipts
                )));
            }
            summary.closed = true;
            continue;
        }
        let entry: ReceiptLine = serde_json::from_str(line).map_err(|error| fail(line_error(&error)))?;
        // One form only: a change that reads the same would otherwise show in the next line, not in this one.
        if serde_json::to_string(&entry).ok().as_deref() != Some(line) {
            return Err(fail("was changed: it is not in the form in which entries are written".into()));
        }
        if entry.n != summary.receipts || entry.prev != prev {
            return Err(fail(
                "does not follow the line before it (a line was changed, removed or moved)".into(),
            ));
        }
        let amount = check_entry(&entry, &mut chains).map_err(fail)?;
        summary.receipts += 1;
        summary.acknowledged += u64::from(entry.ack.is_some());
        summary.amount_msat = summary.amount_msat.saturating_add(amount);
        prev = line_hash(line);
    }
    if !summary.closed {
        let line = usize::try_from(summary.receipts).unwrap_or(usize::MAX).saturating_add(1);
        return Err(FileError { line, reason: "the end line is missing (the tail was cut off)".into() });
    }
    Ok(summary)
}

/// Last sequence number and id seen of each node: two receipts with one number are a fork.
#[derive(Default)]
struct Chains(std::collections::BTreeMap<nostr::PublicKey, std::collections::BTreeMap<u64, nostr::EventId>>);

fn check_entry(entry: &ReceiptLine, chains: &mut Chains) -> Result<u64, String> {
    let receipt = Receipt::parse(&entry.receipt).map_err(|error| format!("receipt: {error}"))?;
    if let Some(dispatch) = &entry.dispatch {
        let dispatch = Dispatch::parse(dispatch).map_err(|error| format!("dispatch: {error}"))?;
        if dispatch.id != receipt.message.dispatch || dispatch.author != receipt.message.router {
            return Err("the receipt names another dispatch".into());
        }
        let Some(named) = dispatch.message.nodes.iter().find(|node| node.node == receipt.author) else {
            return Err(
                "the receipt is signed by a node that the dispatch does not name (foreign signature)".into(),
            );
        };
        if named.offer != receipt.message.offer || receipt.message.amount > named.max_cost {
            return Err("the receipt charges by another offer, or more than the dispatch allows".into());
        }
    }
    if let Some(ack) = &entry.ack {
        let ack = ReceiptAck::parse(ack).map_err(|error| format!("acknowledgement: {error}"))?;
        if ack.message.receipt.id() != receipt.id {
            return Err("the acknowledgement is for another receipt".into());
        }
        if ack.author != receipt.message.client {
            return Err(
                "the acknowledgement is not by the client that the receipt names (foreign signature)".into(),
            );
        }
    }
    let chain = chains.0.entry(receipt.author).or_default();
    if chain.insert(receipt.message.seq, receipt.id).is_some_and(|other| other != receipt.id) {
        return Err(format!("the node signed two receipts with number {} (a fork)", receipt.message.seq));
    }
    let before = receipt.message.seq.checked_sub(1).and_then(|seq| chain.get(&seq));
    if before.is_some_and(|id| *id != receipt.message.prev) {
        return Err("the receipt does not follow the node's previous one (a fork)".into());
    }
    Ok(receipt.message.amount.get())
}

/// serde's text of a failed verification is ours; other texts could quote the file, which is the user's own here.
fn line_error(error: &serde_json::Error) -> String {
    format!("not a valid entry: {error}")
}
