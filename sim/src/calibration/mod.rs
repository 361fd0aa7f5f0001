//! From measurements to a runner's numbers, and how far the runner is then from what was measured.
//!
//! The rule: what a number was fitted on never judges it. Errors are of runs, or configurations, that the fit has not
//! seen.

pub mod accuracy;
mod first_guess;
pub mod fit;
pub mod least_squares;
pub mod observation;
pub mod perf_model;
pub mod profile_file;
pub mod replay;
pub mod report;

#[cfg(test)]
mod tests;
