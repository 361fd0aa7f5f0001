//! What the router says of itself and of nodes, and when: a profile with a lease, summaries, ranks. Each is said again
//! only when it changed or when its lease needs it.

use std::collections::BTreeMap;

use fedai_protocol::limits::QUOTE_PEERS_MAX;
use fedai_protocol::quote::PeerRouter;
use fedai_protocol::router_profile::RouterFee;
use fedai_protocol::{
    NodeStanding, PublicKey, Refusal, RefusalCode, RouterProfile, TrustAssertion, UnixMicros, UnixSeconds,
    UsageSummary,
};

use super::registry::Registry;
use super::trust::Trust;
use super::{Action, RouterCore};

/// Least time between two profiles when something changed, in seconds.
const PROFILE_PAUSE_SECONDS: u64 = 5;
/// Models that a profile names.
const PROFILE_MODELS_MAX: usize = 32;
/// Other routers that a profile names.
const PROFILE_PEERS_MAX: usize = 32;
/// How long a farewell lives, in seconds: long enough to replace the profile, too short to be asked.
const FAREWELL_SECONDS: u64 = 2;

/// Something to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// The router.
    Profile(RouterProfile),
    /// What was counted for a node.
    Summary(UsageSummary),
    /// The rank of a node.
    Assertion(TrustAssertion),
    /// What a node is told of its part in decisions. The shell, which knows relays, adds where it was heard.
    Standing(Box<NodeStanding>),
}

impl RouterCore {
    /// Says what was counted and how nodes rank, as far as it is new.
    pub(super) fn publish_counts(&mut self, now: UnixMicros, out: &mut Vec<Action>) {
        let summaries = self.ledger.summaries(now.seconds());
        out.extend(summaries.into_iter().map(|summary| Action::Publish(Announcement::Summary(summary))));
        let known = &self.trust;
        self.announcing.forget_ranks(|node| known.holds(node));
        for (node, trust) in known.iter() {
            if let Some(assertion) = self.announcing.rank(now, *node, trust) {
                out.push(Action::Publish(Announcement::Assertion(assertion)));
            }
        }
    }

    /// Names other routers to who has to be refused for want of room, and in the profile.
    #[must_use]
    pub fn following(mut self, peers: Vec<PeerRouter>) -> Self {
        self.announcing.follow(peers);
        self
    }

    /// The routers to name beside a refusal: none unless it is this router that has no room.
    #[must_use]
    pub fn peers_beside(&self, refusal: &Refusal) -> &[PeerRouter] {
        self.announcing.peers_beside(refusal)
    }
}

/// The unchanging part of the profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// Name.
    pub name: String,
    /// Fee.
    pub fee: RouterFee,
    /// Key that requests are sealed to.
    pub session: PublicKey,
    /// Relays on which requests are read.
    pub relays: Vec<String>,
    /// Software and version.
    pub software: String,
    /// Lease, in seconds.
    pub lease_seconds: u64,
}

/// What was said, and when.
#[derive(Clone, Debug)]
pub struct Announcing {
    introduction: Introduction,
    peers: Vec<PeerRouter>,
    said: Option<(UnixSeconds, u32, Vec<String>)>,
    ranks: BTreeMap<PublicKey, TrustAssertion>,
}

impl Announcing {
    /// Nothing said yet.
    #[must_use]
    pub const fn new(introduction: Introduction) -> Self {
        Self { introduction, peers: Vec::new(), said: None, ranks: BTreeMap::new() }
    }

    /// Other routers that are recommended, as many as a profile may name.
    pub fn follow(&mut self, mut peers: Vec<PeerRouter>) {
        peers.truncate(PROFILE_PEERS_MAX);
        self.peers = peers;
    }

    /// Who may have room where this router has none. Reasons that lie with the request or the nodes name nobody: who
    /// is sent on without need asks everybody.
    #[must_use]
    pub fn peers_beside(&self, refusal: &Refusal) -> &[PeerRouter] {
        let is_full =
            matches!(refusal.code, RefusalCode::Busy | RefusalCode::RateLimited | RefusalCode::Draining);
        self.peers.get(..self.peers.len().min(QUOTE_PEERS_MAX)).filter(|_| is_full).unwrap_or_default()
    }

    /// The profile, when it is due.
    pub fn profile(&mut self, now: UnixSeconds, registry: &Registry) -> Option<RouterProfile> {
        let nodes = u32::try_from(registry.live_nodes(now)).unwrap_or(u32::MAX);
        let models: Vec<String> = registry
            .fleets(None)
            .into_iter()
            .filter(|fleet| fleet.rows().iter().any(|row| row.lease_until > now && row.is_active))
            .map(|fleet| fleet.model().to_owned())
            .take(PROFILE_MODELS_MAX)
            .collect();
        if let Some((at, said_nodes, said_models)) = &self.said {
            let age = now.since(*at);
            let changed = *said_nodes != nodes || *said_models != models;
            if age < self.introduction.lease_seconds / 3 && !(changed && age >= PROFILE_PAUSE_SECONDS) {
                return None;
            }
        }
        self.said = Some((now, nodes, models.clone()));
        Some(self.write(now.plus(self.introduction.lease_seconds), nodes, models))
    }

    /// Forgets what was said of nodes that are not known any more.
    pub fn forget_ranks(&mut self, is_known: impl Fn(&PublicKey) -> bool) {
        self.ranks.retain(|node, _| is_known(node));
    }

    /// The profile that ends the lease.
    #[must_use]
    pub fn farewell(&self, now: UnixSeconds) -> RouterProfile {
        self.write(now.plus(FAREWELL_SECONDS), 0, Vec::new())
    }

    /// The rank of a node, when it says something new.
    pub fn rank(&mut self, now: UnixMicros, node: PublicKey, trust: &Trust) -> Option<TrustAssertion> {
        if trust.receipts() == 0 {
            return None;
        }
        let assertion = TrustAssertion {
            node,
            rank: (trust.score(now) * 100.0).round().clamp(0.0, 100.0) as u8,
            dimensions: trust.dimensions(now),
            evidence: Some(trust.evidence(now)),
            receipts: trust.receipts(),
        };
        // The weights fade all the time; that alone is no news.
        let said = self.ranks.get(&node).map(|said| TrustAssertion { evidence: assertion.evidence, ..*said });
        if said == Some(assertion) {
            return None;
        }
        self.ranks.insert(node, assertion);
        Some(assertion)
    }

    fn write(&self, expires_at: UnixSeconds, nodes: u32, models: Vec<String>) -> RouterProfile {
        let Introduction { name, fee, session, relays, software, .. } = self.introduction.clone();
        let peers = self.peers.iter().map(|peer| peer.router).collect();
        RouterProfile { name, fee, session, relays, expires_at, nodes, models, peers, software }
    }
}
