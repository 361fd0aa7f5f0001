//! What routers tell this node of their decisions: the newest word of each, in a file that `node-agent why` reads.
//!
//! Anybody can write one, so only a few are opened at a time and a bounded number of routers is kept; who is in is not
//! crowded out by a stranger. Where the operator named routers, the others are not listened to.

use std::collections::BTreeSet;
use std::path::Path;

use fedai_protocol::limits::NODE_STANDINGS_MAX;
use fedai_protocol::{NodeStanding, PublicKey, SigningKey, UnixSeconds, VerifiedEvent};
use serde::{Deserialize, Serialize};

use super::status_file::{read_json, write_json};

/// Name of the file.
pub const STANDINGS: &str = "standings.json";
/// Standings opened in one second: a key agreement each.
const OPENS_PER_SECOND: u32 = 32;

/// One router's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterWord {
    /// The router.
    pub router: PublicKey,
    /// When it was written.
    pub created_at: UnixSeconds,
    /// The word.
    pub standing: NodeStanding,
}

/// The newest word of each router.
#[derive(Debug, Default)]
pub(super) struct StandingBook {
    words: Vec<RouterWord>,
    routers: BTreeSet<PublicKey>,
    opened: (UnixSeconds, u32),
    is_changed: bool,
}

impl StandingBook {
    /// With what was written before; `routers` are the only ones that are listened to, if there are any.
    pub(super) fn open(dir: &Path, routers: &BTreeSet<PublicKey>) -> Self {
        let mut words: Vec<RouterWord> = read_json(dir, STANDINGS).unwrap_or_default();
        words.truncate(NODE_STANDINGS_MAX);
        Self { words, routers: routers.clone(), ..Self::default() }
    }

    /// Takes a standing that is addressed to us.
    pub(super) fn take(&mut self, now: UnixSeconds, event: &VerifiedEvent, identity: &SigningKey) {
        let router = event.author();
        if !self.routers.is_empty() && !self.routers.contains(&router) {
            return;
        }
        let known = self.words.iter().position(|word| word.router == router);
        if known.and_then(|at| self.words.get(at)).is_some_and(|word| word.created_at >= event.created_at()) {
            return;
        }
        if known.is_none() && self.words.len() >= NODE_STANDINGS_MAX {
            self.words.retain(|word| word.standing.expires_at > now);
            if self.words.len() >= NODE_STANDINGS_MAX {
                return;
            }
        }
        if !self.may_open(now) {
            return;
        }
        match NodeStanding::open(event, identity) {
            Ok(read) => {
                self.words.retain(|word| word.router != router);
                let created_at = read.created_at;
                self.words.push(RouterWord { router, created_at, standing: read.message });
                self.is_changed = true;
            }
            Err(error) => tracing::debug!(code = error.code(), "a standing was dropped"),
        }
    }

    /// Writes the file when there is something new.
    pub(super) fn save(&mut self, dir: &Path) -> std::io::Result<()> {
        if core::mem::take(&mut self.is_changed) { write_json(dir, STANDINGS, &self.words) } else { Ok(()) }
    }

    fn may_open(&mut self, now: UnixSeconds) -> bool {
        let (second, count) = &mut self.opened;
        if *second != now {
            (*second, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= OPENS_PER_SECOND
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use fedai_protocol::entropy::CountingEntropy;
    use fedai_protocol::trust_assertion::TrustDimensions;

    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

    fn standing(node: PublicKey, receipts: u64) -> NodeStanding {
        NodeStanding {
            node,
            since: NOW.minus(60),
            at: NOW,
            lease_until: None,
            trust_permille: 0,
            dimensions: TrustDimensions::default(),
            receipts,
            heard: vec![],
            offers: vec![],
            expires_at: NOW.plus(60),
        }
    }

    fn key(n: u64) -> SigningKey {
        SigningKey::generate(&mut CountingEntropy(n * 1_000))
    }

    fn word(router: &SigningKey, node: &SigningKey, receipts: u64, at: UnixSeconds) -> VerifiedEvent {
        standing(node.public_key(), receipts).seal(router, at, &mut CountingEntropy(receipts)).unwrap()
    }

    #[test]
    fn the_newest_word_of_each_router_is_kept_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (node, a, b) = (key(1), key(2), key(3));
        let mut book = StandingBook::open(dir.path(), &BTreeSet::new());
        book.take(NOW, &word(&a, &node, 2, NOW), &node);
        book.take(NOW, &word(&a, &node, 1, NOW.minus(5)), &node);
        book.take(NOW, &word(&b, &node, 7, NOW), &node);
        book.take(NOW, &word(&b, &key(9), 8, NOW.plus(1)), &node);
        book.save(dir.path()).unwrap();
        let book = StandingBook::open(dir.path(), &BTreeSet::new());
        let receipts: Vec<u64> = book.words.iter().map(|word| word.standing.receipts).collect();
        assert_eq!(receipts, [2, 7], "not the older one, not the one for another node");
    }

    #[test]
    fn strangers_crowd_nobody_out_and_named_routers_are_the_only_ones() {
        let dir = tempfile::tempdir().unwrap();
        let node = key(1);
        let mut book = StandingBook::open(dir.path(), &BTreeSet::new());
        for n in 0..=NODE_STANDINGS_MAX as u64 {
            book.take(NOW.plus(n), &word(&key(10 + n), &node, n, NOW), &node);
        }
        assert_eq!(book.words.len(), NODE_STANDINGS_MAX);
        assert_eq!(book.words[0].standing.receipts, 0, "the first one is still there");
        book.take(NOW.plus(61), &word(&key(99), &node, 99, NOW), &node);
        assert_eq!(book.words.len(), 1, "expired ones make room");

        let mut book = StandingBook::open(dir.path(), &[key(2).public_key()].into());
        book.take(NOW, &word(&key(3), &node, 1, NOW), &node);
        assert!(book.words.is_empty());
        book.take(NOW, &word(&key(2), &node, 1, NOW), &node);
        assert_eq!(book.words.len(), 1);
    }
}
