//! Reads what relays have stored, all of it: relays cap one answer (500 is usual), so a full answer is followed by a
//! question for what is older.

use std::collections::HashSet;
use std::time::Duration;

use fedai_protocol::VerifiedEvent;
use nostr::{EventId, Filter, Timestamp};
use tokio::time::Instant;

use crate::relay_list::RelayRole;
use crate::relay_pool::RelayPool;

/// An answer this large may have been cut by the relay.
const PAGE_SUSPECTED: usize = 100;
/// Pages read for one filter, at most.
const PAGES_MAX: usize = 200;

pub(crate) async fn fetch(
    pool: &RelayPool,
    role: RelayRole,
    filters: Vec<Filter>,
    timeout: Duration,
) -> Vec<VerifiedEvent> {
    let deadline = Instant::now() + timeout;
    let mut found: Vec<VerifiedEvent> = Vec::new();
    let mut known: HashSet<EventId> = HashSet::new();
    for filter in filters {
        let mut page_filter = filter.clone();
        for _ in 0..PAGES_MAX {
            let page = page(pool, role, page_filter.clone(), deadline).await;
            let oldest = page.iter().map(VerifiedEvent::created_at).min();
            let size = page.len();
            let before = found.len();
            found.extend(page.into_iter().filter(|event| known.insert(event.id())));
            let wanted_all = filter.limit.is_none() && size >= PAGE_SUSPECTED && found.len() > before;
            match oldest {
                Some(oldest) if wanted_all && Instant::now() < deadline => {
                    page_filter = filter.clone().until(Timestamp::from_secs(oldest.0));
                }
                _ => break,
            }
        }
    }
    found
}

async fn page(pool: &RelayPool, role: RelayRole, filter: Filter, deadline: Instant) -> Vec<VerifiedEvent> {
    let mut subscription = pool.subscribe(role, vec![filter]);
    let mut progress = subscription.progress();
    let mut relays = pool.status_changes();
    let mut events = Vec::new();
    loop {
        while let Some(event) = subscription.try_recv() {
            events.push(event);
        }
        if subscription.is_complete() {
            break;
        }
        tokio::select! {
            event = subscription.recv() => match event {
                Some(event) => events.push(event),
                None => break,
            },
            _ = progress.changed() => {}
            _ = relays.changed() => {}
            () = tokio::time::sleep_until(deadline) => break,
        }
    }
    // Events precede the end-of-stored mark on every connection: what was queued before it is read here.
    while let Some(event) = subscription.try_recv() {
        events.push(event);
    }
    events
}
