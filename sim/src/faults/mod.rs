//! Faults as data: one table of kinds, and plans of single faults drawn from a seed.
//!
//! The rule: a fault is a value (kind, whom, from, until, how bad). The world and the actors ask "how bad is this now"
//! and nothing else, so any set of faults can be taken away from a run and the rest stays what it was.

pub mod active;
pub mod kind;
pub mod plan;
pub mod selection;
pub mod table;

pub use active::{Active, Fired};
pub use kind::FaultKind;
pub use plan::{Befallen, Fault, FaultPlan, Whom};
pub use selection::Selection;
