//! What comes in and goes out of a node: job opens, frames, sessions.

use fedai_node_agent::core::Input;
use fedai_protocol::event_kinds::{EPHEMERAL_GIFT_WRAP, SESSION_FRAME};
use fedai_protocol::job_open::{JobOpen, OpenedJob};
use fedai_protocol::message::Message;
use fedai_protocol::sealed_session::Conversation;
use fedai_protocol::session_frame::{Direction, FrameBody, accept_digest};
use fedai_protocol::{Dispatch, JobId, PublicKey, SessionFrame, VerifiedEvent};

use super::NodeActor;
use crate::faults::FaultKind;
use crate::turn::{Effect, Turn};
use crate::wire::{Content, Identity, Letter, Payload};

/// One session. Without a conversation nothing is sealed.
pub(super) struct Session {
    pub(super) key: Identity,
    client: PublicKey,
    conversation: Option<Conversation>,
}

impl NodeActor {
    /// Something arrived.
    pub fn receive(&mut self, payload: Payload, turn: &mut Turn<'_>) {
        let input = match payload {
            Payload::Event(event) if event.check_time(turn.now.seconds()).is_err() => None,
            Payload::Event(event) => match event.kind() {
                EPHEMERAL_GIFT_WRAP => self.read_open(&event).and_then(|opened| self.opened(opened, turn)),
                SESSION_FRAME => self.read_frame(&event),
                _ => None,
            },
            Payload::Letter(letter) => {
                let letter = std::sync::Arc::unwrap_or_clone(letter);
                match letter.content {
                    Content::Open(opened, prompt) => {
                        if let Some(life) = &mut self.life {
                            life.prompts.entry(opened.job).or_insert(prompt);
                        }
                        self.opened(*opened, turn)
                    }
                    Content::Frame(frame) => self.known_frame(&letter.to, letter.from, frame),
                    Content::Request(_) | Content::Reply(_) => None,
                }
            }
        };
        if let Some(input) = input {
            self.take(input, turn);
        }
    }

    fn read_open(&self, event: &VerifiedEvent) -> Option<OpenedJob> {
        let addressed = event.tag("p")?;
        let mut inboxes = self.life.as_ref()?.inboxes.iter().filter_map(Identity::real);
        let inbox = inboxes.find(|key| key.public_key().to_hex() == addressed)?;
        JobOpen::unwrap(event, inbox).ok()
    }

    fn opened(&mut self, opened: OpenedJob, turn: &mut Turn<'_>) -> Option<Input> {
        if self.strikes(FaultKind::Sybils) {
            return None;
        }
        if let Some(conduct) = &mut self.conduct {
            if conduct.sheds_identity(turn.now) {
                self.renew_identity(turn);
                return None;
            }
            if !conduct.takes(turn.now) {
                return None;
            }
        }
        let ticket = Dispatch::parse(&opened.open.dispatch).map(Box::new);
        Some(Input::JobOpened { opened: Box::new(opened), ticket })
    }

    fn read_frame(&self, event: &VerifiedEvent) -> Option<Input> {
        let life = self.life.as_ref()?;
        let key = PublicKey::from_hex(event.tag("p")?).ok()?;
        let job = *life.jobs_of_keys.get(&key)?;
        let session = life.sessions.get(&job).filter(|session| session.client == event.author())?;
        let conversation = session.conversation.as_ref()?;
        let frame = SessionFrame::open(event, conversation, job, Direction::ToNode).ok()?;
        Some(Input::Frame { job, frame: Box::new(frame) })
    }

    fn known_frame(&self, to: &PublicKey, from: PublicKey, frame: SessionFrame) -> Option<Input> {
        let life = self.life.as_ref()?;
        let job = *life.jobs_of_keys.get(to)?;
        let is_known = life.sessions.get(&job).is_some_and(|session| session.client == from);
        let is_ours = is_known && frame.job == job && frame.dir == Direction::ToNode;
        is_ours.then(|| Input::Frame { job, frame: Box::new(frame) })
    }

    pub(super) fn open_session(&mut self, job: JobId, client: PublicKey, turn: &mut Turn<'_>) {
        let key = turn.mint.identity();
        let conversation = match key.real().map(|key| Conversation::derive(key, &client)) {
            Some(Err(_)) => return,
            Some(Ok(conversation)) => Some(conversation),
            None => None,
        };
        turn.effects.push(Effect::Listen(key.public_key()));
        let Some(life) = &mut self.life else { return };
        life.jobs_of_keys.insert(key.public_key(), job);
        life.sessions.insert(job, Session { key, client, conversation });
    }

    pub(super) fn send(&self, job: JobId, mut frame: SessionFrame, turn: &mut Turn<'_>) {
        let Some(session) = self.life.as_ref().and_then(|life| life.sessions.get(&job)) else {
            return turn.broken("the node sends a frame without a session");
        };
        let now = turn.now.seconds();
        let (Some(key), Some(identity), Some(conversation)) =
            (session.key.real(), self.identity.real(), &session.conversation)
        else {
            let (to, from, content) = (session.client, session.key.public_key(), Content::Frame(frame));
            return turn.post(Letter { to, from, at: now, content });
        };
        if let FrameBody::Accept(accept) = &mut frame.body {
            let digest = accept_digest(job, &key.public_key(), &session.client);
            accept.sig = identity.sign_digest(digest, turn.mint).to_string();
        }
        match frame.seal(conversation, key, &session.client, now, turn.mint) {
            Ok(event) => turn.publish(event),
            Err(error) => turn.broken(format!("a frame of the node cannot be sealed: {error}")),
        }
    }
}
