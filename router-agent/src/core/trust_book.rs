//! What is known of every node, within a bound. Keys are free, and so is what a key signs against itself: when the book
//! is full, those go first for whom nothing good was ever seen.

use std::collections::BTreeMap;

use fedai_protocol::limits::ROUTER_NODES_MAX;
use fedai_protocol::{PublicKey, UnixMicros};

use super::trust::Trust;

/// One in so many leaves when the book is full, so that a flood does not buy a search each time.
const EVICTED_PART: usize = 16;

/// Trust by node.
#[derive(Clone, Debug)]
pub struct TrustBook {
    nodes: BTreeMap<PublicKey, Trust>,
    nodes_max: usize,
}

impl Default for TrustBook {
    fn default() -> Self {
        Self { nodes: BTreeMap::new(), nodes_max: ROUTER_NODES_MAX }
    }
}

impl TrustBook {
    /// What is known of a node: nothing, when it is not in the book.
    #[must_use]
    pub fn of(&self, node: &PublicKey) -> Trust {
        self.nodes.get(node).copied().unwrap_or_default()
    }

    /// The entry of a node, to add evidence to.
    pub fn entry(&mut self, now: UnixMicros, node: PublicKey) -> &mut Trust {
        if self.nodes.len() >= self.nodes_max && !self.nodes.contains_key(&node) {
            self.evict(now);
        }
        self.nodes.entry(node).or_default()
    }

    /// True when something is known of a node.
    #[must_use]
    pub fn holds(&self, node: &PublicKey) -> bool {
        self.nodes.contains_key(node)
    }

    /// All nodes, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&PublicKey, &Trust)> {
        self.nodes.iter()
    }

    fn evict(&mut self, now: UnixMicros) {
        let mut order: Vec<(f64, PublicKey)> =
            self.nodes.iter().map(|(node, trust)| (trust.keep_order(now), *node)).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for (_, node) in order.into_iter().take((self.nodes_max / EVICTED_PART).max(1)) {
            self.nodes.remove(&node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::trust::{Dimension, JobWeight};
    use super::*;
    use fedai_protocol::Msat;

    const NOW: UnixMicros = UnixMicros(1_000_000_000_000_000);

    fn key(n: u64) -> PublicKey {
        PublicKey::from_byte_array(fedai_protocol::domain_separation::digest("test", &[&n.to_be_bytes()]))
    }

    #[test]
    fn a_flood_of_keys_takes_no_room_from_nodes_with_a_history() {
        let mut book = TrustBook { nodes_max: 64, ..TrustBook::default() };
        for n in 0..32 {
            book.entry(NOW, key(n)).accepted(NOW, JobWeight::new(Msat::ZERO, 500, 0), true);
        }
        for n in 1_000..50_000 {
            book.entry(NOW, key(n)).proven(NOW, Dimension::Metering);
            assert!(book.nodes.len() <= 64);
        }
        assert!((0..32).all(|n| book.of(&key(n)).receipts() == 1));
    }
}
