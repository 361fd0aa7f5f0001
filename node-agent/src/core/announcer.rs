//! When the node speaks about itself: its lease, its offers, its load, and the key that jobs are sealed to.
//!
//! The descriptor is a lease that is renewed at a third of its life, with jitter so that nodes do not publish in step.
//! The rule: `created_at` of one address never repeats or runs back, over restarts too. Keys are made and erased by the
//! shell; here is only decided when.

use fedai_protocol::entropy::CountingEntropy;
use fedai_protocol::limits::{DESCRIPTOR_LEASE_SECONDS, DISPATCH_SECONDS_MAX, FUTURE_SECONDS_MAX};
use fedai_protocol::message::Draft;
use fedai_protocol::node_descriptor::{NodeStatus, SessionInbox};
use fedai_protocol::{Entropy, Message, NodeDescriptor, PublicKey, UnixMicros, UnixSeconds};

use super::policy::NodePolicy;

/// Clocks of what is announced.
#[derive(Clone, Debug)]
pub(crate) struct Announcer {
    jitter: CountingEntropy,
    inbox: Option<SessionInbox>,
    inbox_asked: Option<UnixSeconds>,
    last_created_at: UnixSeconds,
    announced: Option<NodeStatus>,
    renew_at: Option<UnixMicros>,
    offers_at: Option<UnixMicros>,
    ping: PingClock,
}

/// What of the load makes a ping due. It is known without a look at the jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoadLevel {
    /// Busy slots.
    pub(crate) permille: u16,
    /// Jobs in line.
    pub(crate) queued: u32,
}

/// When the last ping left and what it said.
#[derive(Clone, Debug, Default)]
struct PingClock {
    last: Option<(UnixMicros, LoadLevel)>,
    next: Option<UnixMicros>,
}

impl Announcer {
    /// Begins after the last time that anything was published, as far as is known.
    pub(crate) fn new(seed: u64, floor: UnixSeconds) -> Self {
        Self {
            jitter: CountingEntropy(seed),
            inbox: None,
            inbox_asked: None,
            last_created_at: floor,
            announced: None,
            renew_at: None,
            offers_at: None,
            ping: PingClock::default(),
        }
    }

    /// A time for an announcement: now, but after every earlier one that anybody can have taken. What a wrong clock has
    /// dated further ahead was refused everywhere, and is no reason to go on like that.
    pub(crate) fn created_at(&mut self, now: UnixMicros) -> UnixSeconds {
        let now = now.seconds();
        let next = self.last_created_at.plus(1);
        let is_refused = next > now.plus(FUTURE_SECONDS_MAX);
        self.last_created_at = if is_refused { now } else { now.max(next) };
        self.last_created_at
    }

    /// Makes a new inbox key: the end of life of the old one was counted by a clock that was ahead.
    pub(crate) fn drop_inbox(&mut self) {
        (self.inbox, self.inbox_asked) = (None, None);
    }

    /// All that was planned by another clock is due now.
    pub(crate) fn clock_was_set(&mut self) {
        self.renew_at = None;
        self.offers_at = None;
        self.ping = PingClock::default();
    }

    /// The end of life of the inbox key to be made now, when one is due.
    pub(crate) fn inbox_due(&mut self, now: UnixMicros) -> Option<UnixSeconds> {
        let now = now.seconds();
        let fresh = |inbox: SessionInbox| now < inbox.valid_until.minus(INBOX_OVERLAP_SECONDS);
        let asked = |at: UnixSeconds| now.since(at) < ASK_AGAIN_SECONDS;
        if self.inbox.is_some_and(fresh) || self.inbox_asked.is_some_and(asked) {
            return None;
        }
        self.inbox_asked = Some(now);
        Some(now.plus(INBOX_SECONDS + INBOX_OVERLAP_SECONDS))
    }

    /// The shell has made the key.
    pub(crate) fn set_inbox(&mut self, key: PublicKey, valid_until: UnixSeconds) {
        self.inbox = Some(SessionInbox { key, valid_until });
        self.inbox_asked = None;
        self.renew_at = None;
    }

    /// What was announced last.
    pub(crate) const fn announced(&self) -> Option<NodeStatus> {
        self.announced
    }

    /// The descriptor to publish, when the status changed or the lease is a third over. Nothing is announced before the
    /// node is ready for the first time.
    pub(crate) fn descriptor_due(
        &mut self,
        now: UnixMicros,
        status: NodeStatus,
        policy: &NodePolicy,
    ) -> Option<Draft> {
        let changed = self.announced != Some(status);
        let renew = self.renew_at.is_none_or(|at| at <= now);
        if (self.announced.is_none() && status != NodeStatus::Active) || !(changed || renew) {
            return None;
        }
        let expires_at = now.seconds().plus(DESCRIPTOR_LEASE_SECONDS);
        let draft = self.descriptor(now, status, expires_at, policy)?;
        self.announced = Some(status);
        let third = DESCRIPTOR_LEASE_SECONDS / 3;
        let spread = self.jitter.below(third / 5);
        self.renew_at = Some(now.plus_seconds(third - third / 10 + spread));
        Some(draft)
    }

