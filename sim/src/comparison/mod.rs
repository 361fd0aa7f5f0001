//! Policies side by side, on the same fleets and the same work: how good the production router is, measured against
//! what others do and against what could be done with perfect knowledge.
//!
//! The rule: every seed is one draw of fleet, liars and workload, shared by all policies; policies differ in the
//! scheduler of the routers and in nothing else; every number comes with its interval over seeds. The output does not
//! depend on how many threads it was made with.

pub mod capacity;
pub mod contender;
pub mod experiment;
pub mod liar;
pub mod markdown;
pub mod measures;
pub mod plots;
pub mod report;
pub mod run;
pub mod summary;
pub mod sweep;

pub use contender::Contender;
pub use experiment::Experiment;
pub use report::Comparison;
