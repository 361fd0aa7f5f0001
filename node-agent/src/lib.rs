//! The node agent: sells inference from a runner it does not contain.
//!
//! Decisions live in the pure `core`; `shell` touches the world for them.

pub mod shell;