    /// The last descriptor: draining, and expired as soon as relays have taken it.
    pub(crate) fn retraction(&mut self, now: UnixMicros, policy: &NodePolicy) -> Option<Draft> {
        self.announced?;
        self.announced = None;
        self.descriptor(now, NodeStatus::Draining, now.seconds().plus(RETRACT_SECONDS), policy)
    }

    fn descriptor(
        &mut self,
        now: UnixMicros,
        status: NodeStatus,
        expires_at: UnixSeconds,
        policy: &NodePolicy,
    ) -> Option<Draft> {
        let descriptor = NodeDescriptor {
            name: policy.name.clone(),
            status,
            inbox: self.inbox?,
            expires_at,
            relays: policy.relays.clone(),
            gateways: policy.gateways.clone(),
            regions: policy.regions.clone(),
            payment: policy.payment.clone(),
            operator: policy.operator,
            accepts_self_dispatch: policy.accept_self_dispatch,
            routers: policy.routers.iter().copied().collect(),
            software: policy.software.clone(),
        };
        let created_at = self.created_at(now);
        descriptor.draft(&policy.node, created_at).ok()
    }

    /// True at the start and once a day: offers are signed anew though nothing changed, before routers take them for
    /// too old. In between they are sent again as they are, with every renewal of the lease.
    pub(crate) fn offers_due(&self, now: UnixMicros) -> bool {
        self.offers_at.is_none_or(|at| at <= now)
    }

    /// Offers are sent now; the next time is in a day, give or take.
    pub(crate) fn offers_done(&mut self, now: UnixMicros) {
        let spread = self.jitter.below(OFFERS_SECONDS / 10);
        self.offers_at = Some(now.plus_seconds(OFFERS_SECONDS - spread));
    }

    /// True when a ping is to be published, which counts as done then: soon after the load changed by a step, else at
    /// the slow beat.
    pub(crate) fn ping_due(&mut self, now: UnixMicros, level: LoadLevel, policy: &NodePolicy) -> bool {
        if self.announced != Some(NodeStatus::Active) {
            return false;
        }
        if !self.ping.is_due(now, level, policy) {
            // A step of the load is seen when it happens; otherwise nothing is due before the slow beat.
            self.ping.next = self.ping.last.map(|(at, ..)| {
                let early = at.plus_millis(policy.ping_ms_min);
                if early > now { early } else { at.plus_millis(policy.ping_ms_max) }
            });
            return false;
        }
        self.ping.next = Some(now.plus_millis(policy.ping_ms_min));
        self.ping.last = Some((now, level));
        true
    }

    /// When to look again.
    pub(crate) fn next(&self) -> Option<UnixMicros> {
        let inbox = match self.inbox {
            Some(inbox) => inbox.valid_until.minus(INBOX_OVERLAP_SECONDS).micros(),
            None => self.inbox_asked.map_or(UnixMicros(0), |at| at.plus(ASK_AGAIN_SECONDS).micros()),
        };
        let announced = self.announced.and(self.renew_at);
        let ping = self.ping.next.filter(|_| self.announced == Some(NodeStatus::Active));
        let offers = self.offers_at.filter(|_| self.announced.is_some());
        [Some(inbox), announced, ping, offers].into_iter().flatten().min()
    }
}

impl PingClock {
    fn is_due(&self, now: UnixMicros, level: LoadLevel, policy: &NodePolicy) -> bool {
        let Some((at, before)) = self.last else { return true };
        let waited = now.millis_since(at);
        let step =
            level.permille.abs_diff(before.permille) >= LOAD_STEP_PERMILLE || level.queued != before.queued;
        waited >= policy.ping_ms_max || (step && waited >= policy.ping_ms_min)
    }
}

/// An inbox key is used for a day; its secret is erased when a ticket that could rest on it has run out.
const INBOX_SECONDS: u64 = 86_400;
const INBOX_OVERLAP_SECONDS: u64 = DESCRIPTOR_LEASE_SECONDS + DISPATCH_SECONDS_MAX;
/// The shell makes a key in microseconds; this only covers a lost answer.
const ASK_AGAIN_SECONDS: u64 = 5;
const OFFERS_SECONDS: u64 = 86_400;
/// Long enough that a relay does not refuse the last descriptor as expired already.
const RETRACT_SECONDS: u64 = 5;
/// One slot of ten.
const LOAD_STEP_PERMILLE: u16 = 100;
