//! The door between opaque frames and a job: only frames of a session key that the node's identity vouched for pass.
//!
//! A frame may overtake the `accept` that vouches for its author, so frames of unknown authors wait here, few of them
//! and for few authors; anybody can write to a session key once it was seen on a relay.
//!
//! One frame needs no voucher: a refusal, which is an `error` in the place of the `accept` (number 0). It opens only
//! with the job's id, which nobody knows but the holder of the inbox key that the job was sealed to; and it ends the
//! attempt, so there is nothing later to take on trust.

use fedai_protocol::message::ParseError;
use fedai_protocol::sealed_session::Conversation;
use fedai_protocol::session_frame::{Direction, FrameBody, SessionFrame};
use fedai_protocol::{Entropy, JobId, PublicKey, SigningKey, UnixSeconds, VerifiedEvent};

/// Authors that wait to be vouched for at once.
const AUTHORS_MAX: usize = 8;
/// Frames kept of one such author.
const WAITING_FRAMES_MAX: usize = 128;

/// The client's end of one session.
pub struct SessionDoor {
    session: SigningKey,
    job: JobId,
    node: PublicKey,
    vouched: Option<Peer>,
    is_refused: bool,
    waiting: Vec<(Peer, Vec<SessionFrame>)>,
}

struct Peer {
    key: PublicKey,
    conversation: Conversation,
}

impl SessionDoor {
    /// A door for the answer of `node` to `job`.
    #[must_use]
    pub const fn new(session: SigningKey, job: JobId, node: PublicKey) -> Self {
        Self { session, job, node, vouched: None, is_refused: false, waiting: Vec::new() }
    }

    /// Our key in this session.
    #[must_use]
    pub const fn session(&self) -> &SigningKey {
        &self.session
    }

    /// True while the node has neither taken nor refused the job.
    #[must_use]
    pub const fn is_unanswered(&self) -> bool {
        self.vouched.is_none() && !self.is_refused
    }

    /// The node's key in this session, once it was vouched for.
    #[must_use]
    pub fn peer(&self) -> Option<PublicKey> {
        self.vouched.as_ref().map(|peer| peer.key)
    }

    /// Opens a frame; gives the frames that may pass now.
    pub fn open(&mut self, event: &VerifiedEvent) -> Vec<SessionFrame> {
        let author = event.author();
        if let Some(peer) = &self.vouched {
            if peer.key != author {
                return Vec::new();
            }
            return self.read(event, &peer.conversation).into_iter().collect();
        }
        self.open_unvouched(event, author)
    }

    /// Seals a frame for the node; none before it was vouched for.
    pub fn seal(
        &self,
        s: u64,
        body: FrameBody,
        now: UnixSeconds,
        entropy: &mut impl Entropy,
    ) -> Option<Result<VerifiedEvent, ParseError>> {
        let peer = self.vouched.as_ref()?;
        let frame = SessionFrame { job: self.job, dir: Direction::ToNode, s, body };
        Some(frame.seal(&peer.conversation, &self.session, &peer.key, now, entropy))
    }

    fn read(&self, event: &VerifiedEvent, conversation: &Conversation) -> Option<SessionFrame> {
        SessionFrame::open(event, conversation, self.job, Direction::ToClient).ok()
    }

    fn open_unvouched(&mut self, event: &VerifiedEvent, author: PublicKey) -> Vec<SessionFrame> {
        let known = self.waiting.iter().position(|(peer, _)| peer.key == author);
        if known.is_none() {
            let Ok(conversation) = Conversation::derive(&self.session, &author) else { return Vec::new() };
            let peer = Peer { key: author, conversation };
            // A stranger's frame must open before it takes a place.
            if self.read(event, &peer.conversation).is_none() || self.waiting.len() >= AUTHORS_MAX {
                return Vec::new();
            }
            self.waiting.push((peer, Vec::new()));
        }
        let at = known.unwrap_or_else(|| self.waiting.len().saturating_sub(1));
        let Some((peer, _)) = self.waiting.get(at) else { return Vec::new() };
        let Some(frame) = self.read(event, &peer.conversation) else { return Vec::new() };
        let vouches = matches!(&frame.body, FrameBody::Accept(accept)
            if accept.vouches(&self.node, self.job, &author, &self.session.public_key()));
        if frame.s == 0 && matches!(frame.body, FrameBody::Error(_)) {
            self.is_refused = true;
            return vec![frame];
        }
        let Some((_, frames)) = self.waiting.get_mut(at) else { return Vec::new() };
        if !vouches {
            // A second `accept` that does not vouch is a lie and is not kept.
            if frames.len() < WAITING_FRAMES_MAX && !matches!(frame.body, FrameBody::Accept(_)) {
                frames.push(frame);
            }
            return Vec::new();
        }
        let (peer, mut ready) = self.waiting.swap_remove(at);
        self.vouched = Some(peer);
        self.waiting.clear();
        ready.insert(0, frame);
        ready
    }
}

#[cfg(test)]
#[path = "session_door_tests.rs"]
mod tests;
