//! The wire form of every message kind, byte for byte: a change of any of these files is a change of the protocol.
//!
//! Each golden file holds the whole signed event, made with fixed keys, times and entropy. To write them anew after an
//! intended change, run with `FEDAI_WRITE_GOLDEN=1` and read the diff.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod samples;

use fedai_protocol::entropy::CountingEntropy;
use fedai_protocol::message::{Draft, Message};
use fedai_protocol::{
    Dispatch, JobOpen, LoadPing, ModelOffer, NodeDescriptor, QuoteReply, QuoteRequest, Receipt,
};
use fedai_protocol::{ReceiptAck, RouterProfile, SigningKey, TrustAssertion, UsageSummary, VerifiedEvent};

/// Compares with (or writes) `tests/golden/<name>.json`.
fn check_golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let write = option_env!("FEDAI_WRITE_GOLDEN").is_some();
    if write {
        std::fs::write(&path, format!("{text}\n")).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("{path} is missing"));
    assert_eq!(text, golden.trim_end(), "{name} changed on the wire");
}

fn check<M: Message + PartialEq + std::fmt::Debug>(name: &str, message: &M, key: &SigningKey) {
    let event = samples::sign(message, key);
    check_golden(name, &event.to_json());
    let read = VerifiedEvent::from_json(&event.to_json()).unwrap();
    let back = M::parse(&read).unwrap();
    assert_eq!((&back.message, back.author, back.id), (message, key.public_key(), event.id()), "{name}");
}

#[test]
fn every_published_message_is_on_the_wire_as_written() {
    let keys = samples::keys();
    check::<NodeDescriptor>("31434_node_descriptor", &samples::descriptor(), &keys.node);
    check::<ModelOffer>("31435_model_offer", &samples::offer(), &keys.node);
    check::<RouterProfile>("31437_router_profile", &samples::profile(), &keys.router);
    check::<UsageSummary>("31438_usage_summary", &samples::summary(), &keys.router);
    check::<TrustAssertion>("30382_trust_assertion", &samples::assertion(), &keys.router);
    check::<LoadPing>("21434_load_ping", &samples::ping(), &keys.node);
    check::<QuoteRequest>("21435_quote_request", &samples::open_request(), &keys.ticket);
    check::<QuoteReply>("21436_quote", &samples::quote_reply(), &keys.router);
    check::<QuoteReply>("21436_refusal", &samples::refusal_reply(), &keys.router);
    check::<QuoteReply>("21436_busy_with_peers", &samples::busy_reply(), &keys.router);
    check::<Dispatch>("21437_dispatch", &samples::dispatch(), &keys.router);
    check::<Receipt>("1434_receipt", &samples::receipt(), &keys.node);
    check::<ReceiptAck>("1435_receipt_ack", &samples::ack(), &keys.session);
}

#[test]
fn the_wrapped_job_open_is_on_the_wire_as_written() {
    let keys = samples::keys();
    let open = samples::job_open();
    let wrapped = open
        .wrap(&keys.ticket, &keys.inbox.public_key(), samples::AT, samples::AT, &mut CountingEntropy(99))
        .unwrap();
    check_golden("21059_job_open", &wrapped.wrap.to_json());
    let opened = JobOpen::unwrap(&wrapped.wrap, &keys.inbox).unwrap();
    assert_eq!((opened.job, opened.client, opened.open), (wrapped.job, keys.ticket.public_key(), open));
}

#[test]
fn the_sealed_standing_is_on_the_wire_as_written() {
    let keys = samples::keys();
    let standing = samples::standing();
    check_golden("31439_node_standing", &fedai_protocol::message::body_json(&standing).unwrap());
    let sealed = standing.seal(&keys.router, samples::AT, &mut CountingEntropy(5)).unwrap();
    check_golden("31439_sealed_standing", &sealed.to_json());
    let read = VerifiedEvent::from_json(&sealed.to_json()).unwrap();
    let back = fedai_protocol::NodeStanding::open(&read, &keys.node).unwrap();
    assert_eq!((back.message, back.author), (standing, keys.router.public_key()));
}

#[test]
fn every_frame_is_on_the_wire_as_written() {
    let keys = samples::keys();
    for (name, frame) in samples::frames() {
        let plain = fedai_protocol::message::body_json(&frame).unwrap();
        check_golden(&format!("21438_frame_{name}"), &plain);
        let back: fedai_protocol::SessionFrame = fedai_protocol::message::from_body(&plain).unwrap();
        assert_eq!(back, frame, "{name}");
    }
    let (_, frame) = samples::frames().remove(1);
    let conversation = samples::conversation(&keys.node_session, &keys.session);
    let sealed = frame
        .seal(
            &conversation,
            &keys.node_session,
            &keys.session.public_key(),
            samples::AT,
            &mut CountingEntropy(5),
        )
        .unwrap();
    check_golden("21438_sealed_frame", &sealed.to_json());
}

#[test]
fn a_body_of_another_version_is_refused_and_an_unknown_field_is_not() {
    let keys = samples::keys();
    let draft = samples::dispatch().draft(&keys.router.public_key(), samples::AT).unwrap();
    let sign = |content: String| {
        let changed = Draft::new(draft.kind, draft.tags.clone(), content, draft.created_at);
        keys.router.sign(changed, &mut CountingEntropy(1))
    };
    let newer = sign(draft.content.replace("\"v\":1", "\"v\":2"));
    assert_eq!(Dispatch::parse(&newer).unwrap_err().code(), "unknown_version");
    let wider = sign(draft.content.replace("\"v\":1", "\"v\":1,\"colour\":\"blue\""));
    assert_eq!(Dispatch::parse(&wider).unwrap().message, samples::dispatch());
}

#[test]
fn tags_that_say_something_else_than_the_body_are_refused() {
    let keys = samples::keys();
    let draft = samples::offer().draft(&keys.node.public_key(), samples::AT).unwrap();
    for index in 0..draft.tags.len() {
        let mut forged = draft.clone();
        forged.tags[index][1] = "something-else".into();
        let event = keys.node.sign(forged, &mut CountingEntropy(1));
        assert!(ModelOffer::parse(&event).is_err(), "tag {:?}", draft.tags[index]);
    }
}
