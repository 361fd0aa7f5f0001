//! The node's decisions, without a clock, a socket, a disk or randomness of its own.
//!
//! Inputs are typed and verified; time is an argument; what is to be done comes out as [`Action`]s, in the
//! order in which
//! it has to happen. The same inputs give the same actions, so the simulator and the fault drills drive this
//! very code.

pub(crate) mod admission;
pub(crate) mod announcer;
pub mod billing;
pub(crate) mod bulk_request;
pub(crate) mod coalescer;
pub(crate) mod flood_gate;
pub(crate) mod job_book;
pub(crate) mod job_desk;
pub(crate) mod leaving;
pub mod metering;
pub mod node_core;
pub mod node_state;
pub mod offers;
pub mod pace;
pub mod policy;
pub mod receipt_chain;
pub mod request_shape;
pub(crate) mod session;
pub(crate) mod set_clock;
pub mod standing_verdict;

#[cfg(test)]
mod tests;

pub use node_core::{Action, Input, NodeCore, OperatorCommand, Restored, RestoredJob, RunnerWork};
pub use node_state::{NodeQueues, NodeState};
