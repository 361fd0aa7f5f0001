//! The journal against cuts, flipped bytes, failing disks, and many writers at once.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::*;

fn write(dir: &Path, records: &[(u8, &[u8])]) -> Vec<u8> {
    let (journal, _) = Journal::open(dir).unwrap();
    for (kind, payload) in records {
        journal.append_blocking(*kind, payload).unwrap();
    }
    std::fs::read(dir.join(FILE_NAME)).unwrap()
}

fn contents(entries: &[JournalEntry]) -> Vec<(u8, Vec<u8>)> {
    entries.iter().map(|entry| (entry.kind, entry.payload.clone())).collect()
}

const RECORDS: [(u8, &[u8]); 4] = [(1, b"first"), (2, b""), (1, b"a third, longer record"), (9, &[0, 0, 0])];

#[test]
fn what_was_appended_is_read_again_and_appending_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &RECORDS);
    let (journal, entries) = Journal::open(dir.path()).unwrap();
    let expected: Vec<(u8, Vec<u8>)> =
        RECORDS.iter().map(|(kind, payload)| (*kind, payload.to_vec())).collect();
    assert_eq!(contents(&entries), expected);
    let offset = journal.append_blocking(7, b"more").unwrap();
    drop(journal);
    let (_, entries) = Journal::open(dir.path()).unwrap();
    let last = JournalEntry { offset, kind: 7, payload: b"more".to_vec() };
    assert_eq!(entries.last(), Some(&last));
}

#[test]
fn cut_at_any_byte_it_opens_with_the_whole_records_before_the_cut() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = write(dir.path(), &RECORDS);
    let (_, entries) = Journal::open(dir.path()).unwrap();
    for length in MAGIC.len()..bytes.len() {
        std::fs::write(dir.path().join(FILE_NAME), &bytes[..length]).unwrap();
        let (journal, found) = Journal::open(dir.path()).unwrap();
        let ends = entries.iter().skip(1).map(|entry| entry.offset).chain([bytes.len() as u64]);
        let whole = ends.filter(|end| *end <= length as u64).count();
        assert_eq!(contents(&found), contents(&entries[..whole]), "cut at {length}");
        journal.append_blocking(5, b"after").unwrap();
        drop(journal);
        let (_, again) = Journal::open(dir.path()).unwrap();
        assert_eq!(again.len(), whole + 1, "appending after a cut at {length}");
    }
}

#[test]
fn a_journal_that_is_being_written_is_read_up_to_its_last_whole_record_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = write(dir.path(), &RECORDS);
    let unfinished = &bytes[..bytes.len() - 1];
    std::fs::write(dir.path().join(FILE_NAME), unfinished).unwrap();
    let mut found = Vec::new();
    let visit = |entry| {
        found.push(entry);
        Ok::<(), JournalError>(())
    };
    Journal::read(dir.path(), visit).unwrap();
    assert_eq!(found.len(), RECORDS.len() - 1);
    // Nor by an opening that its owner gives up.
    let refuse = |_| Err(stopped("not ours"));
    assert!(matches!(Journal::open_with(dir.path(), refuse), Err(JournalError::Stopped(_))));
    assert_eq!(std::fs::read(dir.path().join(FILE_NAME)).unwrap(), unfinished);
}

#[test]
fn a_flipped_bit_anywhere_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = write(dir.path(), &RECORDS);
    for at in 0..bytes.len() {
        for bit in [0x01, 0x80] {
            let mut damaged = bytes.clone();
            damaged[at] ^= bit;
            std::fs::write(dir.path().join(FILE_NAME), &damaged).unwrap();
            let error = Journal::open(dir.path()).map(|(_, entries)| entries).unwrap_err();
            let JournalError::Damaged { offset, .. } = &error else { panic!("{error}") };
            assert!(*offset <= at as u64, "flipped {at}, said {offset}");
            assert!(error.to_string().contains(FILE_NAME) && error.to_string().contains("hint: "));
            assert_eq!(std::fs::read(dir.path().join(FILE_NAME)).unwrap(), damaged, "nothing was changed");
        }
    }
}

