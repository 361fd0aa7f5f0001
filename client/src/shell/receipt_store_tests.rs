//! The file holds for everybody who checks it, whoever appended in which order.

use fedai_protocol::entropy::CountingEntropy;
use fedai_protocol::message::Draft;
use fedai_protocol::{SigningKey, UnixSeconds};

use super::*;

fn event(n: u64) -> VerifiedEvent {
    signed(n, format!("{n}"))
}

fn large_event(bytes: usize) -> VerifiedEvent {
    signed(0, "x".repeat(bytes))
}

fn signed(n: u64, content: String) -> VerifiedEvent {
    let mut entropy = CountingEntropy(n);
    let key = SigningKey::generate(&mut entropy);
    let draft = Draft::new(1434, vec![], content, UnixSeconds(1));
    key.sign(draft, &mut entropy)
}

fn entry(dispatch: &VerifiedEvent, receipt: &VerifiedEvent, ack: &VerifiedEvent) -> ReceiptEntry {
    ReceiptEntry { dispatch: dispatch.clone(), receipt: receipt.clone(), ack: ack.clone() }
}

fn append(
    store: &ReceiptStore,
    dispatch: &VerifiedEvent,
    receipt: &VerifiedEvent,
    ack: &VerifiedEvent,
) -> Result<(), ReceiptStoreError> {
    store.append_all(&[entry(dispatch, receipt, ack)])?.remove(0)
}

#[test]
fn lines_are_chained_and_survive_a_torn_tail() {
    let folder = tempfile::tempdir().unwrap();
    let store = ReceiptStore::new(&folder.path().join("data"));
    assert!(store.entries().unwrap().is_empty());
    for n in 0..3 {
        append(&store, &event(n), &event(n + 10), &event(n + 20)).unwrap();
    }
    let whole = std::fs::read_to_string(store.path()).unwrap();
    std::fs::write(store.path(), format!("{whole}{{\"n\":3,\"pr")).unwrap();
    assert_eq!(store.entries().unwrap().len(), 3, "a torn tail is not read");
    append(&store, &event(3), &event(13), &event(23)).unwrap();
    let text = std::fs::read_to_string(store.path()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5);
    for (n, entry) in store.entries().unwrap().iter().enumerate() {
        let before = n.checked_sub(1).map_or_else(|| GENESIS.to_owned(), |before| line_hash(lines[before]));
        assert_eq!((entry.n, &entry.prev), (n as u64, &before));
    }
    assert!(lines[4].starts_with("{\"end\":4,"));
    assert_eq!(store.export().unwrap(), text, "kept as it is handed to others");
}

#[test]
fn only_this_user_can_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = ReceiptStore::new(&folder.path().join("data"));
    append(&store, &event(1), &event(2), &event(3)).unwrap();
    assert_eq!(private_file::foreign_bits(store.path()).unwrap(), 0);
    assert_eq!(private_file::foreign_bits(&folder.path().join("data")).unwrap(), 0);
}

