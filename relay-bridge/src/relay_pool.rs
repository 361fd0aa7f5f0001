//! All relays of one process, as one thing to publish to and to ask.
//!
//! Short-lived events go to every relay of a role at once and are never kept for later; stored events go to k of n.
//! To ask a question is to subscribe first and publish then ([`RelayPool::ask`]): there is no other way here.
//! A relay that carries stored and prompt traffic has one connection for each, so a backlog of the one never delays
//! the other.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use fedai_protocol::VerifiedEvent;
use fedai_protocol::limits::RELAY_SUBSCRIPTIONS_ALONE_MAX;
use nostr::{EventId, Filter};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::clock_skew::{ClockSkew, ClockSkewReport};
use crate::connection::{Command, ConnectionState, Connector, Lane, OpenRequest};
use crate::drop_counts::{DropCounters, DropCounts};
use crate::event_cache::EventCache;
use crate::lock::{lock, read, write};
use crate::memory_relay::{MemoryConnector, MemoryRelay};
use crate::pool_inbox::{Ack, LinkSink};
use crate::pool_link::Link;
use crate::publish_outbox::PublishOutbox;
use crate::relay_address::{AddressError, RelayAddress};
use crate::relay_list::{RelayEntry, RelayList, RelayPolicy, RelayRole};
use crate::sdk_connection::SocketConnector;
use crate::subscription::{Replies, Subscription, SubscriptionState};
use crate::wire_subscription::{Ended, WireSubscription, WireSubscriptions};

/// Relays added at run time, at most: they come from other people's announcements.
pub const ADDED_RELAYS_MAX: usize = 16;

/// How long connections may take to write what they were given and to end.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(6);

/// How the pool behaves.
#[derive(Clone)]
pub struct PoolOptions {
    /// Keeps stored events until enough relays took them.
    pub outbox: Option<Arc<PublishOutbox>>,
    /// Let announced relays lead into private networks and to this machine. For networks on one machine only.
    pub allow_private_addresses: bool,
    /// Makes the connections; `None` is real sockets.
    pub connector: Option<Arc<dyn Connector>>,
    /// Keep out what is expired, too old or from the future. Off only for taps and mirrors.
    pub check_time: bool,
    /// Subscriptions for prompt traffic that relays know by an id of their own; further ones share a few.
    pub subscriptions_alone: usize,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            outbox: None,
            allow_private_addresses: false,
            connector: None,
            check_time: true,
            subscriptions_alone: RELAY_SUBSCRIPTIONS_ALONE_MAX,
        }
    }
}

impl PoolOptions {
    /// Relays in memory, by URL: no sockets. For tests.
    #[must_use]
    pub fn memory(relays: &[(&str, &MemoryRelay)]) -> Self {
        let connector = MemoryConnector::new(relays);
        Self { connector: Some(Arc::new(connector)), ..Self::default() }
    }
}

/// How one relay is doing.
#[derive(Clone, Debug)]
pub struct RelayStatus {
    /// URL.
    pub url: String,
    /// Roles of this connection.
    pub roles: Vec<RelayRole>,
    /// Up?
    pub state: ConnectionState,
    /// Which client carries it.
    pub library: &'static str,
    /// Last measured round trip.
    pub rtt: Option<Duration>,
    /// Events received.
    pub received: u64,
    /// Events handed to it.
    pub sent: u64,
    /// Events from it that were kept out, or that it refused.
    pub dropped: u64,
    /// Events that its budget did not allow.
    pub over_budget: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// What became of a stored event so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishOutcome {
    /// Relays that took it.
    pub acks: usize,
    /// Relays that were to take it.
    pub wanted: usize,
    /// The outbox goes on trying.
    pub queued: bool,
    /// Relays that refused it, with their reason.
    pub rejected: Vec<(String, String)>,
}

impl PublishOutcome {
    /// True when enough relays took it.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        self.acks >= self.wanted
    }
}

/// No relay of a role could be reached in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no {role} relay reached: {reasons}\nhint: is the relay running? `relay-bridge probe URL` tells more"
)]
pub struct NotReady {
    /// Role asked for.
    pub role: &'static str,
    /// Relays tried, with reasons.
    pub reasons: String,
}

