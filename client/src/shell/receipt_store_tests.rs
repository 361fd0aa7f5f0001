//! The file holds for everybody who checks it, whoever appended in which order.

use fedai_protocol::entropy::CountingEntropy;
use fedai_protocol::message::Draft;
use fedai_protocol::{SigningKey, UnixSeconds};

use super::*;

fn event(n: u64) -> VerifiedEvent {
    let mut entropy = CountingEntropy(n);
    let key = SigningKey::generate(&mut entropy);
    let draft = Draft { kind: 1434, tags: vec![], content: format!("{n}"), created_at: UnixSeconds(1) };
    key.sign(draft, &mut entropy)
}

#[test]
fn lines_are_chained_and_survive_a_torn_tail() {
    let folder = tempfile::tempdir().unwrap();
    let store = ReceiptStore::new(&folder.path().join("data"));
    assert!(store.entries().unwrap().is_empty());
    for n in 0..3 {
        store.append(&event(n), &event(n + 10), &event(n + 20)).unwrap();
    }
    let whole = std::fs::read_to_string(store.path()).unwrap();
    std::fs::write(store.path(), format!("{whole}{{\"n\":3,\"pr")).unwrap();
    assert_eq!(store.entries().unwrap().len(), 3, "a torn tail is not read");
    store.append(&event(3), &event(13), &event(23)).unwrap();
    let text = std::fs::read_to_string(store.path()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4);
    for (n, entry) in store.entries().unwrap().iter().enumerate() {
        let before = n.checked_sub(1).map_or_else(|| GENESIS.to_owned(), |before| line_hash(lines[before]));
        assert_eq!((entry.n, &entry.prev), (n as u64, &before));
    }
    assert!(store.export().unwrap().lines().last().unwrap().contains("\"end\":4"));
}

#[test]
fn only_this_user_can_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = ReceiptStore::new(&folder.path().join("data"));
    store.append(&event(1), &event(2), &event(3)).unwrap();
    assert_eq!(private_file::foreign_bits(store.path()).unwrap(), 0);
    assert_eq!(private_file::foreign_bits(&folder.path().join("data")).unwrap(), 0);
}

#[test]
fn several_writers_leave_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let store = ReceiptStore::new(folder.path());
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let store = store.clone();
            scope.spawn(move || {
                for n in 0..5 {
                    let n = writer * 100 + n;
                    store.append(&event(n), &event(n + 1_000), &event(n + 2_000)).unwrap();
                }
            });
        }
    });
    let numbers: Vec<u64> = store.entries().unwrap().iter().map(|entry| entry.n).collect();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
}

#[test]
fn a_damaged_line_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = ReceiptStore::new(folder.path());
    store.append(&event(1), &event(2), &event(3)).unwrap();
    let whole = std::fs::read_to_string(store.path()).unwrap();
    std::fs::write(store.path(), format!("{whole}nonsense\n")).unwrap();
    assert!(matches!(store.entries(), Err(ReceiptStoreError::Damaged { line: 2, .. })));
    assert!(store.append(&event(4), &event(5), &event(6)).is_err(), "nothing is built on a broken chain");
}
