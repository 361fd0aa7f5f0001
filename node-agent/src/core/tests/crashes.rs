//! The node is killed between any two effects. What it knows afterwards is what the disk had: receipts, in order.

use fedai_protocol::message::Message;
use fedai_protocol::{Receipt, RefusalCode, VerifiedEvent};

use super::bench::*;
use crate::core::receipt_chain::ChainHead;
use crate::core::{Action, Input, Restored, RestoredJob};

/// What the shell reads back from a journal of receipts.
fn restored(disk: &[VerifiedEvent], lives_until: fedai_protocol::UnixSeconds) -> Restored {
    let mut restored = Restored::default();
    for event in disk {
        let receipt = Receipt::parse(event).unwrap();
        restored.head = ChainHead { seq: receipt.message.seq + 1, prev: receipt.id };
        restored.jobs.push(RestoredJob {
            job: receipt.message.job,
            ticket: receipt.message.dispatch,
            ticket_expires: lives_until,
        });
    }
    restored
}

fn assert_chain(disk: &[VerifiedEvent]) {
    let mut head = ChainHead::default();
    let mut jobs = std::collections::BTreeSet::new();
    for event in disk {
        let receipt = Receipt::parse(event).unwrap();
        assert_eq!((receipt.message.seq, receipt.message.prev), (head.seq, head.prev));
        assert!(jobs.insert(receipt.message.job), "two receipts for one job");
        head = ChainHead { seq: head.seq + 1, prev: receipt.id };
    }
}

/// Two jobs in a row, then the clients repeat what they sent. Stops before the effect with number `crash_at`.
fn run_until(crash_at: usize, bench: &mut Bench, script: &[Input]) -> bool {
    bench.disk_is_quick = false;
    for input in script {
        let jobs: Vec<_> = match input {
            Input::JobOpened { .. } => vec![job_of(input)],
            _ => vec![],
        };
        bench.take(input.clone());
        for job in jobs {
            bench.say(job, "word ");
            bench.finish(job, 1);
        }
        // The effects of one step: each draft is signed and stored in order. A crash leaves a prefix.
        let drafts = bench.done.iter().filter(|a| matches!(a, Action::SignReceipt { .. })).count();
        if bench.done.len() > crash_at {
            let before = bench.done.iter().take(crash_at);
            let stored = before.filter(|a| matches!(a, Action::SignReceipt { .. })).count();
            if stored == drafts {
                bench.store();
            }
            bench.disk.truncate(stored);
            return true;
        }
        bench.store();
    }
    false
}

#[test]
fn a_crash_between_any_two_effects_leaves_one_receipt_a_job_and_a_whole_chain() {
    let mut cuts = 0;
    for crash_at in 0.. {
        let mut bench = Bench::new();
        let ask = Ask { uses: 2, ..Ask::default() };
        let dispatch = bench.dispatch(&ask, 0);
        let script: Vec<Input> = (0..2).map(|_| bench.job(&ask, &dispatch, 0)).collect();
        let lives_until = bench.now.seconds().plus(600);
        if !run_until(crash_at, &mut bench, &script) {
            break;
        }
        cuts += 1;
        assert_chain(&bench.disk);
        let mut again =
            Bench::restored(|_| {}, restored(&bench.disk, lives_until), bench.now.plus_seconds(5));
        again.disk = bench.disk.clone();
        again.disk_is_quick = false;
        // Offers survive through the journal; here the clients come back with tickets on the new one.
        let offer = again.offer_id();
        for input in &script {
            let Input::JobOpened { opened, .. } = input else { panic!() };
            let fresh = again.dispatch(&Ask { uses: 2, offer: Some(offer), ..Ask::default() }, 0);
            let ticket = fedai_protocol::Dispatch::parse(&fresh).map(Box::new);
            let job = opened.job;
            let known = again.disk.iter().any(|event| Receipt::parse(event).unwrap().message.job == job);
            let actions = again.take(Input::JobOpened { opened: opened.clone(), ticket });
            assert_eq!(refusal(&actions, job) == Some(RefusalCode::Replayed), known, "cut at {crash_at}");
            again.say(job, "word ");
            again.finish(job, 1);
            again.store();
        }
        assert_chain(&again.disk);
        assert_eq!(again.disk.len(), 2, "cut at {crash_at}: every job has its receipt in the end");
    }
    assert!(cuts > 10, "only {cuts} cuts were tried");
}

#[test]
fn the_uses_of_a_ticket_come_back_from_its_receipts() {
    let mut bench = Bench::new();
    let dispatch = bench.dispatch(&Ask::default(), 0);
    let input = bench.job(&Ask::default(), &dispatch, 0);
    let job = job_of(&input);
    bench.take(input);
    bench.say(job, "word");
    bench.finish(job, 1);
    let offer = crate::core::offers::PublishedOffer {
        id: bench.offer_id(),
        offer: bench.node.offers.honoured(&bench.offer_id(), bench.now.seconds()).unwrap().offer.clone(),
        created_at: bench.now.seconds(),
        retired_at: None,
    };
    let mut known = restored(&bench.disk, bench.now.seconds().plus(600));
    known.offers = vec![offer];
    known.created_at_floor = bench.now.seconds().plus(40);
    let mut again = Bench::restored(|_| {}, known, bench.now.plus_seconds(5));
    let input = again.job(&Ask::default(), &dispatch, 0);
    let job = job_of(&input);
    let actions = again.take(input);
    assert_eq!(
        refusal(&actions, job),
        Some(RefusalCode::TicketUsedUp),
        "its offer is honoured, its ticket is used"
    );
    let early = again.done.iter().any(|action| match action {
        Action::PublishDescriptor(draft) | Action::PublishOffer(draft) => {
            draft.created_at <= bench.now.seconds().plus(40)
        }
        _ => false,
    });
    assert!(!early, "no announcement is older than one from before the restart");
}
