//! What a node must not forget, in its journal: receipts with their tickets, offers, and the time of its
//! announcements.
//!
//! The records are the signed events themselves, so whatever is restored from here was proved once and can be proved
//! again. The rule: the chain is read in order and must hold; a journal that forks is not continued.

use std::collections::VecDeque;
use std::path::Path;

use fedai_protocol::limits::{DISPATCH_SECONDS_MAX, FUTURE_SECONDS_MAX};
use fedai_protocol::{Dispatch, Message, ModelOffer, Receipt, UnixSeconds, VerifiedEvent};
use fedai_relay_bridge::{Journal, JournalEntry, JournalError};
use serde::{Deserialize, Serialize};

use crate::core::offers::PublishedOffer;
use crate::core::receipt_chain::ChainHead;
use crate::core::{Restored, RestoredJob};

/// Record: a receipt and the ticket it was earned under.
const RECEIPT: u8 = 1;
/// Record: an offer.
const OFFER: u8 = 2;
/// Record: a time that was published.
const PUBLISHED_AT: u8 = 3;

/// A receipt with its ticket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReceiptRecord {
    /// The ticket (kind 21437).
    pub dispatch: VerifiedEvent,
    /// The receipt (kind 1434).
    pub receipt: VerifiedEvent,
}

/// Why a journal is not continued.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The journal itself.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A record is not what it was.
    #[error(
        "the journal's record at byte {offset} is not a {what}\nhint: restore the data directory from a backup"
    )]
    Record {
        /// Where.
        offset: u64,
        /// What it should be.
        what: &'static str,
    },
    /// The chain of receipts does not hold.
    #[error(
        "the receipt at byte {offset} does not follow the one before it\n\
         hint: restore the data directory from a backup; to begin a new chain, use a new key"
    )]
    Chain {
        /// Where.
        offset: u64,
    },
}

/// The journal of a node.
#[derive(Clone)]
pub(super) struct NodeJournal {
    journal: Journal,
}

impl NodeJournal {
    /// Opens the journal in `dir` and gives what follows from it, and its last receipts.
    pub(super) fn open(
        dir: &Path,
        now: UnixSeconds,
        receipts_max: usize,
    ) -> Result<(Self, Restored, Vec<ReceiptRecord>), RestoreError> {
        let (mut restored, mut last) = (Restored::default(), VecDeque::new());
        let journal = Journal::open_with(dir, |entry| {
            if let Some(record) = take(&mut restored, &entry, now)? {
                if last.len() >= receipts_max {
                    last.pop_front();
                }
                last.push_back(record);
            }
            Ok::<(), RestoreError>(())
        })?;
        Ok((Self { journal }, restored, last.into()))
    }

    /// Stores receipts in this order; all are durable when it returns.
    pub(super) async fn keep_receipts(&self, records: &[ReceiptRecord]) -> Result<(), JournalError> {
        let payloads: Vec<Vec<u8>> =
            records.iter().map(|record| serde_json::to_vec(record).unwrap_or_default()).collect();
        self.journal.append_all(RECEIPT, &payloads).await
    }

    /// Stores an offer; durable when it returns.
    pub(super) async fn keep_offer(&self, event: &VerifiedEvent) -> Result<(), JournalError> {
        self.journal.append(OFFER, event.to_json().as_bytes()).await.map(drop)
    }

    /// Stores the time of an announcement; durable when it returns.
    pub(super) async fn keep_time(&self, at: UnixSeconds) -> Result<(), JournalError> {
        self.journal.append(PUBLISHED_AT, &at.0.to_be_bytes()).await.map(drop)
    }
}

/// The receipts of a node whose process may be running, one by one: its journal is read and not touched.
pub fn each_receipt(
    data_dir: &Path,
    mut visit: impl FnMut(ReceiptRecord) -> std::io::Result<()>,
) -> Result<(), ReadError> {
    let dir = data_dir.join(JOURNAL_DIR);
    if !dir.is_dir() {
        return Err(ReadError::NoNode(data_dir.display().to_string()));
    }
    let mut restored = Restored::default();
    Journal::read(&dir, |entry| {
        // Nothing but receipts matters here, so it may be any time.
        match take(&mut restored, &entry, UnixSeconds(u64::MAX))? {
            Some(record) => Ok(visit(record)?),
            None => Ok(()),
        }
    })
}

