//! The router of the fed_AI network: it decides who serves a job, without ever seeing it.
//!
//! [`core`] is the pure state machine (registry, scheduler, quotes, tickets, trust, receipt ledger), driven
//! by the shell
//! here and by the simulator alike. [`run`] embeds a whole router in another process.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod cli;
pub mod core;
pub mod shell;

pub use shell::config::{RouterConfig, RouterSettings};
pub use shell::run_error::RunError;
pub use shell::run_loop::{RouterReady, run, run_with};
