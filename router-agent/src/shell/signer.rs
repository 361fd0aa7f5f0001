//! The router's two keys and what they do: the identity signs tickets, replies and announcements; the session key opens
//! requests and seals replies. Two signatures and one key agreement per quote.

use std::path::Path;

use fedai_protocol::message::{Draft, ParseError, body_json};
use fedai_protocol::sealed_session::{Conversation, SealError};
use fedai_protocol::{
    EventId, Message, NodeStanding, PublicKey, QuoteReply, SigningKey, UnixSeconds, VerifiedEvent,
};
use fedai_relay_bridge::SystemEntropy;
use fedai_relay_bridge::key_file::{self, KeyFileError};

/// The keys.
pub(crate) struct Signer {
    identity: SigningKey,
    session: SigningKey,
}

impl Signer {
    /// Reads the keys of a data directory, or makes them.
    pub(crate) fn open(data: &Path, passphrase: Option<&str>) -> Result<Self, KeyFileError> {
        Ok(Self {
            identity: key_file::load_or_create(data, "router", passphrase, &mut SystemEntropy)?,
            session: key_file::load_or_create(data, "session", passphrase, &mut SystemEntropy)?,
        })
    }

    /// Public identity.
    pub(crate) fn identity(&self) -> PublicKey {
        self.identity.public_key()
    }

    /// Public session key.
    pub(crate) fn session(&self) -> PublicKey {
        self.session.public_key()
    }

    /// Signs a message as the router.
    pub(crate) fn sign<M: Message>(&self, message: &M, at: UnixSeconds) -> Result<VerifiedEvent, ParseError> {
        Ok(self.identity.sign(message.draft(&self.identity(), at)?, &mut SystemEntropy))
    }

    /// A standing, for its node alone.
    pub(crate) fn seal_standing(
        &self,
        standing: &NodeStanding,
        at: UnixSeconds,
    ) -> Result<VerifiedEvent, ParseError> {
        standing.seal(&self.identity, at, &mut SystemEntropy)
    }

    /// The conversation with the author of a request.
    pub(crate) fn conversation(&self, client: &PublicKey) -> Result<Conversation, SealError> {
        Conversation::derive(&self.session, client)
    }

    /// The ticket key that stands behind an acknowledgement, when its proof holds.
    pub(crate) fn ticket_key(
        &self,
        sealed: &str,
        session: &PublicKey,
        receipt: &EventId,
    ) -> Option<PublicKey> {
        fedai_protocol::ticket_proof::open(sealed, &self.session, session, receipt)
    }

    /// Signs a reply, sealed where there is a conversation.
    pub(crate) fn reply(
        &self,
        reply: &QuoteReply,
        conversation: Option<&Conversation>,
        at: UnixSeconds,
    ) -> Result<VerifiedEvent, ParseError> {
        reply.check()?;
        let body = body_json(reply)?;
        let content = match conversation {
            Some(conversation) => {
                conversation.seal(&body, &mut SystemEntropy).map_err(|_| ParseError::Sealed)?
            }
            None => body,
        };
        let tags = reply.tags(&self.identity());
        let draft = Draft::new(QuoteReply::KIND, tags, content, at);
        Ok(self.identity.sign(draft, &mut SystemEntropy))
    }
}