/// Why a relay was not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddRelayError {
    /// Not a relay URL.
    #[error("relay {url:?} {error}")]
    Address {
        /// What was given.
        url: String,
        /// What is wrong.
        error: AddressError,
    },
    /// Leads into a private network.
    #[error(
        "relay {0:?} is not a public address; relays that others announce may not lead into private networks"
    )]
    Private(String),
    /// Too many.
    #[error("more than {ADDED_RELAYS_MAX} announced relays")]
    TooMany,
}

/// All relays of one process. Cheap to clone; the last clone and the last subscription end the connections.
#[derive(Clone)]
pub struct RelayPool(Arc<PoolInner>);

pub(crate) struct PoolInner {
    pub(crate) policy: RelayPolicy,
    pub(crate) check_time: bool,
    pub(crate) outbox: Option<Arc<PublishOutbox>>,
    pub(crate) runtime: Handle,
    pub(crate) subscriptions: RwLock<WireSubscriptions>,
    pub(crate) cache: Mutex<EventCache>,
    pub(crate) skew: Mutex<ClockSkew>,
    pub(crate) drops: DropCounters,
    pub(crate) acks: Mutex<HashMap<EventId, Vec<mpsc::UnboundedSender<Ack>>>>,
    connector: Arc<dyn Connector>,
    allow_private_addresses: bool,
    links: RwLock<Vec<Arc<Link>>>,
    added: AtomicUsize,
    changes: watch::Sender<u64>,
}

impl RelayPool {
    /// Starts connecting to all relays of the list and returns at once. Inside a tokio runtime only.
    #[must_use]
    pub fn connect(list: RelayList, options: PoolOptions) -> Self {
        let inner = Arc::new(PoolInner {
            policy: list.policy,
            check_time: options.check_time,
            outbox: options.outbox.clone(),
            runtime: Handle::current(),
            subscriptions: RwLock::new(WireSubscriptions::new(options.subscriptions_alone)),
            cache: Mutex::default(),
            skew: Mutex::default(),
            drops: DropCounters::default(),
            acks: Mutex::default(),
            connector: options.connector.unwrap_or_else(|| Arc::new(SocketConnector)),
            allow_private_addresses: options.allow_private_addresses,
            links: RwLock::default(),
            added: AtomicUsize::new(0),
            changes: watch::Sender::new(0),
        });
        for entry in &list.relays {
            if let Ok(address) = RelayAddress::parse(&entry.url) {
                inner.open(entry, &address, false);
            }
        }
        if let Some(outbox) = options.outbox {
            let pool = Arc::downgrade(&inner);
            inner.runtime.spawn(crate::pool_publish::write_often(pool.clone(), Arc::clone(&outbox)));
            inner.runtime.spawn(crate::pool_publish::work_off(pool, outbox));
        }
        Self(inner)
    }

    /// Waits until at least one relay of the role is connected; how many are.
    pub async fn wait_ready(&self, role: RelayRole, timeout: Duration) -> Result<usize, NotReady> {
        let mut changes = self.status_changes();
        let deadline = Instant::now() + timeout;
        loop {
            let connected = self.connected(role);
            if connected > 0 {
                return Ok(connected);
            }
            if tokio::time::timeout_at(deadline, changes.changed()).await.is_err() {
                return Err(self.not_ready(role));
            }
        }
    }

    /// Hands a short-lived event to every connected relay of the role; how many those were. It is not kept for later.
    pub fn publish_ephemeral(&self, event: VerifiedEvent, role: RelayRole) -> usize {
        let links = self.links(|link| link.write && link.roles.contains(&role));
        links.iter().filter(|link| link.send_event(&event).is_ok()).count()
    }

    /// [`RelayPool::publish_ephemeral`] to some relays only, by URL.
    pub fn publish_ephemeral_to(&self, event: VerifiedEvent, role: RelayRole, urls: &[String]) -> usize {
        let named: BTreeSet<String> = urls
            .iter()
            .filter_map(|url| RelayAddress::parse(url).ok())
            .map(|address| address.url().to_owned())
            .collect();
        let links = self.links(|link| link.write && link.roles.contains(&role) && named.contains(&link.url));
        links.iter().filter(|link| link.send_event(&event).is_ok()).count()
    }

