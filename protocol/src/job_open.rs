//! The job open: what a client asks of a node, in a NIP-59 gift wrap of the ephemeral kind 21059.
//!
//! Three layers: the rumor (kind 21439, unsigned), a seal signed by the ticket key that the dispatch names, and
//! a wrap signed by a key used once. A relay sees a random key writing to the node's inbox key. The rumor's id
//! is the job's id: it commits to all of the content, so the same id always means the same job.

use core::fmt;

use nostr::{EventId, Kind, PublicKey, Tags, Timestamp};
use serde::{Deserialize, Serialize};

use crate::chunking::ChunkManifest;
use crate::domain_separation::{self, digest};
use crate::entropy::Entropy;
use crate::event_id::event_id;
use crate::event_kinds::{EPHEMERAL_GIFT_WRAP, JOB_OPEN, SEAL};
use crate::limits::{
    ANNOUNCED_URLS_MAX, EVENT_BYTES_MAX, INLINE_REQUEST_BYTES_MAX, JOB_OPEN_BYTES_MAX, URL_BYTES_MAX,
    WRAP_BACKDATE_SECONDS_MAX,
};
use crate::message::{Draft, ParseError, body_json, from_body, is_name, malformed, tag};
use crate::payment_offer::Payment;
use crate::sealed_session::{Conversation, SealError};
use crate::signing_key::SigningKey;
use crate::unix_time::UnixSeconds;
use crate::verified_event::VerifiedEvent;

/// Identifies one job: the id of its rumor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub EventId);

impl JobId {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

/// Which interface of the runner the request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobEndpoint {
    /// OpenAI chat completions.
    Chat,
    /// OpenAI (text) completions.
    Completion,
    /// OpenAI embeddings.
    Embedding,
}

/// The request, or how it will arrive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestBody {
    /// OpenAI-shaped JSON, byte for byte.
    Inline(String),
    /// Too large for one event: arrives in chunks after `accept`.
    Chunked(ChunkManifest),
}

/// What a client asks of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobOpen {
    /// The ticket (kind 21437).
    pub dispatch: VerifiedEvent,
    /// Interface.
    pub endpoint: JobEndpoint,
    /// The request.
    pub request: RequestBody,
    /// SHA-256 of the request bytes under its domain (hex).
    pub request_hash: String,
    /// The client's key for this session: frames go to it.
    pub session: PublicKey,
    /// Random bytes (hex) that keep the receipt's commitment from being guessed.
    pub nonce: String,
    /// Relays on which the client listens, most preferred first.
    pub relays: Vec<String>,
    /// Payment.
    pub payment: Payment,
    /// The job is worthless after this.
    pub expires_at: UnixSeconds,
    /// Longest wait for a slot that is accepted: a node that expects a longer one says `busy` at once, and the client
    /// goes on to the next node of its quote. Any wait is accepted when it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience_ms: Option<u64>,
}

/// A job open as the node has it after opening the wrap: who may use the ticket, and the job's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedJob {
    /// Job id.
    pub job: JobId,
    /// The key that sealed it; must be the one that the dispatch names.
    pub client: PublicKey,
    /// The message.
    pub open: JobOpen,
    /// Time of the rumor.
    pub created_at: UnixSeconds,
}

/// A wrapped job open, ready to be published, with its id.
#[derive(Clone, Debug)]
pub struct WrappedJob {
    /// Job id.
    pub job: JobId,
    /// Kind 21059 event.
    pub wrap: VerifiedEvent,
}

/// Hash of a request body, as job open and receipt commit to it.
#[must_use]
pub fn request_hash(request: &[u8]) -> [u8; 32] {
    digest(domain_separation::REQUEST, &[request])
}

impl JobOpen {
    fn check(&self) -> Result<(), ParseError> {
        if let RequestBody::Inline(body) = &self.request {
            if body.len() > INLINE_REQUEST_BYTES_MAX {
                return Err(ParseError::Limit("inline request"));
            }
            if hex::encode(request_hash(body.as_bytes())) != self.request_hash {
                return Err(ParseError::Malformed("request hash".into()));
            }
        }
        if self.relays.len() > ANNOUNCED_URLS_MAX
            || self.relays.iter().any(|url| !is_name(url, URL_BYTES_MAX))
        {
            return Err(ParseError::Limit("relays of the client"));
        }
        if self.nonce.len() != 64 || self.request_hash.len() != 64 || self.payment.tokens.len() > 64 {
            return Err(ParseError::Limit("field of job open"));
        }
        Ok(())
    }

