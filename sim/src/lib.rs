//! A deterministic world that drives the production cores of router, node and client.
//!
//! One engine, two uses: an economic simulator (latency, cost, utilisation, drops on synthetic workloads) and a fault
//! simulator that checks its invariants after every event. There is no second copy of any production logic in here: the
//! actors are thin shells that sign, seal and open, as the real ones do, on virtual time and seeded randomness.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod adversaries;
pub mod agenda;
pub mod audit_plan;
pub mod baselines;
pub mod calibration;
pub mod chance;
pub mod churn;
pub mod cli;
pub mod client_actor;
mod client_door;
pub mod comparison;
pub mod conduct;
pub mod conduct_log;
pub mod faults;
pub mod hardware;
pub mod hooks;
mod id_map;
pub mod invariants;
pub mod job_spec;
pub mod market;
pub mod money;
pub mod node_actor;
pub mod observe;
pub mod relay_model;
pub mod report;
pub mod router_actor;
pub mod run_log;
pub mod runner;
pub mod sampling;
pub mod scenario;
pub mod shrink;
pub mod statistics;
pub mod swarm;
pub mod turn;
pub mod wire;
pub mod workload;
pub mod world;

/// A world makes and drops some hundred small values a job, all on one thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
