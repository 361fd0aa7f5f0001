//! The client's decisions, without I/O: one job's journey, what it may cost, and whether what came back is true.
//!
//! Time is an argument, inputs are verified and typed, outputs are actions that the shell performs. The same inputs
//! give the same actions.

pub mod accept_times;
pub mod attempt;
pub mod audit;
pub mod delivery;
pub mod direct_way;
pub mod failover;
pub mod frame_order;
mod hedge;
pub mod job_ending;
pub mod job_journey;
pub mod job_spec;
mod journey_close;
pub mod journey_step;
pub mod local_router;
pub mod openai;
mod peer_search;
pub mod quote_check;
pub mod quote_rank;
pub mod quote_round;
pub mod receipt_check;
pub mod retry_budget;
pub mod router_silence;
pub mod session_door;
pub mod spending;

#[cfg(test)]
pub(crate) mod fixture_tests;
