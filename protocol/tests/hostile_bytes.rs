//! Bytes from strangers: whatever arrives, every reader answers with a value or an error, never with a panic, and never
//! takes for genuine what was changed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod samples;

use fedai_protocol::chunking::{Assembly, ChunkManifest};
use fedai_protocol::entropy::CountingEntropy;
use fedai_protocol::message::{Draft, Message, from_body};
use fedai_protocol::output_stream::OutputCounter;
use fedai_protocol::session_frame::Direction;
use fedai_protocol::*;
use proptest::prelude::*;

/// Parses as every kind of message; the result does not matter, only that there is one.
fn read_as_everything(event: &VerifiedEvent) {
    let _ = NodeDescriptor::parse(event).is_ok();
    let _ = ModelOffer::parse(event).is_ok();
    let _ = LoadPing::parse(event).is_ok();
    let _ = RouterProfile::parse(event).is_ok();
    let _ = QuoteRequest::parse(event).is_ok();
    let _ = QuoteReply::parse(event).is_ok();
    let _ = Dispatch::parse(event).is_ok();
    let _ = Receipt::parse(event).is_ok();
    let _ = ReceiptAck::parse(event).is_ok();
    let _ = UsageSummary::parse(event).is_ok();
    let _ = TrustAssertion::parse(event).is_ok();
    let _ = JobOpen::unwrap(event, &samples::keys().inbox).is_ok();
}

fn signed(kind: u16, tags: Vec<Vec<String>>, content: String) -> VerifiedEvent {
    let draft = Draft::new(kind, tags, content, samples::AT);
    samples::keys().ticket.sign(draft, &mut CountingEntropy(1))
}

fn any_kind() -> impl Strategy<Value = u16> {
    prop_oneof![prop::sample::select(event_kinds::ALL.to_vec()), any::<u16>()]
}

