//! The hash chain of one node's receipts: omissions and forks show, in whatever order receipts arrive.

use std::collections::{BTreeMap, BTreeSet};

use fedai_protocol::limits::ROUTER_RECEIPTS_PER_NODE_MAX;
use fedai_protocol::message::Received;
use fedai_protocol::{EventId, Receipt};

/// What a receipt was to its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    /// Seen before.
    Known,
    /// Not seen before.
    New {
        /// It does not fit what the node signed before, and that was not known.
        shows_fork: bool,
    },
}

/// Links seen of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceiptChain {
    links: BTreeMap<u64, Link>,
    others: BTreeSet<EventId>,
    forks: BTreeSet<u64>,
    highest: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link {
    id: EventId,
    prev: EventId,
}

impl ReceiptChain {
    /// Takes a receipt.
    pub fn link(&mut self, receipt: &Received<Receipt>) -> Linked {
        let (seq, link) = (receipt.message.seq, Link { id: receipt.id, prev: receipt.message.prev });
        let is_full = self.links.len() >= ROUTER_RECEIPTS_PER_NODE_MAX;
        if self.others.contains(&link.id) || (is_full && self.links.keys().next() > Some(&seq)) {
            return Linked::Known;
        }
        self.highest = self.highest.max(Some(seq));
        if let Some(known) = self.links.get(&seq) {
            if known.id == link.id {
                return Linked::Known;
            }
            let (kept, other) = if link.id < known.id { (link, known.id) } else { (*known, link.id) };
            self.links.insert(seq, kept);
            self.others.insert(other);
            while self.others.len() > ROUTER_RECEIPTS_PER_NODE_MAX {
                self.others.pop_first();
            }
            return Linked::New { shows_fork: self.fork(seq) };
        }
        self.links.insert(seq, link);
        while self.links.len() > ROUTER_RECEIPTS_PER_NODE_MAX {
            self.links.pop_first();
        }
        let before = seq.checked_sub(1).and_then(|seq| self.links.get(&seq));
        let after = seq.checked_add(1).and_then(|seq| self.links.get(&seq));
        let breaks_before = before.is_some_and(|before| before.id != link.prev);
        let breaks_after = after.is_some_and(|after| after.prev != link.id);
        let shows_before = breaks_before && self.fork(seq);
        let shows_after = breaks_after && self.fork(seq.saturating_add(1));
        Linked::New { shows_fork: shows_before || shows_after }
    }

    /// Notes a fork; true when it was not known.
    fn fork(&mut self, seq: u64) -> bool {
        let is_news = self.forks.insert(seq);
        while self.forks.len() > ROUTER_RECEIPTS_PER_NODE_MAX {
            self.forks.pop_first();
        }
        is_news
    }

    /// Numbers that were never seen between the first and the last one kept.
    #[must_use]
    pub fn gaps(&self) -> u64 {
        let (Some((first, _)), Some(last)) = (self.links.first_key_value(), self.highest) else { return 0 };
        let span = last.saturating_sub(*first).saturating_add(1);
        span.saturating_sub(self.links.len() as u64)
    }

    /// Numbers at which the node signed two stories.
    #[must_use]
    pub fn forks(&self) -> usize {
        self.forks.len()
    }
}
