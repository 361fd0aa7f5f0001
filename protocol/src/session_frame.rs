//! Kind 21438: one opaque frame of a session, sealed between two throwaway keys.
//!
//! The type is inside the ciphertext, so that a relay cannot tell a token from a cancel. `s` counts from 0 without gaps
//! in each direction and is the only order: relays shuffle, duplicate and drop. Job, direction and number are repeated
//! inside, because NIP-44 binds none of them. Plaintexts are padded to fixed sizes, so that lengths tell little.

use std::borrow::Cow;

use nostr::PublicKey;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::domain_separation::{self, digest};
use crate::entropy::Entropy;
use crate::event_kinds::SESSION_FRAME;
use crate::job_open::JobId;
use crate::limits::{OUTPUT_CHUNK_BYTES_MAX, SEALED_PLAINTEXT_BYTES_MAX};
use crate::message::{Draft, ParseError, body_json, from_body, tag};
use crate::payment_offer::{Balance, Payment};
use crate::refusal::Refusal;
use crate::sealed_session::Conversation;
use crate::signing_key::{SigningKey, verify_digest};
use crate::unix_time::UnixSeconds;
use crate::usage::Usage;
use crate::verified_event::VerifiedEvent;

/// Who a frame comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Client to node.
    ToNode,
    /// Node to client.
    ToClient,
}

/// The node takes the job; its identity vouches for its session key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accept {
    /// Identity key of the node.
    pub node: PublicKey,
    /// Signature of the identity key over (job, Sn, Sc).
    pub sig: String,
    /// Predicted wait before the runner starts.
    pub queue_ms: u64,
    /// Owed and paid.
    #[serde(default)]
    pub balance: Balance,
}

/// A piece of output (to the client) or of a bulk request (to the node, base64 of ciphertext).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The piece. Output is a stream of lines, each the JSON of one OpenAI choice delta.
    pub data: String,
    /// Owed and paid.
    #[serde(default)]
    pub balance: Balance,
}

/// What has arrived, and payment for what comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// All frames below this number have arrived.
    pub below: u64,
    /// Payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<Payment>,
}

/// The end of a job that worked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Final {
    /// What was counted.
    pub usage: Usage,
    /// Why the model stopped, in OpenAI's words.
    pub finish_reason: String,
    /// SHA-256 over all output chunks, in order (hex).
    pub output_sha256: String,
    /// The signed receipt (kind 1434).
    pub receipt: VerifiedEvent,
}

/// The end of a job that did not work. What was delivered before is covered by a receipt, when anything was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Why.
    pub refusal: Refusal,
    /// Receipt for the delivered part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<VerifiedEvent>,
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "t", content = "d", rename_all = "snake_case")]
pub enum FrameBody {
    /// First frame of the node.
    Accept(Accept),
    /// Output or bulk input.
    Chunk(Chunk),
    /// Are you there?
    Ping,
    /// Yes.
    Pong,
    /// Stop the work.
    Cancel,
    /// Terminal: it did not work.
    Error(Failure),
    /// Send everything from this number on again.
    Resume {
        /// First number wanted.
        from: u64,
    },
    /// What arrived.
    Ack(Ack),
    /// Terminal: it worked.
    Final(Box<Final>),
}

impl FrameBody {
    /// True for the one frame that ends a session.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        matches!(self, Self::Error(_) | Self::Final(_))
    }

    /// True for frames that are numbered and kept for `resume`; the others carry state that is worthless later.
    #[must_use]
    pub const fn is_numbered(&self) -> bool {
        matches!(self, Self::Accept(_) | Self::Chunk(_) | Self::Error(_) | Self::Final(_))
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionFrame {
    /// Job.
    pub job: JobId,
    /// Direction.
    pub dir: Direction,
    /// Number: contiguous from 0 for numbered frames; for the others, the next number of the sender.
    pub s: u64,
    /// Content.
    #[serde(flatten)]
    pub body: FrameBody,
}

/// A frame whose type was not looked at yet. A derived flattened body would be read into a tree first, receipt and all.
#[derive(Deserialize)]
struct Unread<'a> {
    job: JobId,
    dir: Direction,
    s: u64,
    #[serde(borrow)]
    t: Cow<'a, str>,
    #[serde(borrow)]
    d: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for SessionFrame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Unread { job, dir, s, t, d } = Unread::deserialize(deserializer)?;
        let body = FrameBody::read(&t, d.map(RawValue::get)).map_err(serde::de::Error::custom)?;
        Ok(Self { job, dir, s, body })
    }
}

