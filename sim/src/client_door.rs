//! The client's end of a session, on either wire.

use fedai_client::core::session_door::SessionDoor;
use fedai_protocol::job_open::JobOpen;
use fedai_protocol::session_frame::{Direction, FrameBody};
use fedai_protocol::{JobId, PublicKey, SessionFrame, UnixSeconds, VerifiedEvent};

use crate::turn::Turn;
use crate::wire::{Content, Identity, Letter};

/// A session with what it takes to open it again.
pub(crate) struct OpenSession {
    pub(crate) door: Door,
    pub(crate) node: PublicKey,
    pub(crate) open: JobOpen,
    pub(crate) inbox: PublicKey,
    pub(crate) created_at: UnixSeconds,
}

/// The door.
pub(crate) struct Door {
    key: Identity,
    job: JobId,
    way: Way,
}

enum Way {
    /// The production door, which opens, seals and lets the node vouch for its session key.
    Sealed(Box<SessionDoor>),
    /// Nobody can write in another's name: the first who answers for the job is the node.
    Typed(Option<PublicKey>),
}

impl Door {
    pub(crate) fn sealed(key: &Identity, job: JobId, node: PublicKey) -> Self {
        let way = match key.real() {
            Some(real) => Way::Sealed(Box::new(SessionDoor::new(real.clone(), job, node))),
            None => Way::Typed(None),
        };
        Self { key: key.clone(), job, way }
    }

    pub(crate) const fn typed(key: PublicKey, job: JobId) -> Self {
        Self { key: Identity::Simulated(key), job, way: Way::Typed(None) }
    }

    pub(crate) fn key(&self) -> PublicKey {
        self.key.public_key()
    }

    pub(crate) const fn identity(&self) -> &Identity {
        &self.key
    }

    pub(crate) const fn job(&self) -> JobId {
        self.job
    }

    /// Opens an event; gives the frames that may pass now.
    pub(crate) fn open(&mut self, event: &VerifiedEvent) -> Vec<SessionFrame> {
        match &mut self.way {
            Way::Sealed(door) => door.open(event),
            Way::Typed(_) => Vec::new(),
        }
    }

    /// True when a frame of a letter may pass.
    pub(crate) fn passes(&mut self, from: PublicKey, frame: &SessionFrame) -> bool {
        let Way::Typed(peer) = &mut self.way else { return false };
        frame.job == self.job && frame.dir == Direction::ToClient && *peer.get_or_insert(from) == from
    }

    pub(crate) fn send(&self, s: u64, body: FrameBody, turn: &mut Turn<'_>) {
        let now = turn.now.seconds();
        match &self.way {
            Way::Sealed(door) => match door.seal(s, body, now, turn.mint) {
                Some(Ok(event)) => turn.publish(event),
                Some(Err(error)) => turn.broken(format!("a frame of the client cannot be sealed: {error}")),
                None => {}
            },
            Way::Typed(Some(peer)) => {
                let frame = SessionFrame { job: self.job, dir: Direction::ToNode, s, body };
                turn.post(Letter { to: *peer, from: self.key(), at: now, content: Content::Frame(frame) });
            }
            Way::Typed(None) => {}
        }
    }
}
