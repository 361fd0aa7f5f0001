//! Everything that touches the world on behalf of the pure cores: relays, disk, clock, entropy.
//!
//! Only this crate knows the Nostr client library; everything else publishes [`fedai_protocol::VerifiedEvent`]s and
//! receives them through [`RelayPool`]. Nothing here decides anything about jobs, prices or trust.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod atomic_file;
pub mod cli;
pub mod clock_skew;
pub mod connection;
pub mod created_at;
pub mod data_dir;
mod deadline_timer;
pub mod dev_relay;
pub mod drop_counts;
pub mod entropy;
pub mod environment;
mod event_budget;
mod event_cache;
mod event_store;
pub mod filters;
pub mod gateway_relay;
mod gateway_rules;
pub mod journal;
mod journal_frame;
pub mod journal_index;
pub mod key_file;
mod lock;
pub mod logging;
pub mod memory_connection;
pub mod memory_relay;
pub mod mirror;
mod pool_fetch;
mod pool_inbox;
mod pool_link;
mod pool_publish;
pub mod probe;
pub mod publish_outbox;
mod raw_relay;
pub mod relay_address;
mod relay_document;
mod relay_engine;
pub mod relay_list;
pub mod relay_pool;
mod relay_routes;
mod relay_session;
mod relay_socket;
pub mod runtime;
pub mod sdk_connection;
pub mod sightings;
pub mod stream_connection;
pub mod subscription;
pub mod tail;
pub mod wall_clock;
mod wire;
mod wire_subscription;

pub use clock_skew::{ClockSkew, ClockSkewReport};
pub use connection::ConnectionState;
pub use created_at::CreatedAt;
pub use data_dir::DataDir;
pub use deadline_timer::DeadlineTimer;
pub use dev_relay::{DevRelay, DevRelayLimits, DevRelayOptions};
pub use drop_counts::DropCounts;
pub use entropy::SystemEntropy;
pub use gateway_relay::{GatewayOptions, GatewayRelay, Handed};
pub use journal::{Journal, JournalEntry, JournalError};
pub use memory_relay::{Faults, MemoryRelay};
pub use nostr::Filter;
pub use pool_publish::WRITTEN_WITHIN;
pub use publish_outbox::PublishOutbox;
pub use relay_address::RelayAddress;
pub use relay_list::{RelayEntry, RelayList, RelayPolicy, RelayRole};
pub use relay_pool::{AddRelayError, NotReady, PoolOptions, PublishOutcome, RelayPool, RelayStatus};
pub use sightings::Sightings;
pub use subscription::{Replies, Subscription, newest_per_address};
