//! The keys of sessions and inboxes: made here, used here, erased here.
//!
//! Only this module sees a secret of a session. The rule: a key lives as long as the core says and no longer;
//! when it is
//! dropped it is erased, and what was sealed to it stays closed for ever, also to us.

use std::collections::{BTreeMap, BTreeSet};

use fedai_protocol::sealed_session::{Conversation, SealError};
use fedai_protocol::session_frame::{Direction, FrameBody, accept_digest};
use fedai_protocol::{JobId, ParseError, PublicKey, SessionFrame, SigningKey, UnixSeconds, VerifiedEvent};
use fedai_relay_bridge::SystemEntropy;

/// One session's keys and where its client listens.
pub(super) struct SessionSecrets {
    ours: SigningKey,
    client: PublicKey,
    conversation: Conversation,
    /// The turn in which it finished.
    finished_at: Option<u64>,
    /// Something was lost on the way that was taken: frames take every way from now on.
    is_wide: bool,
    /// Relays of the client, most preferred first.
    pub(super) relays: Vec<String>,
}

/// All sessions by job, and by the key that frames are addressed to.
#[derive(Default)]
pub(super) struct SessionKeys {
    sessions: BTreeMap<JobId, SessionSecrets>,
    by_key: BTreeMap<PublicKey, JobId>,
    open: BTreeSet<PublicKey>,
    /// Finished ones by their turn.
    finished: BTreeMap<u64, PublicKey>,
    /// Finishes so far.
    turn: u64,
    /// Finished ones that were closed so far.
    closed: u64,
}

impl SessionKeys {
    /// Makes the key of a session; gives its public half.
    pub(super) fn open(
        &mut self,
        job: JobId,
        client: PublicKey,
        relays: Vec<String>,
    ) -> Result<PublicKey, SealError> {
        let ours = SigningKey::generate(&mut SystemEntropy);
        let conversation = Conversation::derive(&ours, &client)?;
        self.close(&job);
        let key = ours.public_key();
        self.by_key.insert(key, job);
        self.open.insert(key);
        let session =
            SessionSecrets { ours, client, conversation, finished_at: None, is_wide: false, relays };
        self.sessions.insert(job, session);
        Ok(key)
    }

    /// The last frame of a session was sent: it is only kept for a client that asks for frames again.
    pub(super) fn finish(&mut self, job: &JobId) {
        let open = |session: &&mut SessionSecrets| session.finished_at.is_none();
        if let Some(session) = self.sessions.get_mut(job).filter(open) {
            let key = session.public_key();
            self.turn = self.turn.saturating_add(1);
            session.finished_at = Some(self.turn);
            self.open.remove(&key);
            self.finished.insert(self.turn, key);
        }
    }

    /// Erases the key of a session; gives its public half.
    pub(super) fn close(&mut self, job: &JobId) -> Option<PublicKey> {
        let session = self.sessions.remove(job)?;
        let gone = session.public_key();
        self.by_key.remove(&gone);
        self.open.remove(&gone);
        if session.finished_at.and_then(|turn| self.finished.remove(&turn)).is_some() {
            self.closed = self.closed.saturating_add(1);
        }
        Some(gone)
    }

    /// The client had to ask for frames again.
    pub(super) fn widen(&mut self, job: &JobId) {
        if let Some(session) = self.sessions.get_mut(job) {
            session.is_wide = true;
        }
    }

    /// Keys of open sessions.
    pub(super) fn open_keys(&self) -> impl ExactSizeIterator<Item = PublicKey> {
        self.open.iter().copied()
    }

    /// Keys of sessions that finished after this turn, the last one first.
    pub(super) fn finished_after(&self, turn: u64) -> impl DoubleEndedIterator<Item = PublicKey> {
        self.finished.range(turn.saturating_add(1)..).rev().map(|(_, key)| *key)
    }

    /// True while a finished one is kept.
    pub(super) fn has_finished(&self) -> bool {
        !self.finished.is_empty()
    }

    /// How many have finished so far, and how many of those are gone.
    pub(super) const fn past(&self) -> (u64, u64) {
        (self.turn, self.closed)
    }

    /// A session.
    pub(super) fn get(&self, job: &JobId) -> Option<&SessionSecrets> {
        self.sessions.get(job)
    }

    /// Opens a frame of a client, when it is one of ours.
    pub(super) fn open_frame(&self, event: &VerifiedEvent) -> Result<(JobId, SessionFrame), ParseError> {
        let to = event.tag("p").and_then(|key| PublicKey::from_hex(key).ok());
        let job = to.and_then(|key| self.by_key.get(&key)).ok_or(ParseError::WrongAudience)?;
        let session = self.sessions.get(job).ok_or(ParseError::WrongAudience)?;
        if event.author() != session.client {
            return Err(ParseError::WrongAudience);
        }
        let frame = SessionFrame::open(event, &session.conversation, *job, Direction::ToNode)?;
        Ok((*job, frame))
    }
}

impl SessionSecrets {
    /// True when frames take every way.
    pub(super) const fn is_wide(&self) -> bool {
        self.is_wide
    }

    /// The public half of our key.
    pub(super) fn public_key(&self) -> PublicKey {
        self.ours.public_key()
    }

    /// Seals a frame to the client. An `accept` gets the identity's signature here.
    pub(super) fn seal(
        &self,
        mut frame: SessionFrame,
        identity: &SigningKey,
        now: UnixSeconds,
    ) -> Result<VerifiedEvent, ParseError> {
        if let FrameBody::Accept(accept) = &mut frame.body {
            let digest = accept_digest(frame.job, &self.ours.public_key(), &self.client);
            accept.sig = identity.sign_digest(digest, &mut SystemEntropy).to_string();
        }
        frame.seal(&self.conversation, &self.ours, &self.client, now, &mut SystemEntropy)
    }
}

/// The inbox keys: the one announced now and those before it, until their end.
#[derive(Default)]
pub(super) struct InboxKeys {
    keys: Vec<(SigningKey, UnixSeconds)>,
}

impl InboxKeys {
    /// Makes the next one.
    pub(super) fn make(&mut self, valid_until: UnixSeconds) -> PublicKey {
        let key = SigningKey::generate(&mut SystemEntropy);
        let public = key.public_key();
        self.keys.push((key, valid_until));
        public
    }

    /// Erases those that are over; gives their public halves.
    pub(super) fn erase_old(&mut self, now: UnixSeconds) -> Vec<PublicKey> {
        self.keys
            .extract_if(.., |(_, valid_until)| *valid_until < now)
            .map(|(key, _)| key.public_key())
            .collect()
    }

    /// The key that an event is addressed to.
    pub(super) fn for_event(&self, event: &VerifiedEvent) -> Option<SigningKey> {
        let to = event.tag("p")?;
        self.keys.iter().map(|(key, _)| key).find(|key| key.public_key().to_hex() == to).cloned()
    }

    /// Public halves.
    pub(super) fn listening(&self) -> impl Iterator<Item = PublicKey> {
        self.keys.iter().map(|(key, _)| key.public_key())
    }
}
