//! Stored events that not enough relays have taken yet, on disk.
//!
//! An event is in the journal before it is first sent, or soon after where its author keeps it, too; each relay's
//! acknowledgement is noted, and the event is struck out when enough relays took it or it has expired. That it was
//! struck out is not waited for: where it is lost, the event is sent once more. The journal is rewritten at the start
//! with what is still owed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use fedai_protocol::VerifiedEvent;
use fedai_protocol::limits::OUTBOX_EVENTS_MAX;
use nostr::EventId;
use tokio::time::Instant;

use crate::journal::{Journal, JournalError};
use crate::lock::lock;

const OWED: u8 = 1;
const ACKED: u8 = 2;
const SETTLED: u8 = 3;
/// First wait before an event is sent again; doubles.
const RETRY: Duration = Duration::from_secs(2);

/// An event that relays still have to take.
#[derive(Clone, Debug)]
pub struct OwedEvent {
    /// The event.
    pub event: VerifiedEvent,
    /// Relays that took it.
    pub acked: BTreeSet<String>,
}

impl OwedEvent {
    /// An event that no relay has yet.
    #[must_use]
    pub const fn new(event: VerifiedEvent) -> Self {
        Self { event, acked: BTreeSet::new() }
    }
}

/// The durable outbox.
#[derive(Debug)]
pub struct PublishOutbox {
    journal: Journal,
    owed: Mutex<BTreeMap<EventId, Waiting>>,
}

#[derive(Clone, Debug)]
struct Waiting {
    owed: OwedEvent,
    attempts: u32,
    /// `None`: at the next look (it is from before the restart).
    next_at: Option<Instant>,
    /// The journal has it.
    is_written: bool,
}

impl PublishOutbox {
    /// Opens or creates the outbox in `dir`.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let (journal, entries) = Journal::open(dir)?;
        let mut owed: BTreeMap<EventId, OwedEvent> = BTreeMap::new();
        let total = entries.len();
        for entry in entries {
            replay(&mut owed, entry.kind, &entry.payload);
        }
        let journal = if total > owed.len().saturating_mul(4).saturating_add(256) {
            drop(journal);
            Journal::compact(dir, owed.values().flat_map(records))?;
            Journal::open(dir)?.0
        } else {
            journal
        };
        let waiting = |owed| Waiting { owed, attempts: 0, next_at: None, is_written: true };
        Ok(Self {
            journal,
            owed: Mutex::new(owed.into_iter().map(|(id, owed)| (id, waiting(owed))).collect()),
        })
    }

    /// Events still owed.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.owed).len()
    }

    /// True when nothing is owed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts an event on disk before it is sent. A full outbox drops its oldest event, and says so.
    pub(crate) async fn owe(&self, owed: &OwedEvent) -> Result<(), JournalError> {
        self.journal.append(OWED, owed.event.to_json().as_bytes()).await?;
        self.add(owed, true);
        Ok(())
    }

    /// The same for an event that is kept elsewhere: [`PublishOutbox::write`] puts it on disk if it is owed by then.
    pub(crate) fn owe_kept(&self, owed: &OwedEvent) {
        self.add(owed, false);
    }

    fn add(&self, owed: &OwedEvent, is_written: bool) {
        let next_at = Some(Instant::now() + RETRY);
        let waiting = Waiting { owed: owed.clone(), attempts: 1, next_at, is_written };
        let mut all = lock(&self.owed);
        if all.len() >= OUTBOX_EVENTS_MAX {
            let oldest =
                all.values().min_by_key(|waiting| waiting.owed.event.created_at()).map(|w| w.owed.event.id());
            if let Some(oldest) = oldest {
                tracing::error!(id = %oldest, "outbox is full: its oldest event is given up");
                all.remove(&oldest);
            }
        }
        all.insert(owed.event.id(), waiting);
    }

    /// Notes which relays took it.
    pub(crate) async fn acked(&self, owed: &OwedEvent, by: &BTreeSet<String>) -> Result<(), JournalError> {
        let id = owed.event.id();
        let is_written = lock(&self.owed).get(&id).is_some_and(|waiting| waiting.is_written);
        for url in by.difference(&owed.acked).filter(|_| is_written) {
            self.journal.append(ACKED, format!("{} {url}", id.to_hex()).as_bytes()).await?;
        }
        if let Some(waiting) = lock(&self.owed).get_mut(&id) {
            waiting.owed.acked.extend(by.iter().cloned());
        }
        Ok(())
    }

    /// Strikes it out.
    pub(crate) fn settled(&self, owed: &OwedEvent) -> Result<(), JournalError> {
        let id = owed.event.id();
        match lock(&self.owed).remove(&id) {
            Some(waiting) if !waiting.is_written => Ok(()),
            _ => self.journal.note(SETTLED, id.to_hex().as_bytes()),
        }
    }

    /// Waits until everything is on disk.
    pub(crate) async fn flush(&self) -> Result<(), JournalError> {
        self.write()?;
        self.journal.flush().await
    }

    /// Writes what is owed and was not written yet.
    pub(crate) fn write(&self) -> Result<(), JournalError> {
        for waiting in lock(&self.owed).values_mut().filter(|waiting| !waiting.is_written) {
            for (kind, payload) in records(&waiting.owed) {
                self.journal.note(kind, &payload)?;
            }
            waiting.is_written = true;
        }
        Ok(())
    }

    /// Events to be sent again now; each gets its next time.
    pub(crate) fn due(&self, now: Instant, retry_max: Duration) -> Vec<OwedEvent> {
        let mut due = Vec::new();
        for waiting in lock(&self.owed).values_mut() {
            if waiting.next_at.is_none_or(|at| at <= now) {
                waiting.attempts = waiting.attempts.saturating_add(1);
                let wait =
                    RETRY.saturating_mul(2_u32.saturating_pow(waiting.attempts.min(10))).min(retry_max);
                waiting.next_at = Some(now + wait);
                due.push(waiting.owed.clone());
            }
        }
        due
    }
}

fn replay(owed: &mut BTreeMap<EventId, OwedEvent>, kind: u8, payload: &[u8]) {
    let text = String::from_utf8_lossy(payload);
    match kind {
        OWED => {
            if let Ok(event) = VerifiedEvent::from_json(&text) {
                owed.insert(event.id(), OwedEvent::new(event));
            }
        }
        ACKED => {
            let Some((id, url)) = text.split_once(' ') else { return };
            if let Some(owed) = EventId::from_hex(id).ok().and_then(|id| owed.get_mut(&id)) {
                owed.acked.insert(url.to_owned());
            }
        }
        SETTLED => {
            if let Ok(id) = EventId::from_hex(&text) {
                owed.remove(&id);
            }
        }
        _ => {}
    }
}

fn records(owed: &OwedEvent) -> Vec<(u8, Vec<u8>)> {
    let id = owed.event.id().to_hex();
    let acks = owed.acked.iter().map(|url| (ACKED, format!("{id} {url}").into_bytes()));
    std::iter::once((OWED, owed.event.to_json().into_bytes())).chain(acks).collect()
}