#[test]
fn several_writers_leave_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let store = ReceiptStore::new(folder.path());
    std::thread::scope(|scope| {
        for writer in 0..4 {
            // Two of one process, that know what each other wrote, and two of processes of their own.
            let store = if writer < 2 { store.clone() } else { ReceiptStore::new(folder.path()) };
            scope.spawn(move || {
                for n in 0..5 {
                    let n = writer * 100 + n;
                    append(&store, &event(n), &event(n + 1_000), &event(n + 2_000)).unwrap();
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
    append(&store, &event(1), &event(2), &event(3)).unwrap();
    let whole = std::fs::read_to_string(store.path()).unwrap();
    std::fs::write(store.path(), format!("{whole}nonsense\n")).unwrap();
    assert!(matches!(store.entries(), Err(ReceiptStoreError::Damaged { line: 2, .. })));
    assert!(append(&store, &event(4), &event(5), &event(6)).is_err(), "nothing is built on a broken chain");
}

#[test]
fn what_a_crash_leaves_behind_is_cut_and_closed_by_whoever_reads_or_appends_next() {
    let folder = tempfile::tempdir().unwrap();
    let store = ReceiptStore::new(folder.path());
    append(&store, &event(1), &event(11), &event(21)).unwrap();
    let one = std::fs::read(store.path()).unwrap();
    append(&store, &event(2), &event(12), &event(22)).unwrap();
    let two = std::fs::read(store.path()).unwrap();
    let second = two.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let end = two[..two.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    // Nothing of the second entry; cut in it, inside a character; without an end line; cut in the end line.
    let torn =
        [&two[..second], "{\"n\":1,\"prev\":\"ü".as_bytes().split_last().unwrap().1, &two[second..end]];
    for (kept, left) in [
        (&one, two[..second].to_vec()),
        (&one, [torn[0], torn[1]].concat()),
        (&two, two[..end].to_vec()),
        (&two, two[..end + 9].to_vec()),
    ] {
        std::fs::write(store.path(), &left).unwrap();
        store.entries().unwrap();
        assert_eq!(&std::fs::read(store.path()).unwrap(), kept, "reading repairs");
        std::fs::write(store.path(), &left).unwrap();
        append(&store, &event(2), &event(12), &event(22)).unwrap();
        let entries = store.entries().unwrap();
        let expected = if kept == &one { 2 } else { 3 };
        assert_eq!(entries.len(), expected, "appending repairs");
        assert_eq!(store.export().unwrap().into_bytes(), std::fs::read(store.path()).unwrap());
    }
}

#[test]
fn an_end_line_over_missing_entries_is_not_built_upon() {
    let folder = tempfile::tempdir().unwrap();
    let store = ReceiptStore::new(folder.path());
    for n in 0..2 {
        append(&store, &event(n), &event(n + 10), &event(n + 20)).unwrap();
    }
    let text = std::fs::read_to_string(store.path()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    std::fs::write(store.path(), format!("{}\n{}\n", lines[0], lines[2])).unwrap();
    assert!(matches!(store.entries(), Err(ReceiptStoreError::Damaged { line: 2, .. })));
    let again = append(&store, &event(3), &event(4), &event(5));
    assert!(matches!(again, Err(ReceiptStoreError::Damaged { line: 2, .. })));
}

#[test]
fn a_line_that_no_reader_would_take_is_refused_and_leaves_the_file_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let store = ReceiptStore::new(folder.path());
    append(&store, &event(1), &event(2), &event(3)).unwrap();
    let before = std::fs::read(store.path()).unwrap();
    let large = large_event(RECEIPTS_LINE_BYTES_MAX / 2);
    let refused = append(&store, &large, &large, &event(4));
    assert!(
        matches!(refused, Err(ReceiptStoreError::TooLong { bytes, .. }) if bytes > RECEIPTS_LINE_BYTES_MAX)
    );
    assert_eq!(std::fs::read(store.path()).unwrap(), before);
    append(&store, &event(5), &event(6), &event(7)).unwrap();
    assert_eq!(store.entries().unwrap().len(), 2);
}

#[test]
fn of_receipts_that_come_together_each_is_kept_but_for_the_one_that_is_too_long() {
    let folder = tempfile::tempdir().unwrap();
    let store = ReceiptStore::new(folder.path());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let large = large_event(RECEIPTS_LINE_BYTES_MAX / 2);
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let (store, first) = (store.clone(), if n == 7 { large.clone() } else { event(n) });
            let entry = entry(&first, &first, &event(n));
            runtime.spawn(async move { store.keep(entry).await })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(runtime.block_on(task).unwrap(), n != 7, "{n}");
    }
    assert_eq!(store.entries().unwrap().len(), 19);
    assert_eq!(store.export().unwrap(), std::fs::read_to_string(store.path()).unwrap());
}

#[test]
fn disputed_receipts_are_kept_as_evidence_beside_the_purchases() {
    let folder = tempfile::tempdir().unwrap();
    let store = ReceiptStore::new(&folder.path().join("data"));
    let path = folder.path().join("data").join(DISPUTES_FILE_NAME);
    store.append_dispute(&entry(&event(1), &event(2), &event(3))).unwrap();
    let one = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{one}{{\"dispatch\":{{\"id")).unwrap();
    store.append_dispute(&entry(&event(4), &event(5), &event(6))).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let kept: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kept.len(), 2, "a torn line is gone");
    for (line, first) in kept.iter().zip([1, 4]) {
        for (name, n) in ["dispatch", "receipt", "ack"].iter().zip(first..) {
            assert_eq!(line[name]["id"], event(n).id().to_hex());
        }
    }
    assert_eq!(private_file::foreign_bits(&path).unwrap(), 0);
    assert!(store.entries().unwrap().is_empty(), "nothing was bought");
}
