//! What others do, as strategies of the production router: they see the same candidates, pass the same hard filters and
//! write the same records, and differ only in whom they pick. None of them knows a breaker, trust or silence unless its
//! file says so.

mod cheapest;
mod fedai_ts;
mod jsq;
mod least_load;
mod litellm;
mod order;
mod random;
mod round_robin;
mod uniform_p2c;

use std::sync::Arc;

pub use cheapest::Cheapest;
pub use fedai_ts::FedaiTs;
pub use jsq::{Jsq, Sent};
pub use least_load::LeastLoad;
pub use litellm::Litellm;
pub use random::Random;
pub use round_robin::RoundRobin;
pub use uniform_p2c::UniformP2c;

/// The latency that each node claims for a mean request, in milliseconds, by its number.
#[derive(Clone, Debug, Default)]
pub struct Claims(Arc<[f64]>);

impl Claims {
    /// The claims of all nodes.
    #[must_use]
    pub fn new(latency_ms: Vec<f64>) -> Self {
        Self(latency_ms.into())
    }

    /// The claim of a node.
    #[must_use]
    pub fn latency_ms(&self, node: usize) -> f64 {
        self.0.get(node).copied().unwrap_or(0.0)
    }
}
