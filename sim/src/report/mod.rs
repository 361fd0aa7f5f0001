//! A run for people and programs. The same run gives the same bytes: no wall time, no host, no floats that
//! depend on the order of a sum.

pub mod json;
pub mod markdown;
pub mod market;
pub mod plot;

pub use json::Report;
