//! Routers that full routers named: looked up, then asked. A bounded number for one job, none of them twice, and none
//! that is asked anyway, so that routers that name each other, or whoever they make up, cannot keep a client busy.

use std::collections::BTreeSet;

use fedai_protocol::PublicKey;
use fedai_protocol::quote::PeerRouter;

use super::job_spec::{JobSpec, RouterTarget};

/// Routers that one job looks up beyond its own.
const PEERS_MAX: usize = 4;

/// What was looked up for one job.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerSearch {
    sought: BTreeSet<PublicKey>,
    fresh: Vec<PublicKey>,
}

impl PeerSearch {
    /// The peers to be looked up now.
    pub(super) fn choose(&mut self, named: Vec<PeerRouter>, spec: &JobSpec) -> Vec<PeerRouter> {
        if !spec.follow_peers {
            return Vec::new();
        }
        let mut chosen = Vec::new();
        for peer in named {
            let is_known = spec.routers.contains(&RouterTarget::Router(peer.router));
            if !is_known && self.sought.len() < PEERS_MAX && self.sought.insert(peer.router) {
                chosen.push(peer);
            }
        }
        chosen
    }

    /// Those that can be asked. One that was not looked for is not.
    pub(super) fn found(&mut self, routers: &[PublicKey]) {
        let is_new = |router: &&PublicKey| self.sought.contains(router);
        let new: BTreeSet<PublicKey> = routers.iter().filter(is_new).copied().collect();
        self.fresh.extend(new);
    }

    /// True when some were found and not asked yet.
    pub(super) const fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Those to be asked in this round.
    pub(super) fn take_fresh(&mut self, most: usize) -> Vec<PublicKey> {
        let rest = self.fresh.split_off(self.fresh.len().min(most));
        core::mem::replace(&mut self.fresh, rest)
    }
}
