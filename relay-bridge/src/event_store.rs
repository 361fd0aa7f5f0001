//! What our own relay stores: nostr-relay-builder's memory database for the semantics of NIP-01, NIP-09 and queries,
//! with our own rules in front: the lowest id wins between versions of one second, expired events (NIP-40) are neither
//! taken nor given out, what was deleted stays deleted (the database forgets deletions whose target it does not hold),
//! and with a directory everything taken is in a journal before it is acknowledged.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Mutex as SyncMutex;

use fedai_protocol::event_kinds::KindClass;
use fedai_protocol::{UnixSeconds, VerifiedEvent};
use nostr::{EventId, Filter, Kind};
use nostr_relay_builder::prelude::{
    MemoryDatabase, MemoryDatabaseOptions, NostrDatabase, RejectedReason, SaveEventStatus,
};
use tokio::sync::Mutex;

use crate::journal::{Journal, JournalError};
use crate::lock::lock;
use crate::wall_clock;

/// Journal record: one event as JSON.
const EVENT: u8 = 1;
/// A request for deletion (NIP-09).
const DELETION: u16 = 5;

/// Stored events of one relay.
#[derive(Debug)]
pub(crate) struct EventStore {
    database: MemoryDatabase,
    journal: Option<Journal>,
    /// Decisions about one event look at others: one at a time.
    saving: Mutex<()>,
    /// What authors deleted: `author:id` or an address, and up to which time.
    deleted: SyncMutex<HashMap<String, UnixSeconds>>,
    limit_max: usize,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Taken, and new.
    New,
    /// Not taken, with the prefix and text of the OK message.
    Not { accepted: bool, message: &'static str },
}

impl EventStore {
    /// In memory only.
    pub(crate) fn in_memory(events_max: usize, limit_max: usize) -> Self {
        let options = MemoryDatabaseOptions { events: true, max_events: Some(events_max) };
        let database = MemoryDatabase::with_opts(options);
        Self { database, journal: None, saving: Mutex::new(()), deleted: SyncMutex::default(), limit_max }
    }

    /// Kept in a journal in `dir`, which is rewritten when most of it is out of date.
    pub(crate) async fn open(dir: &Path, events_max: usize, limit_max: usize) -> Result<Self, JournalError> {
        let mut store = Self::in_memory(events_max, limit_max);
        let (journal, entries) = Journal::open(dir)?;
        let total = entries.len();
        for entry in entries {
            let text = String::from_utf8_lossy(&entry.payload);
            if let Ok(event) = VerifiedEvent::from_json(&text) {
                store.decide(&event).await;
            }
        }
        let kept = store.query_all(&[Filter::new()], usize::MAX).await;
        if total > kept.len().saturating_mul(2).saturating_add(1_000) {
            drop(journal);
            Journal::compact(
                dir,
                kept.iter().rev().map(|event| (EVENT, nostr::JsonUtil::as_json(event).into_bytes())),
            )?;
            store.journal = Some(Journal::open(dir)?.0);
        } else {
            store.journal = Some(journal);
        }
        Ok(store)
    }

    /// Takes an event, durably where there is a journal.
    pub(crate) async fn save(&self, event: &VerifiedEvent) -> Stored {
        let decision = self.decide(event).await;
        if let (Stored::New, Some(journal)) = (decision, &self.journal)
            && let Err(error) = journal.append(EVENT, event.to_json().as_bytes()).await
        {
            tracing::error!(%error, "event not stored");
            return Stored::Not { accepted: false, message: "error: storage failed" };
        }
        decision
    }

    /// Stored events that match, newest first, each once.
    pub(crate) async fn query(&self, filters: &[Filter]) -> Vec<nostr::Event> {
        self.query_all(filters, self.limit_max).await
    }

    async fn query_all(&self, filters: &[Filter], limit_max: usize) -> Vec<nostr::Event> {
        let mut found: BTreeMap<(std::cmp::Reverse<u64>, EventId), nostr::Event> = BTreeMap::new();
        let now = nostr::Timestamp::from_secs(wall_clock::now_seconds().0);
        for filter in filters.iter().filter(|filter| !is_for_ephemeral_only(filter)) {
            let limit = filter.limit.unwrap_or(limit_max).min(limit_max);
            let events = self.database.query(filter.clone().limit(limit)).await.unwrap_or_else(|error| {
                tracing::error!(%error, "query failed");
                nostr_relay_builder::prelude::Events::new(filter)
            });
            for event in events.into_iter().filter(|event| !event.is_expired_at(&now)).take(limit) {
                found.insert((std::cmp::Reverse(event.created_at.as_secs()), event.id), event);
            }
        }
        found.into_values().collect()
    }

