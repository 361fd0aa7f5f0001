//! What travels between parties. On the sealed wire that is what relays really carry: signed events, sealed where they
//! are not public. On the typed wire nothing is signed, sealed or written as JSON: public messages are events that
//! carry their message as a value, all else is a letter. Both are delivered by the same rules, to the same actors.

use std::sync::Arc;

use fedai_protocol::event_kinds::{EPHEMERAL_GIFT_WRAP, QUOTE, QUOTE_REQUEST, SESSION_FRAME};
use fedai_protocol::job_open::OpenedJob;
use fedai_protocol::message::{Draft, Received};
use fedai_protocol::{
    Entropy, EventId, PublicKey, QuoteReply, QuoteRequest, SessionFrame, SigningKey, UnixSeconds,
    VerifiedEvent, simulated,
};

use crate::chance::Chance;
use crate::workload::prompt::Prompt;

/// How parties speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// Really signed and sealed, as in production.
    #[default]
    Sealed,
    /// As typed values.
    Typed,
}

/// What is on its way.
#[derive(Clone, Debug)]
pub enum Payload {
    /// An event: everything on the sealed wire, what is public on the typed one.
    Event(VerifiedEvent),
    /// What would be sealed, on the typed wire.
    Letter(Arc<Letter>),
}

/// A message for one key.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Reader.
    pub to: PublicKey,
    /// Writer.
    pub from: PublicKey,
    /// When it was written.
    pub at: UnixSeconds,
    /// What it says.
    pub content: Content,
}

/// What a letter says.
#[derive(Clone, Debug)]
pub enum Content {
    /// To a router.
    Request(Received<QuoteRequest>),
    /// To the client that asked.
    Reply(Received<QuoteReply>),
    /// To a node. The prompt is what a runner makes of the request.
    Open(Box<OpenedJob>, Prompt),
    /// Within a session.
    Frame(SessionFrame),
}

impl Payload {
    /// Kind of the event that this is, or would be.
    #[must_use]
    pub fn kind(&self) -> u16 {
        match self {
            Self::Event(event) => event.kind(),
            Self::Letter(letter) => match letter.content {
                Content::Request(_) => QUOTE_REQUEST,
                Content::Reply(_) => QUOTE,
                Content::Open(..) => EPHEMERAL_GIFT_WRAP,
                Content::Frame(_) => SESSION_FRAME,
            },
        }
    }

    /// The key that it is addressed to.
    #[must_use]
    pub fn addressee(&self) -> Option<PublicKey> {
        match self {
            Self::Event(event) => PublicKey::from_hex(event.tag("p")?).ok(),
            Self::Letter(letter) => Some(letter.to),
        }
    }
}

/// Keys and ids in the order in which they are asked for.
#[derive(Clone, Debug)]
pub struct Mint {
    wire: Wire,
    chance: Chance,
    made: u64,
}

impl Mint {
    /// A mint for a wire.
    #[must_use]
    pub const fn new(wire: Wire, chance: Chance) -> Self {
        Self { wire, chance, made: 0 }
    }

    /// The wire.
    #[must_use]
    pub const fn wire(&self) -> Wire {
        self.wire
    }

    /// A fresh key.
    pub fn identity(&mut self) -> Identity {
        match self.wire {
            Wire::Sealed => Identity::Real(Box::new(SigningKey::generate(&mut self.chance))),
            Wire::Typed => Identity::Simulated(simulated::key(KEYS, self.next())),
        }
    }

    /// A fresh id, for what would have one by its content.
    pub fn id(&mut self) -> EventId {
        simulated::id(IDS, self.next())
    }

    /// Randomness that is no key.
    pub const fn chance(&mut self) -> &mut Chance {
        &mut self.chance
    }

    const fn next(&mut self) -> u64 {
        self.made = self.made.saturating_add(1);
        self.made
    }
}

impl Entropy for Mint {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.chance.fill(bytes);
    }
}

/// A party's key. It signs where there is something to sign.
#[derive(Clone)]
pub enum Identity {
    /// A real one.
    Real(Box<SigningKey>),
    /// A name.
    Simulated(PublicKey),
}

impl Identity {
    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        match self {
            Self::Real(key) => key.public_key(),
            Self::Simulated(key) => *key,
        }
    }

    /// The event of a draft.
    #[must_use]
    pub fn sign(&self, draft: Draft, mint: &mut Mint) -> VerifiedEvent {
        match self {
            Self::Real(key) => key.sign(draft, mint),
            Self::Simulated(key) => draft.simulate(*key),
        }
    }

    /// The key that signs and seals, on the sealed wire.
    #[must_use]
    pub fn real(&self) -> Option<&SigningKey> {
        match self {
            Self::Real(key) => Some(key),
            Self::Simulated(_) => None,
        }
    }
}

const KEYS: u8 = 1;
const IDS: u8 = 2;