    /// Subscribes on all relays of the role, those that connect later included.
    #[must_use]
    pub fn subscribe(&self, role: RelayRole, filters: Vec<Filter>) -> Subscription {
        let place = write(&self.0.subscriptions).place(role, filters);
        match &place.wire {
            Some(wire) => self.request_everywhere(wire),
            None => tracing::warn!("too many subscriptions: this one will stay silent"),
        }
        Subscription::new(self.clone(), place)
    }

    /// Stored events, once from each relay of the role, until all have sent what they have or the time is over.
    pub async fn fetch(
        &self,
        role: RelayRole,
        filters: Vec<Filter>,
        timeout: Duration,
    ) -> Vec<VerifiedEvent> {
        crate::pool_fetch::fetch(self, role, filters, timeout).await
    }

    /// Asks a question: subscribes to the answers, waits until a relay has the subscription, then publishes.
    ///
    /// A relay that was handed the subscription and stays silent about it is asked at half the deadline.
    pub async fn ask(
        &self,
        role: RelayRole,
        question: VerifiedEvent,
        reply_filter: Filter,
        deadline: Duration,
    ) -> Replies {
        let until = Instant::now() + deadline;
        let subscription = self.subscribe(role, vec![reply_filter]);
        let asked = match subscription.ready_to_ask(deadline).await {
            0 => 0,
            _ => self.publish_ephemeral(question, role),
        };
        Replies::new(subscription, until, asked)
    }

    /// How every connection is doing.
    #[must_use]
    pub fn status(&self) -> Vec<RelayStatus> {
        self.links(|_| true).iter().map(|link| link.status()).collect()
    }

    /// Changes its number whenever a relay comes or goes.
    #[must_use]
    pub fn status_changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Connected relays of a role.
    #[must_use]
    pub fn connected(&self, role: RelayRole) -> usize {
        self.links(|link| link.roles.contains(&role) && link.is_connected()).len()
    }

    /// URLs of the connected relays of a role.
    #[must_use]
    pub fn connected_urls(&self, role: RelayRole) -> Vec<String> {
        let links = self.links(|link| link.roles.contains(&role) && link.is_connected());
        links.iter().map(|link| link.url.clone()).collect()
    }

    /// Adds a relay that somebody announced; false when it is in use for these roles already.
    pub fn add_relay(&self, url: &str, roles: &[RelayRole]) -> Result<bool, AddRelayError> {
        let address = RelayAddress::parse(url)
            .map_err(|error| AddRelayError::Address { url: url.chars().take(255).collect(), error })?;
        let same = self.links(|link| link.url == address.url());
        let known: BTreeSet<RelayRole> = same.iter().flat_map(|link| link.roles.iter().copied()).collect();
        let missing: BTreeSet<RelayRole> =
            roles.iter().copied().filter(|role| !known.contains(role)).collect();
        if missing.is_empty() {
            return Ok(false);
        }
        // A relay that the user configured may be private; one that only others name may not, however often they do.
        let public_only = !self.0.allow_private_addresses && same.iter().all(|link| link.public_only);
        if public_only && !address.may_be_public() {
            return Err(AddRelayError::Private(address.url().to_owned()));
        }
        if self.0.added.fetch_add(1, Ordering::Relaxed) >= ADDED_RELAYS_MAX {
            self.0.added.fetch_sub(1, Ordering::Relaxed);
            return Err(AddRelayError::TooMany);
        }
        let entry = RelayEntry::new(&address, missing);
        self.0.open_lane(&entry, &address, Lane::Prompt, entry.roles.clone(), public_only);
        Ok(true)
    }

    /// What was kept out so far, by reason.
    #[must_use]
    pub fn drops(&self) -> DropCounts {
        self.0.drops.counts()
    }

    /// What was learnt about this machine's clock.
    #[must_use]
    pub fn clock_skew(&self) -> ClockSkewReport {
        lock(&self.0.skew).report()
    }

