//! What a router remembers of one ticket: the dispatch, the job under way, what was charged and said.

use fedai_protocol::{Dispatch, EventId, PublicKey, UnixMicros};

/// A job that is believed to be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    /// Where.
    pub node: PublicKey,
    /// When it was sent there.
    pub since: UnixMicros,
    /// Before this it is believed whatever its node says: it is expected to take that long.
    pub expected_until: UnixMicros,
    /// Not believed any more after this.
    pub until: UnixMicros,
    /// It was expected to wait in a queue.
    pub queued: bool,
    /// How unlikely the draw was, in thousandths; 0 when the client had named the node.
    pub luck_permille: u16,
    /// Jobs that the node was believed to have when it was sent.
    pub beside: u32,
    /// Its client was told when a second attempt beside it would pay off.
    pub hedged: bool,
    /// Its client was told how long a wait to accept there.
    pub patient: bool,
}

/// One ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The dispatch.
    pub dispatch: Dispatch,
    /// Receipts charged under it, with what each was charged by.
    pub receipts: ReceiptsOfTicket,
    /// The job under way.
    pub flight: Option<Flight>,
    /// Its first job was expected to wait in a queue.
    pub queued: bool,
    /// How unlikely the draw of its first node was, in thousandths; 0 when the client had named it.
    pub luck_permille: u16,
    /// Proven acknowledgements of jobs under it.
    pub acknowledged: u32,
    /// Jobs that its first node was believed to have beside it.
    pub beside: u32,
    /// Its client may have begun a second attempt beside the first: who came second did not fail.
    pub hedged: bool,
    /// Its first node may have turned it away: its client says so with the receipt.
    pub patient: bool,
    /// True when its client has said that its first node did not serve.
    pub failure_reported: bool,
}

/// Receipts under one ticket, by id: one for most, so a list is the whole of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceiptsOfTicket(Vec<(EventId, PublicKey)>);

impl ReceiptsOfTicket {
    /// True when the receipt is among them.
    #[must_use]
    pub fn contains(&self, id: &EventId) -> bool {
        self.0.binary_search_by_key(id, |(id, _)| *id).is_ok()
    }

    /// Their ids, in order.
    pub fn ids(&self) -> impl Iterator<Item = &EventId> {
        self.0.iter().map(|(id, _)| id)
    }

    /// Who signed each.
    pub fn authors(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.iter().map(|(_, author)| author)
    }

    pub(super) fn insert(&mut self, id: EventId, author: PublicKey) {
        if let Err(at) = self.0.binary_search_by_key(&id, |(id, _)| *id) {
            self.0.reserve_exact(1);
            self.0.insert(at, (id, author));
        }
    }
}

impl Ticket {
    /// The first node, when another one served and that is news.
    pub(super) fn pass_over(&mut self, by: &PublicKey) -> Option<PublicKey> {
        let first = self.dispatch.nodes.first()?.node;
        let unserved = first != *by && !self.receipts.authors().any(|by| *by == first);
        if !unserved || self.failure_reported {
            return None;
        }
        self.failure_reported = true;
        Some(first)
    }
}