impl FrameBody {
    fn read(t: &str, d: Option<&str>) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Resume {
            from: u64,
        }
        let d = d.unwrap_or("null");
        Ok(match t {
            "accept" => Self::Accept(serde_json::from_str(d)?),
            "chunk" => Self::Chunk(serde_json::from_str(d)?),
            "ping" => Self::Ping,
            "pong" => Self::Pong,
            "cancel" => Self::Cancel,
            "error" => Self::Error(serde_json::from_str(d)?),
            "resume" => serde_json::from_str(d).map(|Resume { from }| Self::Resume { from })?,
            "ack" => Self::Ack(serde_json::from_str(d)?),
            "final" => Self::Final(serde_json::from_str(d)?),
            _ => return Err(serde::de::Error::custom("no type of frame")),
        })
    }
}

/// Plaintext sizes that frames are padded to.
const PADDED_SIZES: [usize; 8] = [256, 512, 1_024, 2_048, 4_096, 8_192, 16_384, SEALED_PLAINTEXT_BYTES_MAX];

impl SessionFrame {
    /// Seals and signs the frame for `to`, padded to a fixed size.
    pub fn seal(
        &self,
        conversation: &Conversation,
        from: &SigningKey,
        to: &PublicKey,
        now: UnixSeconds,
        entropy: &mut impl Entropy,
    ) -> Result<VerifiedEvent, ParseError> {
        let mut plain = body_json(self)?;
        let size =
            PADDED_SIZES.into_iter().find(|size| *size >= plain.len()).ok_or(ParseError::Limit("frame"))?;
        // JSON allows trailing white space: padding needs no field.
        plain.extend(core::iter::repeat_n(' ', size.saturating_sub(plain.len())));
        let content = conversation.seal(&plain, entropy).map_err(|_| ParseError::Sealed)?;
        let draft = Draft::new(SESSION_FRAME, vec![tag("p", to.to_hex())], content, now);
        Ok(from.sign(draft, entropy))
    }

    /// Opens a frame that was verified, and checks that it belongs to this job and direction.
    pub fn open(
        event: &VerifiedEvent,
        conversation: &Conversation,
        job: JobId,
        dir: Direction,
    ) -> Result<Self, ParseError> {
        if event.kind() != SESSION_FRAME {
            return Err(ParseError::WrongKind(event.kind()));
        }
        let plain = conversation.open(event.content()).map_err(|_| ParseError::Sealed)?;
        let frame: Self = from_body(&plain)?;
        if frame.job != job || frame.dir != dir {
            return Err(ParseError::WrongAudience);
        }
        if let FrameBody::Chunk(chunk) = &frame.body {
            let limit = match dir {
                Direction::ToClient => OUTPUT_CHUNK_BYTES_MAX,
                Direction::ToNode => SEALED_PLAINTEXT_BYTES_MAX,
            };
            if chunk.data.len() > limit {
                return Err(ParseError::Limit("chunk"));
            }
        }
        Ok(frame)
    }
}

/// What the node's identity signs in `accept`.
#[must_use]
pub fn accept_digest(job: JobId, node_session: &PublicKey, client_session: &PublicKey) -> [u8; 32] {
    let parts: [&[u8]; 3] = [job.as_bytes(), node_session.as_bytes(), client_session.as_bytes()];
    digest(domain_separation::SESSION_ACCEPT, &parts)
}

impl Accept {
    /// Checks that the identity key `node` vouches for the session key `node_session` in this job.
    #[must_use]
    pub fn vouches(
        &self,
        node: &PublicKey,
        job: JobId,
        node_session: &PublicKey,
        client_session: &PublicKey,
    ) -> bool {
        self.node == *node && verify_digest(node, accept_digest(job, node_session, client_session), &self.sig)
    }
}
