//! One way in and one way out for every typed message.
//!
//! A message is a serde struct. [`Message::draft`] writes it as an event: the struct as JSON (in `content`, or in one
//! `spec` tag where `content` is text for people) with `"v": 1`, and the tags that relays index, derived from the
//! struct. [`Message::parse`] reads it back and derives the tags again: an event whose tags say something else than its
//! body is refused, so that what was found by a filter is what was meant.

use std::sync::Arc;

use nostr::{EventId, Kind, PublicKey, Tag, Tags, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::event_id::event_id;
use crate::limits::{SPEC_TAG_BYTES_MAX, TAG_VALUE_BYTES_MAX};
use crate::unix_time::UnixSeconds;
use crate::verified_event::{TimeError, VerifiedEvent, VerifyError};

/// Protocol version that this crate speaks.
pub const VERSION: u64 = 1;

/// An event before its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Kind number.
    pub kind: u16,
    /// Tags, name first.
    pub tags: Vec<Vec<String>>,
    /// Content.
    pub content: String,
    /// Time to be written down.
    pub created_at: UnixSeconds,
    /// The message itself, in a simulated world; then tags and content are empty.
    #[cfg(feature = "simulation")]
    pub(crate) typed: Option<(crate::simulated::TypedBody, u64)>,
}

impl Draft {
    /// An event before its signature.
    #[must_use]
    pub const fn new(kind: u16, tags: Vec<Vec<String>>, content: String, created_at: UnixSeconds) -> Self {
        Self {
            kind,
            tags,
            content,
            created_at,
            #[cfg(feature = "simulation")]
            typed: None,
        }
    }

    /// The id that the event will have once `author` signs it: known before the signature is made.
    #[must_use]
    pub fn id(&self, author: &PublicKey) -> EventId {
        #[cfg(feature = "simulation")]
        if let Some((_, salt)) = &self.typed {
            return crate::simulated::draft_id(author, self.kind, self.created_at.0, *salt);
        }
        let tags = Tags::from_list(self.tags.iter().filter_map(|tag| Tag::parse(tag).ok()).collect());
        let created_at = Timestamp::from_secs(self.created_at.0);
        event_id(author, &created_at, &Kind::from(self.kind), &tags, &self.content)
    }
}

/// Why an event is not the message it should be. Each has a stable code for logs and refusals.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Signature, id or size.
    #[error(transparent)]
    Unverified(#[from] VerifyError),
    /// Age or expiry.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// Another kind than the one asked for.
    #[error("kind {0} is not the expected one")]
    WrongKind(u16),
    /// A version that this crate does not speak.
    #[error("protocol version {0} is not spoken here (this is version {VERSION})")]
    UnknownVersion(u64),
    /// The body is not what this kind carries.
    #[error("body is malformed: {0}")]
    Malformed(String),
    /// A field is outside its limit.
    #[error("{0} is outside its limit")]
    Limit(&'static str),
    /// A tag says something else than the body.
    #[error("tag `{0}` does not match the body")]
    TagMismatch(String),
    /// Not addressed to us.
    #[error("message is addressed to somebody else")]
    WrongAudience,
    /// Could not be opened with our key.
    #[error("sealed content could not be opened")]
    Sealed,
}

impl ParseError {
    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unverified(VerifyError::TooLarge | VerifyError::TooManyTags) => "oversize",
            Self::Unverified(VerifyError::Json) => "malformed",
            Self::Unverified(VerifyError::Id | VerifyError::Signature) => "bad_signature",
            Self::Time(TimeError::Expired) => "expired",
            Self::Time(_) => "stale",
            Self::WrongKind(_) | Self::Malformed(_) => "malformed",
            Self::UnknownVersion(_) => "unknown_version",
            Self::Limit(_) => "limit",
            Self::TagMismatch(_) => "tag_mismatch",
            Self::WrongAudience => "not_for_me",
            Self::Sealed => "sealed",
        }
    }
}

/// Where the JSON body of a message lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyPlace {
    /// In `content`.
    Content,
    /// In the `spec` tag; `content` is Markdown for people.
    SpecTag,
}

