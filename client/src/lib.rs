//! The client: buys inference, checks what it was sold, and runs a whole network on one machine.
//!
//! `core` decides and has no I/O; `shell` performs; `cli` is what a person sees. Nothing is believed that can be
//! checked.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod cli;
pub mod core;
pub mod shell;
