//! The durable ground state: tickets, receipts, acknowledgements, forks, each as the signed event with the time it was
//! acted on. Read back in order, it gives the same router.

use std::path::Path;

use fedai_protocol::{Dispatch, Message, Receipt, ReceiptAck, UnixMicros, UnixSeconds, VerifiedEvent};
use fedai_relay_bridge::{Journal, JournalEntry, JournalError};
use serde::{Deserialize, Serialize};

use crate::core::{AckHeard, JournalKind, Restored, RestoredRecord};

/// First record of a journal: since when it is complete.
const KIND_OPENED: u8 = 0;

/// One record.
#[derive(Serialize, Deserialize)]
struct Record {
    at: UnixMicros,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<VerifiedEvent>,
}

/// The journal of a router.
#[derive(Clone, Debug)]
pub(crate) struct RouterJournal(Journal);

/// What a journal held when it was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    /// To go on writing.
    pub(crate) journal: RouterJournal,
    /// Since when it is complete.
    pub(crate) since: UnixSeconds,
    /// When the last record was written.
    pub(crate) last: Option<UnixMicros>,
    /// The records.
    pub(crate) records: Vec<Restored>,
}

impl RouterJournal {
    /// Opens or begins the journal in `dir`.
    pub(crate) async fn open(dir: &Path, now: UnixMicros) -> Result<Opened, JournalError> {
        let (journal, entries) = Journal::open(dir)?;
        let mut since = None;
        let mut last = None;
        let mut records = Vec::with_capacity(entries.len());
        for entry in &entries {
            let Ok(record) = serde_json::from_slice::<Record>(&entry.payload) else {
                tracing::error!(offset = entry.offset, "a journal record cannot be read; it is left out");
                continue;
            };
            last = Some(record.at);
            if entry.kind == KIND_OPENED {
                since = since.or_else(|| Some(record.at.seconds()));
            } else if let Some(restored) = restored(entry, &record) {
                records.push(Restored { at: record.at, record: restored });
            }
        }
        let opened = Self(journal);
        if since.is_none() {
            opened.append(KIND_OPENED, now, None).await?;
        }
        Ok(Opened { journal: opened, since: since.unwrap_or_else(|| now.seconds()), last, records })
    }

    /// Writes a record; it is durable when this resolves.
    pub(crate) async fn keep(
        &self,
        kind: JournalKind,
        at: UnixMicros,
        event: VerifiedEvent,
    ) -> Result<(), JournalError> {
        self.append(kind_byte(kind), at, Some(event)).await
    }

    async fn append(
        &self,
        kind: u8,
        at: UnixMicros,
        event: Option<VerifiedEvent>,
    ) -> Result<(), JournalError> {
        let payload = serde_json::to_vec(&Record { at, event }).unwrap_or_default();
        self.0.append(kind, &payload).await.map(drop)
    }
}

fn restored(entry: &JournalEntry, record: &Record) -> Option<RestoredRecord> {
    let event = record.event.as_ref()?;
    let is_kind = |kind: &JournalKind| entry.kind == kind_byte(*kind);
    let parsed = if is_kind(&JournalKind::Dispatch) {
        Dispatch::parse(event).map(RestoredRecord::Dispatch)
    } else if is_kind(&JournalKind::Receipt) {
        Receipt::parse(event).map(RestoredRecord::Receipt)
    } else if let Some(kind) = [JournalKind::Ack, JournalKind::ProvenAck].into_iter().find(is_kind) {
        let ack = ReceiptAck::parse(event).and_then(|ack| AckHeard::journaled(ack, kind));
        ack.map(RestoredRecord::Acknowledged)
    } else {
        fork_receipt(event).map(RestoredRecord::Fork)
    };
    parsed
        .inspect_err(|error| tracing::error!(offset = entry.offset, %error, "a journal record is left out"))
        .ok()
}

/// A fork may have shown itself in a receipt or in the receipt inside an acknowledgement.
fn fork_receipt(
    event: &VerifiedEvent,
) -> Result<fedai_protocol::message::Received<Receipt>, fedai_protocol::ParseError> {
    Receipt::parse(event).or_else(|_| ReceiptAck::parse(event)?.message.read_receipt())
}

const fn kind_byte(kind: JournalKind) -> u8 {
    match kind {
        JournalKind::Dispatch => 1,
        JournalKind::Receipt => 2,
        JournalKind::Ack => 3,
        JournalKind::Fork => 4,
        JournalKind::ProvenAck => 5,
    }
}
