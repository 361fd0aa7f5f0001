//! The router's contact with the world: relays, disk, clock, entropy, signatures. Everything that is decided is decided
//! in the core.

pub mod config;
pub mod data_files;
pub mod decision_log;
pub mod followed_router;
pub mod metrics;
pub mod run_error;
pub mod run_loop;

mod catch_up;
mod requests;
mod router_journal;
mod signer;
mod standing_post;
mod status_writer;
