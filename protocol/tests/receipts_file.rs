//! A receipts file against everything that somebody could do to it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod samples;

use fedai_protocol::entropy::CountingEntropy;
use fedai_protocol::message::Message;
use fedai_protocol::receipts_file::{verify_file, write_file};
use fedai_protocol::{Receipt, ReceiptAck, SigningKey, VerifiedEvent};

type Entry = (Option<VerifiedEvent>, VerifiedEvent, Option<VerifiedEvent>);

fn ack_of(receipt: &VerifiedEvent, by: &SigningKey) -> VerifiedEvent {
    samples::sign(&ReceiptAck { receipt: receipt.clone(), ..samples::ack() }, by)
}

/// Three receipts of one node, in its chain.
fn entries() -> Vec<Entry> {
    let keys = samples::keys();
    let dispatch = samples::sign(&samples::dispatch(), &keys.router);
    let mut prev = nostr::EventId::all_zeros();
    let mut out = Vec::new();
    for seq in 0..3 {
        let receipt = samples::sign(&Receipt { seq, prev, ..samples::receipt() }, &keys.node);
        prev = receipt.id();
        let ack = ack_of(&receipt, &keys.session);
        out.push((Some(dispatch.clone()), receipt, Some(ack)));
    }
    out
}

#[test]
fn an_honest_file_holds() {
    let summary = verify_file(&write_file(&entries())).unwrap();
    assert_eq!((summary.receipts, summary.acknowledged, summary.closed), (3, 3, true));
    assert_eq!(summary.amount_msat, 3 * samples::receipt().amount.get());
    assert!(verify_file(&write_file(&[])).is_ok());
}

#[test]
fn every_changed_byte_is_found_at_its_line() {
    let honest = write_file(&entries());
    let changes: [fn(u8) -> u8; 3] =
        [|byte| if byte == b'0' { b'1' } else { b'0' }, |byte| byte ^ 0x20, |_| b' '];
    for (at, change) in (0..honest.len()).step_by(37).zip(changes.into_iter().cycle()) {
        let mut bytes = honest.clone().into_bytes();
        let (before, after) = (bytes[at], change(bytes[at]));
        bytes[at] = after;
        let Ok(changed) = String::from_utf8(bytes) else { continue };
        if before == after || before == b'\n' || after == b'\n' {
            continue;
        }
        let line = 1 + honest[..at].matches('\n').count();
        let error = verify_file(&changed).expect_err(&format!("byte {at} changed and nothing noticed"));
        assert_eq!(error.line, line, "byte {at}, {before} became {after}: {error}");
    }
}

#[test]
fn a_removed_moved_or_doubled_line_is_named() {
    let honest = write_file(&entries());
    let lines: Vec<&str> = honest.lines().collect();
    let joined = |order: &[usize]| order.iter().map(|i| format!("{}\n", lines[*i])).collect::<String>();
    assert_eq!(verify_file(&joined(&[0, 2, 3])).unwrap_err().line, 2);
    assert_eq!(verify_file(&joined(&[1, 2, 3])).unwrap_err().line, 1);
    assert_eq!(verify_file(&joined(&[0, 1, 3])).unwrap_err().line, 3, "a cut tail shows at the end line");
    assert_eq!(verify_file(&joined(&[0, 2, 1, 3])).unwrap_err().line, 2);
    assert_eq!(verify_file(&joined(&[0, 1, 1, 2, 3])).unwrap_err().line, 3);
    assert_eq!(verify_file(&joined(&[0, 1, 2, 3, 0])).unwrap_err().line, 5);
    assert_eq!(verify_file(&joined(&[0, 1, 2])).unwrap_err().line, 4, "the end line is missing");
    assert_eq!(verify_file(&joined(&[0])).unwrap_err().line, 2, "and so is the tail");
    assert!(verify_file("").is_err());
}

/// A cheat who writes the whole file anew, so that the line chain holds, is still held to the signatures.
#[test]
fn a_foreign_signature_is_named_even_in_a_file_that_was_written_anew() {
    let keys = samples::keys();
    let stranger = SigningKey::generate(&mut CountingEntropy(77));
    let receipt = Receipt { seq: 1, prev: entries()[0].1.id(), ..samples::receipt() };

    let mut by_stranger = entries();
    let foreign =
        stranger.sign(receipt.draft(&stranger.public_key(), samples::AT).unwrap(), &mut CountingEntropy(1));
    by_stranger[1] = (by_stranger[1].0.clone(), foreign.clone(), Some(ack_of(&foreign, &keys.session)));
    let error = verify_file(&write_file(&by_stranger)).unwrap_err();
    assert_eq!(error.line, 2);
    assert!(error.reason.contains("foreign signature"), "{error}");

    let mut ack_by_stranger = entries();
    let receipt_event = ack_by_stranger[1].1.clone();
    ack_by_stranger[1].2 = Some(ack_of(&receipt_event, &stranger));
    assert_eq!(verify_file(&write_file(&ack_by_stranger)).unwrap_err().line, 2);
}

#[test]
fn a_fork_of_the_nodes_chain_is_named() {
    let keys = samples::keys();
    let mut forked = entries();
    let second = samples::sign(
        &Receipt { seq: 1, ttft_ms: 1, prev: forked[0].1.id(), ..samples::receipt() },
        &keys.node,
    );
    let ack = ack_of(&second, &keys.session);
    forked.push((forked[0].0.clone(), second, Some(ack)));
    let error = verify_file(&write_file(&forked)).unwrap_err();
    assert_eq!(error.line, 4);
    assert!(error.reason.contains("fork"), "{error}");
}

/// A receipt that is padded until nobody can keep or acknowledge it is no receipt.
#[test]
fn a_receipt_at_the_limit_is_taken_and_a_larger_one_is_not() {
    let keys = samples::keys();
    let draft = samples::receipt().draft(&keys.node.public_key(), samples::AT).unwrap();
    let padded = |bytes: usize| {
        let mut draft = draft.clone();
        draft.tags.push(vec!["pad".into(), "x".repeat(bytes)]);
        keys.node.sign(draft, &mut CountingEntropy(1))
    };
    let room = fedai_protocol::limits::RECEIPT_EVENT_BYTES_MAX - padded(0).to_json().len();
    assert!(Receipt::parse(&padded(room)).is_ok());
    assert_eq!(Receipt::parse(&padded(room + 1)).unwrap_err().code(), "limit");
}
