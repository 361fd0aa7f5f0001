//! The node agent: sells inference from a runner it does not contain.
//!
//! Decisions live in the pure `core`; `shell` touches the world for them.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod cli;
pub mod core;
pub mod shell;

pub use shell::config::{NodeConfig, RunnerChoice};
pub use shell::run_loop::{NodeReady, RunError, run};
