//! The shell of the node agent: everything that touches the world (runners, processes, disks, relays).
//!
//! The rule: decisions live in `core`, this module only turns the world into typed inputs and
//! actions into the world. What a runner looks like on the wire is known under `runners` alone.

mod action_order;
pub mod config;
mod front_gate;
mod listened_keys;
pub mod metrics;
pub mod node_board;
pub mod node_journal;
mod node_loop;
mod offered_models;
mod receipt_desk;
pub mod run_loop;
pub mod runner_install;
mod runner_job;
pub mod runner_source;
mod runner_watch;
pub mod runners;
pub mod sandbox;
mod session_keys;
pub mod standing_book;
pub mod status_file;
pub mod supervisor;
mod ticket_memo;