    /// Wraps the job for `inbox`. The rumor's time and content are fixed by the first call's arguments: wrapping the
    /// same message again at the same `created_at` gives the same job id, so that a repeated open is the same job.
    pub fn wrap(
        &self,
        ticket: &SigningKey,
        inbox: &PublicKey,
        created_at: UnixSeconds,
        now: UnixSeconds,
        entropy: &mut impl Entropy,
    ) -> Result<WrappedJob, ParseError> {
        let keys = WrapKeys::derive(ticket, inbox, entropy).map_err(|_| ParseError::Sealed)?;
        self.wrap_with(keys, ticket, created_at, now, entropy)
    }

    /// [`JobOpen::wrap`] with keys that were derived before: two signatures are all that is left to do.
    pub fn wrap_with(
        &self,
        keys: WrapKeys,
        ticket: &SigningKey,
        created_at: UnixSeconds,
        now: UnixSeconds,
        entropy: &mut impl Entropy,
    ) -> Result<WrappedJob, ParseError> {
        self.check()?;
        let rumor = Rumor::new(self, ticket.public_key(), created_at)?;
        let job = JobId(rumor.id);
        let rumor = serde_json::to_string(&rumor).map_err(malformed)?;
        if rumor.len() > JOB_OPEN_BYTES_MAX {
            return Err(ParseError::Limit("job open"));
        }
        let sealed = keys.inner.seal(&rumor, entropy).map_err(|_| ParseError::Sealed)?;
        // The seal's time is the wrap's: NIP-59 backdates by days, strict relays refuse ephemerals older than a
        // minute.
        let at = now.minus(entropy.below(WRAP_BACKDATE_SECONDS_MAX + 1));
        let seal = ticket.sign(Draft::new(SEAL, Vec::new(), sealed, at), entropy);
        let content = keys
            .outer
            .seal_bounded(&seal.to_json(), entropy, EVENT_BYTES_MAX)
            .map_err(|_| ParseError::Sealed)?;
        let tags = vec![tag("p", keys.inbox.to_hex())];
        let wrap = keys.once.sign(Draft::new(EPHEMERAL_GIFT_WRAP, tags, content, at), entropy);
        Ok(WrappedJob { job, wrap })
    }

    /// Opens a wrap that is addressed to `inbox`.
    pub fn unwrap(wrap: &VerifiedEvent, inbox: &SigningKey) -> Result<OpenedJob, ParseError> {
        Self::unwrap_knowing(wrap, inbox, |_| None).map(|(opened, _)| opened)
    }

    /// [`JobOpen::unwrap`], where the author may be known from an earlier job under the same ticket and inbox key.
    /// Gives what is known for the next one.
    pub fn unwrap_knowing(
        wrap: &VerifiedEvent,
        inbox: &SigningKey,
        known: impl Fn(&PublicKey) -> Option<KnownTicket>,
    ) -> Result<(OpenedJob, KnownTicket), ParseError> {
        if wrap.kind() != EPHEMERAL_GIFT_WRAP {
            return Err(ParseError::WrongKind(wrap.kind()));
        }
        if wrap.tag("p") != Some(inbox.public_key().to_hex().as_str()) {
            return Err(ParseError::WrongAudience);
        }
        let derive = |author: &PublicKey| Conversation::derive(inbox, author).map_err(|_| ParseError::Sealed);
        let open = |with: &Conversation, content: &str| with.open(content).map_err(|_| ParseError::Sealed);
        let seal = VerifiedEvent::from_json(&open(&derive(&wrap.author())?, wrap.content())?)?;
        if seal.kind() != SEAL || !seal.as_event().tags.is_empty() {
            return Err(ParseError::WrongKind(seal.kind()));
        }
        let (agreement, dispatch) = match known(&seal.author()) {
            Some(KnownTicket { agreement, dispatch }) => (agreement, Some(dispatch)),
            None => (derive(&seal.author())?, None),
        };
        let rumor: Rumor = serde_json::from_str(&open(&agreement, seal.content())?).map_err(malformed)?;
        let opened = VerifiedEvent::reading_known(dispatch.as_ref(), || rumor.into_job(&seal))?;
        let dispatch = opened.open.dispatch.clone();
        Ok((opened, KnownTicket { agreement, dispatch }))
    }
}

/// What the next job under the same ticket needs no second time.
#[derive(Clone)]
pub struct KnownTicket {
    /// Key agreement between inbox key and ticket key.
    agreement: Conversation,
    /// The ticket.
    dispatch: VerifiedEvent,
}

/// The unsigned inner event.
/// Keys for one wrap, derived before there is anything to wrap. Used up by it: the key that signs it is used once.
pub struct WrapKeys {
    inbox: PublicKey,
    inner: Conversation,
    once: SigningKey,
    outer: Conversation,
}