/// Why the receipts cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no journal.
    #[error(
        "{0}: no node has run with this data directory\nhint: name the directory of the node with --data"
    )]
    NoNode(String),
    /// They cannot be handed on.
    #[error("the receipts cannot be written: {0}\nhint: check free space and permissions")]
    Io(#[from] std::io::Error),
    /// The journal does not hold.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

impl From<JournalError> for ReadError {
    fn from(error: JournalError) -> Self {
        Self::Restore(error.into())
    }
}

/// Folder of the journal inside the data directory.
pub(super) const JOURNAL_DIR: &str = "journal";

/// Takes a record; gives it back if it is a receipt.
fn take(
    restored: &mut Restored,
    entry: &JournalEntry,
    now: UnixSeconds,
) -> Result<Option<ReceiptRecord>, RestoreError> {
    let offset = entry.offset;
    let wrong = |what| RestoreError::Record { offset, what };
    match entry.kind {
        RECEIPT => {
            let record: ReceiptRecord =
                serde_json::from_slice(&entry.payload).map_err(|_| wrong("receipt"))?;
            take_receipt(restored, &record, offset, now)?;
            return Ok(Some(record));
        }
        OFFER => {
            let text = core::str::from_utf8(&entry.payload).map_err(|_| wrong("offer"))?;
            let event = VerifiedEvent::from_json(text).map_err(|_| wrong("offer"))?;
            let offer = ModelOffer::parse(&event).map_err(|_| wrong("offer"))?;
            restored.created_at_floor = restored.created_at_floor.max(offer.created_at);
            retire_older(restored, &offer.message, offer.created_at.min(now), now);
            restored.offers.push(PublishedOffer {
                id: offer.id,
                offer: offer.message,
                created_at: offer.created_at,
                retired_at: None,
            });
        }
        PUBLISHED_AT => {
            let bytes: [u8; 8] = entry.payload.as_slice().try_into().map_err(|_| wrong("time"))?;
            let at = UnixSeconds(u64::from_be_bytes(bytes));
            restored.created_at_floor = restored.created_at_floor.max(at);
        }
        // A later version's record: it says nothing about ours.
        _ => {}
    }
    Ok(None)
}

fn take_receipt(
    restored: &mut Restored,
    record: &ReceiptRecord,
    offset: u64,
    now: UnixSeconds,
) -> Result<(), RestoreError> {
    let wrong = |_| RestoreError::Record { offset, what: "receipt" };
    let receipt = Receipt::parse(&record.receipt).map_err(wrong)?;
    let dispatch = Dispatch::parse(&record.dispatch).map_err(wrong)?;
    if (receipt.message.seq, receipt.message.prev) != (restored.head.seq, restored.head.prev) {
        return Err(RestoreError::Chain { offset });
    }
    restored.head = ChainHead { seq: receipt.message.seq.saturating_add(1), prev: receipt.id };
    // Past this, no ticket that was valid then can be valid now, whatever the clocks say.
    let still_matters = receipt.created_at.plus(DISPATCH_SECONDS_MAX + FUTURE_SECONDS_MAX) >= now;
    if still_matters {
        restored.jobs.push(RestoredJob {
            job: receipt.message.job,
            ticket: receipt.message.dispatch,
            ticket_expires: dispatch.message.expires_at,
        });
    }
    Ok(())
}

/// The offer replaces earlier ones of its slug. When that was is its own time, which is never after now.
fn retire_older(restored: &mut Restored, newer: &ModelOffer, at: UnixSeconds, now: UnixSeconds) {
    for older in restored.offers.iter_mut().filter(|o| o.offer.slug == newer.slug && o.retired_at.is_none()) {
        older.retired_at = Some(at);
    }
    let live = |offer: &PublishedOffer| {
        offer.retired_at.is_none() || now.since(offer.created_at) <= OFFERS_REMEMBERED_SECONDS
    };
    restored.offers.retain(live);
}

/// Offers are sent again daily, so none that is older can have been replaced less than a honour time ago.
const OFFERS_REMEMBERED_SECONDS: u64 = 2 * 86_400;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by it")]
mod tests {
    use fedai_protocol::payment_offer::PaymentMethod;
    use fedai_protocol::{Price, SigningKey, Tokens};
    use fedai_relay_bridge::SystemEntropy;

    use super::*;

    #[test]
    fn an_offer_was_replaced_when_the_newer_one_came_and_not_at_the_start() {
        let key = SigningKey::generate(&mut SystemEntropy);
        let offer = ModelOffer {
            slug: "m".into(),
            node: "n".into(),
            model: "m".into(),
            quantization: None,
            digest: None,
            tokenizer: None,
            price: Price::default(),
            context_tokens: Tokens::saturating(4_096),
            max_output_tokens: Tokens::saturating(512),
            slots: 1,
            tokens_per_second: None,
            modalities: vec!["text".into()],
            features: Vec::new(),
            payment: vec![PaymentMethod::Free],
        };
        let entry = |at: u64| {
            let draft = offer.draft(&key.public_key(), UnixSeconds(at)).unwrap();
            let payload = key.sign(draft, &mut SystemEntropy).to_json().into_bytes();
            JournalEntry { offset: 0, kind: OFFER, payload }
        };
        let now = UnixSeconds(1_800_000_000);
        let (first, second) = (now.0 - 90_000, now.0 - 50_000);
        // The other one by a clock that was ahead: never later than now.
        for (newer, retired_at) in [(second, UnixSeconds(second)), (now.0 + 200, now)] {
            let mut restored = Restored::default();
            for at in [first, newer] {
                take(&mut restored, &entry(at), now).unwrap();
            }
            let retired: Vec<_> = restored.offers.iter().map(|offer| offer.retired_at).collect();
            assert_eq!(retired, [Some(retired_at), None]);
        }
    }
}
