//! What of a node survives a crash: the end of its chain, the jobs that have a receipt, its offers, its last time.

use std::collections::VecDeque;

use fedai_node_agent::core::offers::PublishedOffer;
use fedai_node_agent::core::receipt_chain::ChainHead;
use fedai_node_agent::core::{Restored, RestoredJob};
use fedai_protocol::{Dispatch, Message, ModelOffer, Receipt, UnixSeconds, VerifiedEvent};

use super::NodeActor;
use crate::faults::FaultKind;
use crate::turn::{Fact, Turn};

/// Receipts in the outbox: more than can be under way between a disk and a relay.
const OWED_MAX: usize = 16;

/// The disk.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    head: ChainHead,
    /// Oldest first; those whose ticket is over are dropped. Kept only where somebody may crash.
    jobs: VecDeque<RestoredJob>,
    keeps_jobs: bool,
    /// The outbox: receipts that relays may not have yet, sent again after a start. Bounded as jobs under way are.
    owed: VecDeque<VerifiedEvent>,
    pub(super) offers: Vec<PublishedOffer>,
    pub(super) created_at_floor: UnixSeconds,
}

impl Disk {
    pub(super) fn new(keeps_jobs: bool) -> Self {
        Self {
            head: ChainHead::default(),
            jobs: VecDeque::new(),
            keeps_jobs,
            owed: VecDeque::new(),
            offers: Vec::new(),
            created_at_floor: UnixSeconds(0),
        }
    }

    /// What the outbox sends again.
    pub(super) fn owed(&self) -> impl Iterator<Item = &VerifiedEvent> {
        self.owed.iter()
    }

    /// The end of the chain that is on it.
    pub(super) const fn head(&self) -> ChainHead {
        self.head
    }

    /// A new disk for a new identity.
    pub(super) fn wipe(&mut self) {
        *self = Self::new(self.keeps_jobs);
    }

    /// What a core is started with.
    pub(super) fn restored(&mut self, now: UnixSeconds) -> Restored {
        self.forget(now);
        Restored {
            head: self.head,
            jobs: self.jobs.iter().copied().collect(),
            offers: self.offers.clone(),
            created_at_floor: self.created_at_floor,
        }
    }

    fn store(&mut self, event: &VerifiedEvent, dispatch: &VerifiedEvent, now: UnixSeconds) {
        let Ok(receipt) = Receipt::parse_shared(event) else { return };
        self.head = ChainHead { seq: receipt.message.seq.saturating_add(1), prev: receipt.id };
        if self.keeps_jobs {
            self.owed.push_back(event.clone());
            if self.owed.len() > OWED_MAX {
                self.owed.pop_front();
            }
            let ticket_expires =
                Dispatch::parse(dispatch).map_or(UnixSeconds(0), |ticket| ticket.message.expires_at);
            let (job, ticket) = (receipt.message.job, receipt.message.dispatch);
            self.jobs.push_back(RestoredJob { job, ticket, ticket_expires });
            self.forget(now);
        }
    }

    fn forget(&mut self, now: UnixSeconds) {
        while self.jobs.front().is_some_and(|job| job.ticket_expires < now.minus(KEPT_SECONDS)) {
            self.jobs.pop_front();
        }
    }
}

impl NodeActor {
    pub(super) fn write(&mut self, event: &VerifiedEvent, dispatch: &VerifiedEvent, turn: &mut Turn<'_>) {
        self.disk.store(event, dispatch, turn.now.seconds());
        turn.facts.push(Fact::Durable(event.clone()));
        turn.publish(event.clone());
    }

    /// True when the disk takes no more writes; counts those that it took since the fault began.
    pub(super) fn disk_is_full(&mut self) -> bool {
        let Some(still_work) = self.faults.size(FaultKind::DiskError) else {
            self.writes = 0;
            return false;
        };
        self.writes = self.writes.saturating_add(1);
        let is_full = self.writes > still_work;
        if is_full {
            self.faults.fired(FaultKind::DiskError);
        }
        is_full
    }

    pub(super) fn remember_offer(&mut self, event: &VerifiedEvent, now: UnixSeconds) {
        let Ok(offer) = ModelOffer::parse(event) else { return };
        for old in self.disk.offers.iter_mut().filter(|old| old.offer.slug == offer.message.slug) {
            old.retired_at.get_or_insert(now);
        }
        self.disk.offers.retain(|old| old.retired_at.is_none_or(|at| now.since(at) < OFFERS_KEPT_SECONDS));
        let (id, created_at) = (offer.id, offer.created_at);
        self.disk.offers.push(PublishedOffer { id, offer: offer.message, created_at, retired_at: None });
    }

    /// A cheat for tests of the invariants: the same job once more, as the next link of the chain.
    pub(super) fn charge_twice(
        &mut self,
        event: &VerifiedEvent,
        dispatch: &VerifiedEvent,
        turn: &mut Turn<'_>,
    ) {
        let Ok(first) = Receipt::parse(event) else { return };
        let again = Receipt { seq: first.message.seq.saturating_add(1), prev: first.id, ..first.message };
        if let Ok(draft) = again.draft(&self.identity(), turn.now.seconds()) {
            let event = self.identity.sign(draft, turn.mint);
            self.write(&event, dispatch, turn);
        }
    }
}

/// Longer than any clock is off.
const KEPT_SECONDS: u64 = 600;
/// Longer than a node honours an offer that it has replaced.
const OFFERS_KEPT_SECONDS: u64 = 3_600;
