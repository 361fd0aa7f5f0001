//! Connections to nodes' own relays, kept for the next job.
//!
//! Each is a pool of one relay, so that no node sees what was asked of another: neither session keys nor events. The
//! rule: a connection is made for a job that goes there, waited for only for a moment, and left when others are used.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fedai_protocol::limits::{CLIENT_GATEWAYS_MAX, GATEWAY_CONNECT_WAIT_MS, GATEWAY_SUBSCRIPTIONS_MAX};
use fedai_protocol::quote::CheckedNode;
use fedai_protocol::{NodeDescriptor, PublicKey};
use fedai_relay_bridge::{
    ConnectionState, PoolOptions, RelayAddress, RelayList, RelayPolicy, RelayPool, RelayRole,
};
use tokio::sync::watch;
use tokio::time::Instant;

use super::lost_nodes::LostNodes;
use crate::core::direct_way::{DirectWish, Reach, is_this_machine, reach};

/// A connection that no job used for so long is left.
const IDLE_MAX: Duration = Duration::from_secs(600);

/// All of them. Clones are the same.
#[derive(Clone)]
pub(crate) struct Gateways(Arc<Inner>);

struct Inner {
    wish: DirectWish,
    is_all_here: bool,
    lines: Mutex<Vec<Line>>,
    /// Hears of nodes whose own relay was there and has gone: mostly they have gone with it.
    lost: LostNodes,
    changes: watch::Sender<u64>,
}

struct Line {
    url: String,
    pool: RelayPool,
    begun: Instant,
    used: Instant,
}

impl Gateways {
    /// None yet; `relays` are those that the user configured.
    pub(crate) fn new(wish: DirectWish, relays: &RelayPool, lost: LostNodes) -> Self {
        let is_here = |url: &str| RelayAddress::parse(url).is_ok_and(|at| is_this_machine(at.host()));
        let is_all_here = relays.status().iter().all(|relay| is_here(&relay.url));
        Self::with(wish, is_all_here, lost)
    }

    /// The same relays with another wish.
    pub(crate) fn wishing(&self, wish: DirectWish) -> Self {
        Self::with(wish, self.0.is_all_here, self.0.lost.clone())
    }

    fn with(wish: DirectWish, is_all_here: bool, lost: LostNodes) -> Self {
        let (lines, changes) = (Mutex::default(), watch::Sender::new(0));
        Self(Arc::new(Inner { wish, is_all_here, lines, lost, changes }))
    }

    /// A connection to the node's own relay, if it has one and one comes up within a moment.
    pub(crate) async fn reach(&self, node: &CheckedNode) -> Option<RelayPool> {
        let (pool, begun) = self.line(node)?;
        let until = begun + Duration::from_millis(GATEWAY_CONNECT_WAIT_MS);
        let mut changes = pool.status_changes();
        loop {
            match pool.status().first().map(|relay| relay.state) {
                Some(ConnectionState::Connected) => return Some(pool),
                Some(ConnectionState::Connecting) => {}
                _ => return None,
            }
            match tokio::time::timeout_at(until, changes.changed()).await {
                Ok(Ok(())) => {}
                _ => return None,
            }
        }
    }

    /// True when the next job at this node would go there without waiting for a connection.
    pub(crate) fn is_ready(&self, node: &NodeDescriptor) -> bool {
        let lines = self.lines();
        let mut found = lines.iter().filter(|line| node.gateways.iter().any(|url| is_same(url, &line.url)));
        found.any(|line| line.pool.connected(RelayRole::Stream) > 0)
    }

    /// Changes its number whenever one of the connections comes or goes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Ends all of them.
    pub(crate) async fn close(&self) {
        let lines = std::mem::take(&mut *self.lines());
        for line in lines {
            line.pool.shutdown().await;
        }
    }

    fn line(&self, node: &CheckedNode) -> Option<(RelayPool, Instant)> {
        let (now, key) = (Instant::now(), node.node);
        let node = &node.descriptor.message;
        let mut lines = self.lines();
        lines.retain(|line| now.saturating_duration_since(line.used) < IDLE_MAX);
        if let Some(line) =
            lines.iter_mut().find(|line| node.gateways.iter().any(|url| is_same(url, &line.url)))
        {
            line.used = now;
            return Some((line.pool.clone(), line.begun));
        }
        let (url, pool) = node.gateways.iter().find_map(|url| Some((url.clone(), self.open(url, key)?)))?;
        if lines.len() >= CLIENT_GATEWAYS_MAX
            && let Some(oldest) = (0..lines.len()).min_by_key(|at| lines.get(*at).map(|line| line.used))
        {
            // A job that still uses it has a handle of its own.
            drop(lines.swap_remove(oldest));
        }
        lines.push(Line { url, pool: pool.clone(), begun: now, used: now });
        Some((pool, now))
    }

    fn open(&self, url: &str, node: PublicKey) -> Option<RelayPool> {
        let address = RelayAddress::parse(url).ok()?;
        let reach = reach(self.0.wish, address.host(), self.0.is_all_here)?;
        let options = PoolOptions {
            allow_private_addresses: reach == Reach::Anywhere,
            subscriptions_alone: GATEWAY_SUBSCRIPTIONS_MAX,
            ..PoolOptions::default()
        };
        let none = RelayList { network: String::new(), relays: Vec::new(), policy: RelayPolicy::default() };
        let pool = RelayPool::connect(none, options);
        if let Err(error) = pool.add_relay(url, &[RelayRole::Stream]) {
            tracing::debug!(%error, "a node's own relay is not used");
            return None;
        }
        let (mut changes, all, url) = (pool.status_changes(), Arc::downgrade(&self.0), url.to_owned());
        tokio::spawn(async move {
            let mut was_up = false;
            // Ends with the pool.
            while changes.changed().await.is_ok() {
                let Some(all) = all.upgrade() else { return };
                match all.is_up(&url) {
                    Some(true) => {
                        was_up = true;
                        all.lost.find(&node);
                    }
                    Some(false) if core::mem::take(&mut was_up) => all.lost.lose(node),
                    // Never up, or left because others were used.
                    _ => {}
                }
                all.changes.send_modify(|n| *n = n.wrapping_add(1));
            }
        });
        Some(pool)
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// None when no such connection is kept.
    fn is_up(&self, url: &str) -> Option<bool> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.iter().find(|line| line.url == url)?;
        Some(line.pool.connected(RelayRole::Stream) > 0)
    }
}

fn is_same(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}
