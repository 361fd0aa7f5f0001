//! The durable ground state: tickets, receipts, acknowledgements, forks, each as the signed event with the time it was
//! acted on. Read back in order, it gives the same router.

use std::path::Path;

use fedai_protocol::message::{ParseError, Received};
use fedai_protocol::{Dispatch, Message, Msat, Receipt, ReceiptAck, UnixMicros, VerifiedEvent};
use fedai_relay_bridge::{Journal, JournalEntry, JournalError};
use serde::{Deserialize, Serialize};

use crate::core::{AckHeard, DisputeGrade, JournalKind, Restored, RestoredRecord, Restoring};

/// First record of a journal: since when it is complete.
const KIND_OPENED: u8 = 0;

/// One record.
#[derive(Serialize, Deserialize)]
struct Record {
    at: UnixMicros,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<VerifiedEvent>,
    /// Of a ticket: how unlikely its draw was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    luck_permille: Option<u16>,
    /// Of a proven acknowledgement: what a payment rail had verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    paid: Option<Msat>,
}

/// The journal of a router.
#[derive(Clone, Debug)]
pub(crate) struct RouterJournal(Journal);

/// What is left to say of a journal that was read.
#[derive(Debug)]
pub(crate) struct Opened {
    /// To go on writing.
    pub(crate) journal: RouterJournal,
    /// When the last record was written.
    pub(crate) last: Option<UnixMicros>,
    /// Records that were read.
    pub(crate) records: u64,
}

impl RouterJournal {
    /// Opens or begins the journal in `dir`, and hands over what is in it, part by part.
    pub(crate) async fn open(
        dir: &Path,
        now: UnixMicros,
        mut restore: impl FnMut(Restoring),
    ) -> Result<Opened, JournalError> {
        let (mut is_begun, mut last, mut records) = (false, None, 0_u64);
        let journal = Journal::open_with(dir, |entry| {
            let Ok(record) = serde_json::from_slice::<Record>(&entry.payload) else {
                tracing::error!(offset = entry.offset, "a journal record cannot be read; it is left out");
                return Ok(());
            };
            last = Some(record.at);
            if !core::mem::replace(&mut is_begun, true) {
                restore(Restoring::Since(record.at.seconds()));
            }
            if entry.kind != KIND_OPENED
                && let Some(restored) = restored(&entry, &record)
            {
                records = records.saturating_add(1);
                restore(Restoring::Record(Box::new(Restored { at: record.at, record: restored })));
            }
            Ok::<(), JournalError>(())
        })?;
        let journal = Self(journal);
        if !is_begun {
            restore(Restoring::Since(now.seconds()));
            let opened = Record { at: now, event: None, luck_permille: None, paid: None };
            journal.append(KIND_OPENED, &opened).await?;
        }
        restore(Restoring::End);
        Ok(Opened { journal, last, records })
    }

    /// Writes a ticket; it is durable when this resolves.
    pub(crate) async fn keep_ticket(
        &self,
        kind: JournalKind,
        at: UnixMicros,
        ticket: VerifiedEvent,
    ) -> Result<(), JournalError> {
        self.append(kind_byte(kind), &Record::of(kind, at, ticket)).await
    }

    /// Notes what others signed, without waiting: relays and its parties have it too, so a second that a loss of power
    /// takes away is no loss of evidence.
    pub(crate) fn note(
        &self,
        kind: JournalKind,
        at: UnixMicros,
        event: VerifiedEvent,
    ) -> Result<(), JournalError> {
        let payload = serde_json::to_vec(&Record::of(kind, at, event)).unwrap_or_default();
        self.0.note(kind_byte(kind), &payload)
    }

    /// Waits until everything that was noted is on disk.
    pub(crate) async fn flush(&self) -> Result<(), JournalError> {
        self.0.flush().await
    }

    async fn append(&self, kind: u8, record: &Record) -> Result<(), JournalError> {
        let payload = serde_json::to_vec(record).unwrap_or_default();
        self.0.append(kind, &payload).await.map(drop)
    }
}

impl Record {
    fn of(kind: JournalKind, at: UnixMicros, event: VerifiedEvent) -> Self {
        let luck_permille = match kind {
            JournalKind::Dispatch { luck_permille } => Some(luck_permille),
            _ => None,
        };
        let paid = match kind {
            JournalKind::ProvenAck { paid, .. } => Some(paid).filter(|paid| *paid > Msat::ZERO),
            _ => None,
        };
        Self { at, event: Some(event), luck_permille, paid }
    }
}

fn restored(entry: &JournalEntry, record: &Record) -> Option<RestoredRecord> {
    let event = record.event.as_ref()?;
    let kind = KINDS.into_iter().find(|kind| kind_byte(*kind) == entry.kind)?;
    let parsed = match kind {
        JournalKind::Dispatch { .. } => Dispatch::parse(event).map(|dispatch| {
            let luck_permille = record.luck_permille.unwrap_or(0);
            RestoredRecord::Dispatch { dispatch, luck_permille }
        }),
        JournalKind::Receipt => Receipt::parse(event).map(RestoredRecord::Receipt),
        JournalKind::Ack => acknowledged(event, kind),
        JournalKind::ProvenAck { grade, .. } => {
            acknowledged(event, JournalKind::ProvenAck { grade, paid: record.paid.unwrap_or_default() })
        }
        JournalKind::Fork => fork_receipt(event).map(RestoredRecord::Fork),
    };
    parsed
        .inspect_err(|error| tracing::error!(offset = entry.offset, %error, "a journal record is left out"))
        .ok()
}

fn acknowledged(event: &VerifiedEvent, kind: JournalKind) -> Result<RestoredRecord, ParseError> {
    let ack = ReceiptAck::parse(event)?;
    AckHeard::journaled(ack, kind).map(RestoredRecord::Acknowledged)
}

/// A fork may have shown itself in a receipt or in the receipt inside an acknowledgement.
fn fork_receipt(event: &VerifiedEvent) -> Result<Received<Receipt>, ParseError> {
    Receipt::parse(event).or_else(|_| ReceiptAck::parse(event)?.message.read_receipt())
}

/// Every kind of record, for reading.
const KINDS: [JournalKind; 7] = [
    JournalKind::Dispatch { luck_permille: 0 },
    JournalKind::Receipt,
    JournalKind::Ack,
    JournalKind::Fork,
    JournalKind::ProvenAck { grade: DisputeGrade::Claimed, paid: Msat::ZERO },
    JournalKind::ProvenAck { grade: DisputeGrade::Shown, paid: Msat::ZERO },
    JournalKind::ProvenAck { grade: DisputeGrade::Refuted, paid: Msat::ZERO },
];

const fn kind_byte(kind: JournalKind) -> u8 {
    match kind {
        JournalKind::Dispatch { .. } => 1,
        JournalKind::Receipt => 2,
        JournalKind::Ack => 3,
        JournalKind::Fork => 4,
        JournalKind::ProvenAck { grade: DisputeGrade::Claimed, .. } => 5,
        JournalKind::ProvenAck { grade: DisputeGrade::Shown, .. } => 6,
        JournalKind::ProvenAck { grade: DisputeGrade::Refuted, .. } => 7,
    }
}