    async fn decide(&self, event: &VerifiedEvent) -> Stored {
        let refused = |message| Stored::Not { accepted: false, message };
        if event.expiration().is_some_and(|at| at < wall_clock::now_seconds()) {
            return refused("invalid: event has expired");
        }
        let _one_at_a_time = self.saving.lock().await;
        if self.is_deleted(event) {
            return refused("blocked: event was deleted");
        }
        if let Some((at, id)) = self.version_there(event).await {
            let newer = at > event.created_at() || (at == event.created_at() && id < event.id());
            if id == event.id() {
                return Stored::Not { accepted: true, message: "duplicate: have this event" };
            }
            if newer {
                return refused("replaced: have a newer version");
            }
        }
        match self.database.save_event(event.as_event()).await {
            Ok(SaveEventStatus::Success) => {
                self.remember_deletion(event);
                Stored::New
            }
            Ok(SaveEventStatus::Rejected(reason)) => match reason {
                RejectedReason::Duplicate => {
                    Stored::Not { accepted: true, message: "duplicate: have this event" }
                }
                RejectedReason::Deleted => refused("blocked: event was deleted"),
                RejectedReason::Replaced => refused("replaced: have a newer version"),
                RejectedReason::Expired => refused("invalid: event has expired"),
                RejectedReason::InvalidDelete => refused("invalid: deletes events of somebody else"),
                RejectedReason::Ephemeral | RejectedReason::Other => {
                    refused("invalid: event cannot be stored")
                }
            },
            Err(error) => {
                tracing::error!(%error, "event not stored");
                refused("error: storage failed")
            }
        }
    }

    fn is_deleted(&self, event: &VerifiedEvent) -> bool {
        let deleted = lock(&self.deleted);
        let author = event.author().to_hex();
        let by_id = deleted.contains_key(&format!("{author}:{}", event.id().to_hex()));
        let address = match KindClass::of(event.kind()) {
            KindClass::Addressable => {
                format!("{}:{author}:{}", event.kind(), event.tag("d").unwrap_or_default())
            }
            KindClass::Replaceable => format!("{}:{author}:", event.kind()),
            KindClass::Regular | KindClass::Ephemeral => return by_id,
        };
        by_id || deleted.get(&address).is_some_and(|until| event.created_at() <= *until)
    }

    fn remember_deletion(&self, event: &VerifiedEvent) {
        if event.kind() != DELETION {
            return;
        }
        let (author, at) = (event.author().to_hex(), event.created_at());
        let ids = event.tags("e").map(|id| format!("{author}:{id}"));
        // An address carries its author: only one's own may be deleted.
        let own = |address: &&str| address.split(':').nth(1) == Some(author.as_str());
        let addresses = event.tags("a").filter(own).map(str::to_owned);
        let mut deleted = lock(&self.deleted);
        for key in ids.chain(addresses) {
            let until = deleted.entry(key).or_insert(at);
            *until = at.max(*until);
        }
    }

    /// The stored version at the event's address.
    async fn version_there(&self, event: &VerifiedEvent) -> Option<(UnixSeconds, EventId)> {
        let filter = Filter::new().kind(Kind::from(event.kind())).author(event.author());
        let filter = match KindClass::of(event.kind()) {
            KindClass::Addressable => filter.identifier(event.tag("d").unwrap_or_default()),
            KindClass::Replaceable => filter,
            KindClass::Regular | KindClass::Ephemeral => return None,
        };
        let events = self.database.query(filter).await.ok()?;
        events.into_iter().map(|event| (UnixSeconds(event.created_at.as_secs()), event.id)).next()
    }
}

/// True when a filter names kinds that are never stored: the database would look at every event to find none.
fn is_for_ephemeral_only(filter: &Filter) -> bool {
    let is_ephemeral = |kind: &Kind| KindClass::of(kind.as_u16()) == KindClass::Ephemeral;
    filter.kinds.as_ref().is_some_and(|kinds| !kinds.is_empty() && kinds.iter().all(is_ephemeral))
}
