//! What may be on a relay: what is public by its kind, and what is sealed.

use fedai_protocol::VerifiedEvent;
use fedai_protocol::event_kinds::{
    DISPATCH, EPHEMERAL_GIFT_WRAP, LOAD_PING, MODEL_OFFER, NODE_DESCRIPTOR, QUOTE, QUOTE_REQUEST, RECEIPT,
    RECEIPT_ACK, ROUTER_PROFILE, SESSION_FRAME, TRUST_ASSERTION, USAGE_SUMMARY,
};
use fedai_protocol::sealed_session::base64_decode;

use crate::workload::prompt::PLAINTEXT_MARK;

/// What a relay should not have seen. Says where, never what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Leak {
    /// A prompt or an output in the clear.
    #[error("a prompt or an output is readable in an event of kind {0}")]
    Plaintext(u16),
    /// Not NIP-44 where it must be.
    #[error("an event of kind {0} is not sealed")]
    Unsealed(u16),
    /// A kind that is neither public nor sealed.
    #[error("events of kind {0} have no business on a relay")]
    Kind(u16),
}

/// Is it sealed, or public by its kind?
pub(super) fn inspect(event: &VerifiedEvent) -> Result<(), Leak> {
    let kind = event.kind();
    let has_mark = |text: &str| text.contains(PLAINTEXT_MARK);
    let in_tags = event.as_event().tags.iter().any(|tag| tag.as_slice().iter().any(|part| has_mark(part)));
    if has_mark(event.content()) || in_tags {
        return Err(Leak::Plaintext(kind));
    }
    match kind {
        QUOTE_REQUEST | QUOTE | EPHEMERAL_GIFT_WRAP | SESSION_FRAME => {
            let raw = base64_decode(event.content()).unwrap_or_default();
            if raw.first() == Some(&NIP44_VERSION) { Ok(()) } else { Err(Leak::Unsealed(kind)) }
        }
        NODE_DESCRIPTOR | MODEL_OFFER | LOAD_PING | ROUTER_PROFILE | DISPATCH | RECEIPT | RECEIPT_ACK
        | USAGE_SUMMARY | TRUST_ASSERTION => Ok(()),
        _ => Err(Leak::Kind(kind)),
    }
}

const NIP44_VERSION: u8 = 2;
