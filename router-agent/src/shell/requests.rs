//! Quote requests as they come from relays: addressed to us and sealed, open to all and plain, or not for us.

use fedai_protocol::message::Received;
use fedai_protocol::sealed_session::Conversation;
use fedai_protocol::{Message, ParseError, QuoteReply, QuoteRequest, VerifiedEvent};
use fedai_relay_bridge::{RelayPool, RelayRole, wall_clock};

use super::signer::Signer;

/// A quote request, opened.
pub(crate) struct Opened {
    /// The request, or why it cannot be read.
    pub(crate) request: Result<Received<QuoteRequest>, ParseError>,
    /// Seals the reply; none for an open request.
    pub(crate) conversation: Option<Conversation>,
}

/// Opens a request. None when it is for another router, or cannot be opened with our key.
pub(crate) fn open(event: &VerifiedEvent, signer: &Signer) -> Option<Opened> {
    let Some(audience) = event.tag("p") else {
        return Some(Opened { request: QuoteRequest::parse(event), conversation: None });
    };
    if audience != signer.identity().to_hex() {
        return None;
    }
    let conversation = signer.conversation(&event.author()).ok()?;
    let body = conversation.open(event.content()).ok()?;
    Some(Opened { request: QuoteRequest::parse_body(event, &body), conversation: Some(conversation) })
}

/// Sends a reply to who asked, on every relay on which requests are read.
pub(crate) fn send(
    signer: &Signer,
    pool: &RelayPool,
    reply: &QuoteReply,
    conversation: Option<&Conversation>,
) {
    match signer.reply(reply, conversation, wall_clock::now_seconds()) {
        Ok(event) => {
            if pool.publish_ephemeral(event, RelayRole::Control) == 0 {
                tracing::warn!(request = %reply.request, "no relay is connected; a reply is lost");
            }
        }
        Err(error) => tracing::error!(%error, "a reply could not be written"),
    }
}