/// Bodies that are nearly right: a genuine one with a piece replaced.
fn nearly_genuine() -> impl Strategy<Value = String> {
    let genuine: Vec<String> = {
        let keys = samples::keys();
        let author = keys.router.public_key();
        let body = |draft: Draft| {
            let spec = draft.tags.iter().find(|tag| tag[0] == "spec").map(|tag| tag[1].clone());
            spec.unwrap_or(draft.content)
        };
        vec![
            body(samples::descriptor().draft(&author, samples::AT).unwrap()),
            body(samples::offer().draft(&author, samples::AT).unwrap()),
            body(samples::quote_reply().draft(&author, samples::AT).unwrap()),
            body(samples::dispatch().draft(&author, samples::AT).unwrap()),
            body(samples::receipt().draft(&author, samples::AT).unwrap()),
            body(samples::ack().draft(&author, samples::AT).unwrap()),
        ]
    };
    let piece = prop_oneof![
        Just("null".to_owned()),
        Just("-1".to_owned()),
        Just("1e400".to_owned()),
        Just("99999999999999999999999".to_owned()),
        Just("[[[[[[[[".to_owned()),
        Just("{\"v\":1}".to_owned()),
        Just("\u{0}".to_owned()),
        ".{0,12}",
    ];
    (prop::sample::select(genuine), any::<prop::sample::Index>(), 0_usize..24, piece).prop_map(
        |(body, at, cut, piece)| {
            let characters: Vec<char> = body.chars().collect();
            let at = at.index(characters.len());
            let end = (at + cut).min(characters.len());
            let (before, after) = (characters[..at].iter(), characters[end..].iter());
            before.copied().chain(piece.chars()).chain(after.copied()).collect()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(text in ".{0,400}") {
        let _ = VerifiedEvent::from_json(&text).is_ok();
        let _ = receipts_file::verify_file(&text).is_ok();
        let _ = from_body::<SessionFrame>(&text).is_ok();
        let _ = from_body::<JobOpen>(&text).is_ok();
        let _ = OutputCounter::default().push(&text).is_ok();
        let _ = text.parse::<Address>().is_ok();
        let _ = samples::conversation(&samples::keys().inbox, &samples::keys().ticket).open(&text).is_ok();
    }

    #[test]
    fn any_signed_event_is_read_or_refused(
        kind in any_kind(),
        tags in prop::collection::vec(prop::collection::vec(".{0,20}", 1..4), 0..8),
        content in prop_oneof![".{0,200}", nearly_genuine()],
    ) {
        let event = signed(kind, tags, content.clone());
        read_as_everything(&event);
        let spec = signed(kind, vec![vec!["spec".into(), content]], String::new());
        read_as_everything(&spec);
    }

    #[test]
    fn a_frame_with_any_flipped_byte_does_not_open(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let keys = samples::keys();
        let (_, frame) = samples::frames().remove(1);
        let conversation = samples::conversation(&keys.node_session, &keys.session);
        let sealed = frame
            .seal(&conversation, &keys.node_session, &keys.session.public_key(), samples::AT, &mut CountingEntropy(5))
            .unwrap();
        let mut bytes = sealed.content().as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let Ok(content) = String::from_utf8(bytes) else { return Ok(()) };
        prop_assume!(content != sealed.content());
        let tags = vec![vec!["p".to_owned(), keys.session.public_key().to_hex()]];
        let event = signed(event_kinds::SESSION_FRAME, tags, content);
        let other = samples::conversation(&keys.session, &keys.node_session);
        prop_assert!(SessionFrame::open(&event, &other, frame.job, Direction::ToClient).is_err());
    }

    #[test]
    fn any_manifest_and_pieces_are_refused_or_open(
        bytes in any::<u64>(), chunks in any::<u32>(), piece in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let manifest = ChunkManifest { key: "00".repeat(32), sha256: "00".repeat(32), bytes, chunks };
        if let Ok(mut assembly) = Assembly::new(manifest) {
            let _ = assembly.push(&piece).is_ok();
            prop_assert!(assembly.open().is_err());
        }
    }

    #[test]
    fn prices_never_panic_and_never_exceed_their_ceiling(
        input in any::<u64>(), output in any::<u64>(), cached in any::<Option<u64>>(), request in any::<u64>(),
        (fresh, reused, made) in (any::<u32>(), any::<u32>(), any::<u32>()),
    ) {
        let price = Price {
            input: MsatPerMtok::saturating(input),
            cached_input: cached.map(MsatPerMtok::saturating),
            output: MsatPerMtok::saturating(output),
            request: Msat::saturating(request),
        };
        let usage = Usage {
            input_tokens: Tokens::saturating(fresh.into()),
            cached_tokens: Tokens::saturating(reused.into()),
            output_tokens: Tokens::saturating(made.into()),
            output_bytes: made.into(),
            ..Usage::default()
        };
        if let (Some(amount), Some(ceiling)) =
            (price.amount(&usage), price.ceiling(usage.input_tokens, usage.output_tokens))
        {
            prop_assert!(amount <= ceiling);
        }
    }
}

#[test]
fn json_bombs_are_refused_quickly() {
    let deep = format!("{}{}", "[".repeat(60_000), "]".repeat(5_000));
    assert!(VerifiedEvent::from_json(&deep).is_err());
    assert!(from_body::<SessionFrame>(&deep).is_err());
    let event = signed(event_kinds::MODEL_OFFER, vec![vec!["spec".into(), deep]], String::new());
    assert!(ModelOffer::parse(&event).is_err());
}

#[test]
fn a_job_open_for_somebody_else_or_altered_inside_is_refused() {
    let keys = samples::keys();
    let wrapped = samples::job_open()
        .wrap(&keys.ticket, &keys.inbox.public_key(), samples::AT, samples::AT, &mut CountingEntropy(1))
        .unwrap();
    assert_eq!(JobOpen::unwrap(&wrapped.wrap, &keys.router).unwrap_err().code(), "not_for_me");
    let mut lying = samples::job_open();
    lying.request_hash = "00".repeat(32);
    assert!(
        lying
            .wrap(&keys.ticket, &keys.inbox.public_key(), samples::AT, samples::AT, &mut CountingEntropy(1))
            .is_err()
    );
}

#[test]
fn a_quote_is_held_to_the_nodes_own_words() {
    use fedai_protocol::quote::{QuoteCheckError, QuoteOutcome};
    let QuoteOutcome::Quote(honest) = samples::quote_reply().outcome else { panic!("not a quote") };
    assert!(honest.check_nodes(samples::AT).is_ok());
    assert_eq!(honest.record.as_ref().unwrap().digest(), honest.decision);
    let dearer = {
        let mut q = honest.clone();
        q.nodes[0].max_cost = Msat::new(500).unwrap();
        q
    };
    assert!(matches!(dearer.check_nodes(samples::AT), Err(QuoteCheckError::Price { .. })));
    let low = {
        let mut q = honest.clone();
        q.ceiling = Msat::new(1).unwrap();
        q
    };
    assert_eq!(low.check_nodes(samples::AT), Err(QuoteCheckError::Ceiling));
    let foreign = {
        let mut q = honest.clone();
        q.nodes[0].offer = samples::sign(&samples::offer(), &samples::keys().router);
        q
    };
    assert_eq!(foreign.check_nodes(samples::AT), Err(QuoteCheckError::Mismatch));
    let other = {
        let mut q = honest.clone();
        q.model = "llama".into();
        q
    };
    assert_eq!(other.check_nodes(samples::AT), Err(QuoteCheckError::Model));
    assert_eq!(honest.check_nodes(samples::AT.plus(901)), Err(QuoteCheckError::Expired));
}