#[test]
fn zeros_after_the_end_are_cut_and_removed_records_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = write(dir.path(), &RECORDS);
    let mut longer = bytes.clone();
    longer.extend([0; 300]);
    std::fs::write(dir.path().join(FILE_NAME), &longer).unwrap();
    let (_, entries) = Journal::open(dir.path()).unwrap();
    assert_eq!(entries.len(), RECORDS.len());
    let (second, third) = (entries[1].offset as usize, entries[2].offset as usize);
    let without_second: Vec<u8> = [&bytes[..second], &bytes[third..]].concat();
    std::fs::write(dir.path().join(FILE_NAME), without_second).unwrap();
    assert!(matches!(Journal::open(dir.path()), Err(JournalError::Damaged { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_appends_share_a_sync_and_none_is_answered_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    let writers: Vec<_> = (0..400_u32)
        .map(|n| {
            let (journal, file) = (journal.clone(), dir.path().join(FILE_NAME));
            tokio::spawn(async move {
                let offset = journal.append(1, &n.to_be_bytes()).await.unwrap();
                let size = std::fs::metadata(file).unwrap().len();
                assert!(size > offset);
                assert!(journal.syncs() > 0);
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(journal.syncs() < 400, "group commit: {} syncs", journal.syncs());
    let before = journal.syncs();
    journal.append(1, b"alone").await.unwrap();
    assert_eq!(journal.syncs(), before + 1);
    drop(journal);
    assert_eq!(Journal::open(dir.path()).unwrap().1.len(), 401);
}

struct Failing {
    left: Arc<AtomicU64>,
    sync_too: bool,
    written: Arc<std::sync::Mutex<Vec<u8>>>,
}

impl Failing {
    fn step(&self) -> std::io::Result<()> {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        if left == 0 { Err(std::io::Error::from(std::io::ErrorKind::StorageFull)) } else { Ok(()) }
    }
}

impl JournalFile for Failing {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if !self.sync_too {
            self.step()?;
        }
        self.written.lock().unwrap().extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> std::io::Result<()> {
        if self.sync_too { self.step() } else { Ok(()) }
    }
}

#[test]
fn after_one_failed_write_or_sync_nothing_is_acknowledged_again() {
    for sync_too in [false, true] {
        for fails_at in 0..4_u64 {
            let left = Arc::new(AtomicU64::new(fails_at));
            let written = Arc::default();
            let file = Failing { left: Arc::clone(&left), sync_too, written: Arc::clone(&written) };
            let journal = Journal::start(file, PathBuf::from("test"), 8, frame::genesis()).unwrap();
            let acknowledged =
                (0..6).take_while(|n| journal.append_blocking(1, &[*n]).is_ok()).count() as u64;
            assert_eq!(acknowledged, fails_at);
            left.store(100, Ordering::Relaxed);
            let error = journal.append_blocking(1, b"the disk is well again").unwrap_err();
            assert!(matches!(error, JournalError::Stopped(_)), "{error}");
            let mut bytes = MAGIC.to_vec();
            bytes.extend_from_slice(&written.lock().unwrap());
            let mut entries = Vec::new();
            let visit = |entry| {
                entries.push(entry);
                Ok::<(), JournalError>(())
            };
            read_frames(Path::new("test"), &mut bytes.as_slice(), visit).unwrap();
            assert!(entries.len() as u64 >= acknowledged, "everything acknowledged is there");
        }
    }
}

#[test]
fn compaction_keeps_what_it_is_given_and_too_large_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &RECORDS);
    Journal::compact(dir.path(), [(3, b"kept".to_vec())]).unwrap();
    let (journal, entries) = Journal::open(dir.path()).unwrap();
    assert_eq!(contents(&entries), [(3, b"kept".to_vec())]);
    let limit = vec![7; JOURNAL_RECORD_BYTES_MAX];
    assert!(journal.append_blocking(1, &limit).is_ok());
    let over = vec![7; JOURNAL_RECORD_BYTES_MAX + 1];
    assert!(matches!(journal.append_blocking(1, &over), Err(JournalError::TooLarge(_))));
    drop(journal);
    assert_eq!(Journal::open(dir.path()).unwrap().1.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_appended_together_keep_their_order_and_share_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    let payloads: Vec<Vec<u8>> = (0..50_u8).map(|n| vec![n; 3]).collect();
    journal.append_all(4, &payloads).await.unwrap();
    assert!((1..50).contains(&journal.syncs()), "{} syncs", journal.syncs());
    journal.append_all(4, &[]).await.unwrap();
    drop(journal);
    let read: Vec<Vec<u8>> =
        Journal::open(dir.path()).unwrap().1.into_iter().map(|entry| entry.payload).collect();
    assert_eq!(read, payloads);
}

/// Notes go to the file at once, in their place; the sync comes with the next append, or by itself.
#[test]
fn notes_are_written_in_order_and_synced_with_the_next_append_or_a_second_later() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    journal.note(1, b"a").unwrap();
    journal.append_blocking(2, b"b").unwrap();
    let synced = journal.syncs();
    assert!(synced >= 1, "with the append");
    journal.note(3, b"c").unwrap();
    wait_until(|| journal.syncs() > synced);
    let synced = journal.syncs();
    journal.note(4, b"d").unwrap();
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(journal.flush()).unwrap();
    assert!(journal.syncs() > synced, "at once, when asked to");
    let read = contents(&Journal::open(dir.path()).unwrap().1);
    assert_eq!(read, [(1, b"a".to_vec()), (2, b"b".to_vec()), (3, b"c".to_vec()), (4, b"d".to_vec())]);
}

#[test]
fn many_notes_do_not_wait_for_ever_and_a_failed_one_stops_the_journal() {
    let left = Arc::new(AtomicU64::new(u64::from(UNSYNCED_MAX) + 1));
    let written = Arc::default();
    let file = Failing { left: Arc::clone(&left), sync_too: false, written: Arc::clone(&written) };
    let journal = Journal::start(file, PathBuf::from("test"), 8, frame::genesis()).unwrap();
    // Each waits until the one before is written, so that each is a batch of its own: the last one is synced early.
    let note = || {
        let before = left.load(Ordering::Relaxed);
        journal.note(1, b"n").unwrap();
        wait_until(|| left.load(Ordering::Relaxed) < before);
    };
    (0..UNSYNCED_MAX).for_each(|_| note());
    wait_until(|| journal.syncs() >= 1);
    note();
    journal.note(1, b"does not fit").unwrap();
    let error = journal.append_blocking(1, b"too late").unwrap_err();
    assert!(matches!(error, JournalError::Stopped(_)), "{error}");
    drop(journal);
    wait_until(|| Arc::strong_count(&written) == 1);
}

fn wait_until(done: impl Fn() -> bool) {
    let patience = tokio::time::Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(tokio::time::Instant::now() < patience, "not in time");
        std::thread::yield_now();
    }
}
