//! One relay as the pool sees it: a connection, what it is used for, what it may cost, and how it is doing.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fedai_protocol::limits::EVENT_BYTES_MAX;
use fedai_protocol::{UnixSeconds, VerifiedEvent};
use tokio::time::Instant;

use crate::connection::{Command, ConnectionState, RelayConnection, SendError};
use crate::event_budget::EventBudget;
use crate::lock::lock;
use crate::relay_list::{RelayEntry, RelayRole};
use crate::relay_pool::RelayStatus;

/// One relay in use.
pub(crate) struct Link {
    pub(crate) number: usize,
    pub(crate) url: String,
    pub(crate) roles: BTreeSet<RelayRole>,
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) auth: bool,
    /// Strangers named it: it may not lead into private networks.
    pub(crate) public_only: bool,
    max_event_bytes: usize,
    connection: Arc<dyn RelayConnection>,
    info: Mutex<LinkInfo>,
    budget: Mutex<EventBudget>,
    last_heard: AtomicU64,
    pub(crate) received: AtomicU64,
    sent: AtomicU64,
    pub(crate) dropped: AtomicU64,
    over_budget: AtomicU64,
}

struct LinkInfo {
    state: ConnectionState,
    last_error: Option<String>,
    rtt: Option<Duration>,
}

/// Why a relay was not handed an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Withheld {
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("event is larger than this relay takes")]
    TooLarge,
    #[error("this relay's budget is spent")]
    Budget(Duration),
}

impl Link {
    pub(crate) fn new(
        number: usize,
        entry: &RelayEntry,
        roles: BTreeSet<RelayRole>,
        public_only: bool,
        connection: Arc<dyn RelayConnection>,
    ) -> Self {
        Self {
            number,
            url: entry.url.clone(),
            roles,
            read: entry.read,
            write: entry.write,
            auth: entry.auth,
            public_only,
            max_event_bytes: entry.max_event_bytes,
            connection,
            info: Mutex::new(LinkInfo { state: ConnectionState::Connecting, last_error: None, rtt: None }),
            budget: Mutex::new(EventBudget::new(entry.events_per_minute, Instant::now())),
            last_heard: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            over_budget: AtomicU64::new(0),
        }
    }

    /// Asked for what has this role.
    pub(crate) fn serves(&self, role: RelayRole) -> bool {
        self.read && self.roles.contains(&role)
    }

    pub(crate) fn connection(&self) -> &Arc<dyn RelayConnection> {
        &self.connection
    }

    /// The relay said something.
    pub(crate) fn heard(&self, now: UnixSeconds) {
        self.last_heard.store(now.0, Ordering::Relaxed);
    }

    /// When the relay last said something.
    pub(crate) fn last_heard(&self) -> UnixSeconds {
        UnixSeconds(self.last_heard.load(Ordering::Relaxed))
    }

    pub(crate) fn is_connected(&self) -> bool {
        lock(&self.info).state == ConnectionState::Connected
    }

    pub(crate) fn set_state(&self, state: ConnectionState, reason: Option<String>) {
        let mut info = lock(&self.info);
        info.state = state;
        match state {
            ConnectionState::Connected => info.last_error = None,
            _ => info.last_error = reason.or_else(|| info.last_error.take()),
        }
    }

    pub(crate) fn set_error(&self, error: String) {
        lock(&self.info).last_error = Some(error);
    }

    pub(crate) fn set_rtt(&self, rtt: Duration) {
        lock(&self.info).rtt = Some(rtt);
    }

    /// Hands an event to the relay if it is up, the event fits and the budget allows it.
    pub(crate) fn send_event(&self, event: &VerifiedEvent) -> Result<(), Withheld> {
        if self.max_event_bytes < EVENT_BYTES_MAX && event.to_json().len() > self.max_event_bytes {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return Err(Withheld::TooLarge);
        }
        if !self.is_connected() {
            return Err(Withheld::Send(SendError::NotConnected));
        }
        if let Err(wait) = lock(&self.budget).take(Instant::now()) {
            self.over_budget.fetch_add(1, Ordering::Relaxed);
            return Err(Withheld::Budget(wait));
        }
        self.connection.send(Command::Event(event.clone()))?;
        self.sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn status(&self) -> RelayStatus {
        let info = lock(&self.info);
        RelayStatus {
            url: self.url.clone(),
            roles: self.roles.iter().copied().collect(),
            state: info.state,
            library: self.connection.library(),
            rtt: info.rtt,
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            over_budget: self.over_budget.load(Ordering::Relaxed),
            last_error: info.last_error.clone(),
        }
    }
}