/// A typed message with one event kind.
pub trait Message: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Its kind.
    const KIND: u16;
    /// Where its body lives.
    const PLACE: BodyPlace = BodyPlace::Content;

    /// The tags that relays index, derived from the message.
    fn tags(&self, author: &PublicKey) -> Vec<Vec<String>>;

    /// Checks limits and what fields say of each other; called on the way in and on the way out.
    fn check(&self) -> Result<(), ParseError>;

    /// Text for people, used when the body lives in the `spec` tag.
    fn summary(&self) -> String {
        String::new()
    }

    /// What tells two messages of one author, kind and second apart in a simulated world, where nothing is hashed.
    #[cfg(feature = "simulation")]
    fn simulated_salt(&self) -> u64 {
        0
    }

    /// Writes the message as an event of `author`, ready to be signed.
    fn draft(&self, author: &PublicKey, created_at: UnixSeconds) -> Result<Draft, ParseError> {
        self.check()?;
        #[cfg(feature = "simulation")]
        if crate::simulated::is_simulated(author) {
            let typed = Some((crate::simulated::TypedBody::new(self.clone()), self.simulated_salt()));
            return Ok(Draft { typed, ..Draft::new(Self::KIND, Vec::new(), String::new(), created_at) });
        }
        let body = body_json(self)?;
        let mut tags = self.tags(author);
        check_tags(&tags)?;
        let content = match Self::PLACE {
            BodyPlace::Content => body,
            BodyPlace::SpecTag => {
                if body.len() > SPEC_TAG_BYTES_MAX {
                    return Err(ParseError::Limit("spec"));
                }
                tags.push(vec!["spec".into(), body]);
                self.summary()
            }
        };
        Ok(Draft::new(Self::KIND, tags, content, created_at))
    }

    /// Reads the message out of a verified event. Age is judged apart ([`VerifiedEvent::check_time`]).
    fn parse(event: &VerifiedEvent) -> Result<Received<Self>, ParseError> {
        #[cfg(feature = "simulation")]
        if let Some(message) = event.typed() {
            return Ok(message);
        }
        let body = match Self::PLACE {
            BodyPlace::Content => event.content(),
            BodyPlace::SpecTag => event.tag("spec").ok_or_else(|| ParseError::TagMismatch("spec".into()))?,
        };
        Self::parse_body(event, body)
    }

    /// As [`Message::parse`], for what is kept and handed on: its copies share the message.
    fn parse_shared(event: &VerifiedEvent) -> Result<Received<Arc<Self>>, ParseError> {
        #[cfg(feature = "simulation")]
        if let Some(message) = event.typed_shared() {
            return Ok(message);
        }
        let Received { message, author, id, created_at } = Self::parse(event)?;
        Ok(Received { message: Arc::new(message), author, id, created_at })
    }

    /// As [`Message::parse`] for a body that was opened apart (sealed content).
    fn parse_body(event: &VerifiedEvent, body: &str) -> Result<Received<Self>, ParseError> {
        if event.kind() != Self::KIND {
            return Err(ParseError::WrongKind(event.kind()));
        }
        let message: Self = from_body(body)?;
        message.check()?;
        for wanted in message.tags(&event.author()) {
            if !event.as_event().tags.iter().any(|tag| tag.as_slice() == wanted.as_slice()) {
                let name = wanted.into_iter().next().unwrap_or_default();
                return Err(ParseError::TagMismatch(name));
            }
        }
        Ok(Received { message, author: event.author(), id: event.id(), created_at: event.created_at() })
    }
}

/// JSON of a message body with its version.
pub fn body_json<M: Serialize>(message: &M) -> Result<String, ParseError> {
    #[derive(Serialize)]
    struct Wire<'a, M> {
        v: u64,
        #[serde(flatten)]
        message: &'a M,
    }
    serde_json::to_string(&Wire { v: VERSION, message }).map_err(malformed)
}

/// Reads a message body, version first: unknown fields are ignored, unknown versions are not.
pub fn from_body<M: DeserializeOwned>(body: &str) -> Result<M, ParseError> {
    #[derive(Deserialize)]
    struct VersionOnly {
        v: u64,
    }
    let VersionOnly { v } = serde_json::from_str(body).map_err(malformed)?;
    if v != VERSION {
        return Err(ParseError::UnknownVersion(v));
    }
    serde_json::from_str(body).map_err(malformed)
}

/// Only the place and category of a JSON error are kept: its text may quote the input.
pub(crate) fn malformed(error: serde_json::Error) -> ParseError {
    ParseError::Malformed(format!(
        "{:?} error at line {} column {}",
        error.classify(),
        error.line(),
        error.column()
    ))
}

fn check_tags(tags: &[Vec<String>]) -> Result<(), ParseError> {
    let short = |value: &String| value.len() <= TAG_VALUE_BYTES_MAX;
    if tags.iter().all(|tag| tag.iter().all(short)) { Ok(()) } else { Err(ParseError::Limit("tag value")) }
}

/// A message together with who said it, in which event and when. The only inputs of a core that came from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received<M> {
    /// The message.
    pub message: M,
    /// Author of the event: the key that signed it.
    pub author: PublicKey,
    /// Id of the event.
    pub id: EventId,
    /// Time that the author wrote down.
    pub created_at: UnixSeconds,
}

impl<M: Message> Received<M> {
    /// A message as if it had been received, for a simulated world in which nothing is signed.
    #[cfg(feature = "simulation")]
    #[must_use]
    pub fn simulated(message: M, author: PublicKey, id: EventId, created_at: UnixSeconds) -> Self {
        Self { message, author, id, created_at }
    }
}

/// A tag of one name and one value.
pub(crate) fn tag(name: &str, value: impl Into<String>) -> Vec<String> {
    vec![name.to_owned(), value.into()]
}

/// True when the text is not empty, not too long and holds no control characters.
pub(crate) fn is_name(text: &str, bytes_max: usize) -> bool {
    !text.is_empty() && text.len() <= bytes_max && !text.chars().any(char::is_control)
}
