//! What the operator decided, as plain values: who may buy, at what price, how much at once, how long.
//!
//! The core reads nothing else of the configuration. Every number has a default that a home server can live with.

use std::collections::{BTreeMap, BTreeSet};

use fedai_protocol::limits::{NODE_JOBS_MAX, NODE_JOBS_PER_CLIENT_MAX};
use fedai_protocol::payment_offer::PaymentTerms;
use fedai_protocol::{Price, PublicKey};

/// Everything the core needs to know of the operator's will.
#[derive(Clone, Debug)]
pub struct NodePolicy {
    /// Identity key of the node.
    pub node: PublicKey,
    /// Name, unique per key.
    pub name: String,
    /// Relays on which job opens are read.
    pub relays: Vec<String>,
    /// The node's own relays.
    pub gateways: Vec<String>,
    /// Regions.
    pub regions: Vec<String>,
    /// The operator's own key.
    pub operator: Option<PublicKey>,
    /// Software and version.
    pub software: String,
    /// Payment terms of the descriptor.
    pub payment: PaymentTerms,
    /// Price of a model that has none of its own.
    pub price: Price,
    /// Prices by model name.
    pub prices: BTreeMap<String, Price>,
    /// Routers whose dispatches are taken; empty means any.
    pub routers: BTreeSet<PublicKey>,
    /// True when dispatches that a client signed for itself are taken.
    pub accept_self_dispatch: bool,
    /// Limits on jobs.
    pub limits: JobLimits,
    /// Deadlines of jobs.
    pub deadlines: Deadlines,
    /// Shortest time between two load pings.
    pub ping_ms_min: u64,
    /// Longest time between two load pings.
    pub ping_ms_max: u64,
    /// Seed of the jitter that keeps nodes from publishing in step.
    pub seed: u64,
}

/// Limits on jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobLimits {
    /// Jobs at once, running and waiting.
    pub jobs_max: usize,
    /// Jobs waiting for a slot.
    pub queue_max: usize,
    /// Longest predicted wait that is still accepted, in milliseconds.
    pub wait_ms_max: u64,
    /// Jobs of one client at once.
    pub per_client_max: usize,
    /// Job opens of one client in a minute.
    pub opens_per_minute: u32,
    /// Bytes of large requests being received at once.
    pub bulk_bytes_max: u64,
    /// Bytes of finished answers kept for `resume`.
    pub finished_bytes_max: usize,
}

impl Default for JobLimits {
    fn default() -> Self {
        Self {
            jobs_max: NODE_JOBS_MAX,
            queue_max: 64,
            wait_ms_max: 20_000,
            per_client_max: NODE_JOBS_PER_CLIENT_MAX,
            opens_per_minute: 120,
            bulk_bytes_max: 256 * 1_048_576,
            finished_bytes_max: 64 * 1_048_576,
        }
    }
}

/// Deadlines of jobs, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// A large request must be here this long after `accept`.
    pub upload_ms: u64,
    /// From the start of the runner to its first output.
    pub first_token_ms: u64,
    /// Between two outputs.
    pub stall_ms: u64,
    /// From the job open to the end.
    pub total_ms: u64,
    /// Silence of the client after which it is asked whether it is there.
    pub ping_after_ms: u64,
    /// Silence of the client after which its job is given up.
    pub silence_ms: u64,
    /// How long a finished job can still be resumed.
    pub keep_ms: u64,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            upload_ms: 60_000,
            first_token_ms: 90_000,
            stall_ms: 45_000,
            total_ms: 900_000,
            ping_after_ms: 20_000,
            silence_ms: 60_000,
            keep_ms: 180_000,
        }
    }
}

impl NodePolicy {
    /// A policy with the usual limits: free, any router, self-signed dispatches refused.
    #[must_use]
    pub fn new(node: PublicKey, name: impl Into<String>) -> Self {
        Self {
            node,
            name: name.into(),
            relays: Vec::new(),
            gateways: Vec::new(),
            regions: Vec::new(),
            operator: None,
            software: String::new(),
            payment: PaymentTerms::free(),
            price: Price::FREE,
            prices: BTreeMap::new(),
            routers: BTreeSet::new(),
            accept_self_dispatch: false,
            limits: JobLimits::default(),
            deadlines: Deadlines::default(),
            ping_ms_min: 5_000,
            ping_ms_max: 15_000,
            seed: 0,
        }
    }

    /// The price of a model.
    #[must_use]
    pub fn price_of(&self, model: &str) -> Price {
        self.prices.get(model).copied().unwrap_or(self.price)
    }
}
