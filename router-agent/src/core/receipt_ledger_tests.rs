//! The ledger's bounds: room is found for nodes that are known, proofs are kept up to a number, the oldest entry folds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::super::receipt_fixture::{NOW, key, receipt_of as receipt};
use super::*;

#[test]
fn a_full_ledger_gives_up_accounts_that_hold_nothing_and_keeps_the_counted() {
    let mut ledger = ReceiptLedger { nodes_max: 3, ..ReceiptLedger::new(3_600) };
    assert!(ledger.count(NOW, &receipt(1, 1, NOW)));
    assert!(ledger.breach(NOW, key(2)));
    ledger.foreign(key(3));
    for node in 4..40 {
        assert!(ledger.count(NOW, &receipt(node, node, NOW)) == (node <= 5), "{node}");
    }
    assert_eq!((ledger.nodes.len(), ledger.receipts()), (3, 3));
    assert!(ledger.nodes.contains_key(&key(1)));
    // Once its epochs are published and closed there is room again.
    ledger.summaries(NOW.plus(3 * 3_600));
    assert!(ledger.count(NOW.plus(3 * 3_600), &receipt(50, 50, NOW.plus(3 * 3_600))));
}

#[test]
fn proofs_are_kept_up_to_a_number_in_each_epoch_and_counted_beyond_it() {
    let mut ledger = ReceiptLedger::new(3_600);
    let kept = (0..1_000).filter(|_| ledger.breach(NOW, key(1))).count();
    assert_eq!(kept, PROOFS_KEPT_MAX as usize);
    assert_eq!(ledger.flags(&key(1)).2, 1_000);
    assert!(ledger.breach(NOW.plus(3_600), key(1)));
}

#[test]
fn the_oldest_entry_is_folded_whatever_its_id() {
    let mut ledger = ReceiptLedger::new(3_600);
    let (oldest, newest) = (receipt(1, 9, NOW), receipt(1, 1, NOW.plus(5)));
    for counted in [&newest, &oldest, &receipt(1, 5, NOW.plus(2))] {
        assert!(ledger.count(NOW, counted));
    }
    let start = ledger.epoch_of(NOW);
    ledger.nodes.get_mut(&key(1)).unwrap().epochs.get_mut(&start).unwrap().fold_one();
    assert_eq!(ledger.acknowledge(&oldest, false, None), AckEffect::Unknown);
    assert_eq!(ledger.acknowledge(&newest, false, None), AckEffect::First);
    assert!(!ledger.count(NOW, &oldest), "it is still known");
}