    /// Ends all connections and subscriptions, after short-lived events handed over before are written. What relays
    /// have not taken of stored ones stays in the outbox.
    pub async fn shutdown(&self) {
        write(&self.0.subscriptions).clear();
        self.0.close_links();
        let deadline = Instant::now() + SHUTDOWN_GRACE;
        for link in self.links(|_| true) {
            if tokio::time::timeout_at(deadline, link.connection().ended()).await.is_err() {
                tracing::debug!(relay = %link.url, "connection did not end in time");
            }
        }
        if let Some(outbox) = &self.0.outbox
            && let Err(error) = outbox.flush().await
        {
            tracing::error!(%error, "the last notes of the outbox may not be on disk");
        }
    }

    pub(crate) fn inner(&self) -> &Arc<PoolInner> {
        &self.0
    }

    pub(crate) fn links(&self, wanted: impl Fn(&Link) -> bool) -> Vec<Arc<Link>> {
        self.0.links_where(wanted)
    }

    /// Tells all relays what is asked for under this id now.
    pub(crate) fn request_everywhere(&self, wire: &Arc<WireSubscription>) {
        for link in self.links(|link| link.serves(wire.role)) {
            self.0.request(wire, &link);
        }
    }

    /// The same, for whoever has changed its filters.
    pub(crate) fn request_again(&self, state: &SubscriptionState) {
        if let Some(wire) = self.0.subscription(&state.id) {
            self.request_everywhere(&wire);
        }
    }

    pub(crate) fn end_subscription(&self, state: &SubscriptionState) {
        // Taken out first: the lock on all of them is not held while relays are told.
        let ended = write(&self.0.subscriptions).end(state);
        let Ended::Id(wire) = ended else { return };
        let _asking = lock(&wire.asking);
        for link in self.links(|link| link.serves(state.role) && link.is_connected()) {
            // A relay that cannot be told now has ended it with the connection.
            let _ = link.connection().send(Command::Unsubscribe { id: state.id.clone() });
        }
    }

    fn not_ready(&self, role: RelayRole) -> NotReady {
        let links = self.links(|link| link.roles.contains(&role));
        let reasons: Vec<String> = links
            .iter()
            .map(|link| {
                let status = link.status();
                format!(
                    "{} ({})",
                    status.url,
                    status.last_error.unwrap_or_else(|| "no answer yet".to_owned())
                )
            })
            .collect();
        let reasons = if reasons.is_empty() { "none has this role".to_owned() } else { reasons.join(", ") };
        NotReady { role: role.name(), reasons }
    }
}

impl PoolInner {
    pub(crate) fn links_where(&self, wanted: impl Fn(&Link) -> bool) -> Vec<Arc<Link>> {
        read(&self.links).iter().filter(|link| wanted(link)).cloned().collect()
    }

    pub(crate) fn subscription(&self, id: &str) -> Option<Arc<WireSubscription>> {
        read(&self.subscriptions).get(id)
    }

    pub(crate) fn bump(&self) {
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
    }

    fn open(self: &Arc<Self>, entry: &RelayEntry, address: &RelayAddress, public_only: bool) {
        let (stored, prompt): (BTreeSet<RelayRole>, BTreeSet<RelayRole>) =
            entry.roles.iter().partition(|role| **role == RelayRole::Discovery);
        if !stored.is_empty() {
            self.open_lane(entry, address, Lane::Stored, stored, public_only);
        }
        if !prompt.is_empty() {
            self.open_lane(entry, address, Lane::Prompt, prompt, public_only);
        }
    }

    fn open_lane(
        self: &Arc<Self>,
        entry: &RelayEntry,
        address: &RelayAddress,
        lane: Lane,
        roles: BTreeSet<RelayRole>,
        public_only: bool,
    ) {
        let connect_timeout = self.policy.connect_timeout;
        let connection =
            self.connector.open(OpenRequest { address: address.clone(), lane, public_only, connect_timeout });
        let mut links = write(&self.links);
        let link = Arc::new(Link::new(links.len(), entry, roles, public_only, connection));
        links.push(Arc::clone(&link));
        drop(links);
        let sink = LinkSink { pool: Arc::downgrade(self), link: Arc::clone(&link) };
        link.connection().start(Arc::new(sink));
    }

    fn close_links(&self) {
        for link in read(&self.links).iter() {
            link.connection().close();
        }
    }
}

impl Drop for PoolInner {
    fn drop(&mut self) {
        self.close_links();
    }
}
