//! The way of one session's events: straight to the node's own relay, or by the relays that both share.
//!
//! The rule: one way at a time while it works. What asks for a sign of life after silence takes every way, and from
//! then on the node answers on every way, so a way that died without a word costs one probe and no frame.

use fedai_protocol::event_kinds::SESSION_FRAME;
use fedai_protocol::quote::CheckedNode;
use fedai_protocol::session_frame::FrameBody;
use fedai_protocol::{JobOpen, PublicKey, UnixSeconds, VerifiedEvent};
use fedai_relay_bridge::{RelayPool, RelayRole, Subscription, filters};

use super::gateways::Gateways;
use crate::core::session_door::SessionDoor;

/// One job open, with what is needed to send it again, and its way.
pub(crate) struct OpenSession {
    pub(crate) door: SessionDoor,
    pub(crate) open: JobOpen,
    pub(crate) inbox: PublicKey,
    pub(crate) created_at: UnixSeconds,
    pub(crate) way: SessionWay,
}

impl OpenSession {
    /// True for frames to this key (hex).
    pub(crate) fn is_addressed(&self, key: &str) -> bool {
        self.door.session().public_key().to_hex() == key
    }
}

/// One session's way.
pub(crate) struct SessionWay {
    direct: Option<Direct>,
    /// Probes since something was heard.
    probes: u32,
}

struct Direct {
    line: RelayPool,
    frames: Subscription,
    was_up: bool,
}

impl SessionWay {
    /// The direct way if it is there within a moment; else the relays.
    pub(crate) async fn find(gateways: &Gateways, node: &CheckedNode, session: &PublicKey) -> Self {
        let line = gateways.reach(node).await;
        let direct = line.map(|line| {
            // A gateway handles a connection's messages in their order: what follows need not wait for an answer.
            let frames =
                line.subscribe(RelayRole::Stream, vec![filters::of_kinds_to(&[SESSION_FRAME], [*session])]);
            Direct { line, frames, was_up: true }
        });
        Self { direct, probes: 0 }
    }

    /// True while the direct way is there.
    pub(crate) fn is_up(&self) -> bool {
        self.direct.as_ref().is_some_and(|direct| direct.line.connected(RelayRole::Stream) > 0)
    }

    /// Publishes directly; 0 when there is no such way now.
    pub(crate) fn publish(&self, event: &VerifiedEvent) -> usize {
        self.direct
            .as_ref()
            .map_or(0, |direct| direct.line.publish_ephemeral(event.clone(), RelayRole::Stream))
    }

    /// Frames that come directly.
    pub(crate) fn frames(&mut self) -> Option<&mut Subscription> {
        self.direct.as_mut().map(|direct| &mut direct.frames)
    }

    /// True when the direct way came or went since the last look.
    pub(crate) fn is_changed(&mut self) -> bool {
        let is_up = self.is_up();
        self.direct.as_mut().is_some_and(|direct| std::mem::replace(&mut direct.was_up, is_up) != is_up)
    }

    /// Something came from the node.
    pub(crate) const fn heard(&mut self) {
        self.probes = 0;
    }

    /// True when a frame of this type has to take every way: an earlier probe was not answered.
    pub(crate) const fn is_silent(&mut self, body: &FrameBody) -> bool {
        if matches!(body, FrameBody::Ping) {
            self.probes = self.probes.saturating_add(1);
        }
        self.probes > 1
    }
}
