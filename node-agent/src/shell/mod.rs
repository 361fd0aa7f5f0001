//! The shell of the node agent: everything that touches the world (runners, processes, disks, relays).
//!
//! The rule: decisions live in `core`, this module only turns the world into typed inputs and
//! actions into the world. What a runner looks like on the wire is known under `runners` alone.

pub mod runner_install;
pub mod runners;
pub mod sandbox;
pub mod supervisor;