impl WrapKeys {
    /// For a job under this ticket, to this inbox key.
    pub fn derive(
        ticket: &SigningKey,
        inbox: &PublicKey,
        entropy: &mut impl Entropy,
    ) -> Result<Self, SealError> {
        let inner = Conversation::derive(ticket, inbox)?;
        Self::next(inner, *inbox, entropy)
    }

    /// For the next job, where the agreement between ticket and inbox key is known.
    pub fn next(
        inner: Conversation,
        inbox: PublicKey,
        entropy: &mut impl Entropy,
    ) -> Result<Self, SealError> {
        let once = SigningKey::generate(entropy);
        let outer = Conversation::derive(&once, &inbox)?;
        Ok(Self { inbox, inner, once, outer })
    }

    /// The inbox key that they are for.
    #[must_use]
    pub const fn inbox(&self) -> PublicKey {
        self.inbox
    }
}

#[derive(Serialize, Deserialize)]
struct Rumor {
    id: EventId,
    pubkey: PublicKey,
    created_at: u64,
    kind: u16,
    tags: Vec<Vec<String>>,
    content: String,
}

impl Rumor {
    fn new(open: &JobOpen, author: PublicKey, created_at: UnixSeconds) -> Result<Self, ParseError> {
        let content = body_json(open)?;
        let id = rumor_id(&author, created_at.0, &content);
        Ok(Self { id, pubkey: author, created_at: created_at.0, kind: JOB_OPEN, tags: Vec::new(), content })
    }

    fn into_job(self, seal: &VerifiedEvent) -> Result<OpenedJob, ParseError> {
        if self.kind != JOB_OPEN {
            return Err(ParseError::WrongKind(self.kind));
        }
        if self.pubkey != seal.author() || !self.tags.is_empty() {
            return Err(ParseError::Malformed(
                "seal and rumor have different authors, or the rumor has tags".into(),
            ));
        }
        if rumor_id(&self.pubkey, self.created_at, &self.content) != self.id {
            return Err(ParseError::Malformed("rumor id".into()));
        }
        let open: JobOpen = from_body(&self.content)?;
        open.check()?;
        Ok(OpenedJob {
            job: JobId(self.id),
            client: self.pubkey,
            open,
            created_at: UnixSeconds(self.created_at),
        })
    }
}

fn rumor_id(author: &PublicKey, created_at: u64, content: &str) -> EventId {
    event_id(author, &Timestamp::from_secs(created_at), &Kind::from(JOB_OPEN), &Tags::new(), content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::CountingEntropy;

    const AT: UnixSeconds = UnixSeconds(1_800_000_000);

    /// A job open whose rumor has about `bytes` bytes, filled up by payment tokens.
    fn open_of(bytes: usize, key: &SigningKey) -> JobOpen {
        let draft = Draft::new(1, Vec::new(), "ticket".into(), AT);
        let open = JobOpen {
            dispatch: key.sign(draft, &mut CountingEntropy(1)),
            endpoint: JobEndpoint::Chat,
            request: RequestBody::Inline("{}".into()),
            request_hash: hex::encode(request_hash(b"{}")),
            session: key.public_key(),
            nonce: "00".repeat(32),
            relays: Vec::new(),
            payment: Payment { tokens: vec![String::new()], ..Payment::free() },
            expires_at: AT,
            patience_ms: None,
        };
        let empty = Rumor::new(&open, key.public_key(), AT).unwrap();
        let used = serde_json::to_string(&empty).unwrap().len();
        let tokens = vec!["x".repeat(bytes - used)];
        JobOpen { payment: Payment { tokens, ..Payment::free() }, ..open }
    }

    #[test]
    fn the_largest_job_open_fits_a_strict_relay_and_one_byte_more_is_refused() {
        let mut entropy = CountingEntropy(2);
        let [ticket, inbox] = core::array::from_fn(|_| SigningKey::generate(&mut entropy));
        let mut wrap =
            |bytes| open_of(bytes, &ticket).wrap(&ticket, &inbox.public_key(), AT, AT, &mut entropy);
        let largest = wrap(JOB_OPEN_BYTES_MAX).unwrap();
        assert!(largest.wrap.to_json().len() <= EVENT_BYTES_MAX, "{}", largest.wrap.to_json().len());
        assert_eq!(wrap(JOB_OPEN_BYTES_MAX + 1).unwrap_err(), ParseError::Limit("job open"));
        assert_eq!(JobOpen::unwrap(&largest.wrap, &inbox).unwrap().job, largest.job);
    }
}
