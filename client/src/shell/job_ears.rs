//! What one job listens for: answers of routers, and frames of its sessions, directly and by relays.
//!
//! The rule: a relay is asked only for what will come by it, and asked before the question that it answers leaves.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use fedai_protocol::event_kinds::{QUOTE, SESSION_FRAME};
use fedai_protocol::{PublicKey, VerifiedEvent};
use fedai_relay_bridge::{RelayPool, RelayRole, Subscription, filters};

use super::session_way::SessionWay;

/// Wait for a subscription to be live before the first message goes out.
const SUBSCRIBE_WAIT: Duration = Duration::from_secs(3);

/// One job's subscriptions on the relays.
pub(crate) struct JobEars {
    relays: RelayPool,
    replies: Option<Subscription>,
    frames: Option<Subscription>,
    /// Session keys that relays were asked for.
    asked: BTreeSet<PublicKey>,
}

impl JobEars {
    pub(crate) const fn new(relays: RelayPool) -> Self {
        Self { relays, replies: None, frames: None, asked: BTreeSet::new() }
    }

    /// Asks for quotes to this key, once.
    pub(crate) fn ask_for_replies(&mut self, ticket: PublicKey) {
        let relays = &self.relays;
        self.replies.get_or_insert_with(|| {
            relays.subscribe(RelayRole::Control, vec![filters::of_kinds_to(&[QUOTE], [ticket])])
        });
    }

    /// Asks for frames to these keys; false when relays were asked for just them already.
    pub(crate) fn ask_for_frames(&mut self, keys: BTreeSet<PublicKey>) -> bool {
        if self.frames.is_some() && self.asked == keys {
            return false;
        }
        let filters = vec![filters::of_kinds_to(&[SESSION_FRAME], keys.iter().copied())];
        self.asked = keys;
        match &self.frames {
            Some(frames) => frames.update(filters),
            None => self.frames = Some(self.relays.subscribe(RelayRole::Stream, filters)),
        }
        true
    }

    /// True when there was no place for one of the questions.
    pub(crate) fn is_deaf(&self) -> bool {
        self.replies.iter().chain(&self.frames).any(|subscription| !subscription.has_place())
    }

    /// Waits until a relay has each of the questions.
    pub(crate) async fn ready(&self) {
        if self.is_deaf() {
            return;
        }
        let ready = async |subscription: Option<&Subscription>| {
            if let Some(subscription) = subscription {
                subscription.ready(SUBSCRIBE_WAIT).await;
            }
        };
        tokio::join!(ready(self.replies.as_ref()), ready(self.frames.as_ref()));
    }

    /// The next answer of a router, or the next frame of any session, whatever way it came.
    pub(crate) async fn hear(&mut self, ways: impl Iterator<Item = &mut SessionWay>) -> Heard {
        let mut direct: Vec<&mut Subscription> = ways.filter_map(SessionWay::frames).collect();
        poll_fn(|context| {
            for frames in direct.iter_mut().map(|frames| &mut **frames).chain(self.frames.as_mut()) {
                if let Poll::Ready(Some(event)) = frames.poll_recv(context) {
                    return Poll::Ready(Heard::Frame(event));
                }
            }
            match self.replies.as_mut().map(|replies| replies.poll_recv(context)) {
                Some(Poll::Ready(Some(event))) => Poll::Ready(Heard::Reply(event)),
                _ => Poll::Pending,
            }
        })
        .await
    }
}

/// What came.
pub(crate) enum Heard {
    /// An answer of a router.
    Reply(VerifiedEvent),
    /// A frame of a session.
    Frame(VerifiedEvent),
}
