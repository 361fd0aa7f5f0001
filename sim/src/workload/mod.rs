//! Who asks for what, and when: arrivals as plain values, drawn before the world begins.
//!
//! The rule: a workload depends on its seed and its parameters only, never on how the network does, so that
//! two networks can be compared on the same one.

pub mod poisson;
pub mod prompt;
pub mod sessions;

use fedai_protocol::UnixMicros;
use fedai_protocol::quote_request::Mode;

use self::prompt::Prompt;

/// One job to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When.
    pub at: UnixMicros,
    /// What is asked.
    pub prompt: Prompt,
    /// What is valued.
    pub mode: Mode,
    /// How a broken answer goes on.
    pub delivery: Delivery,
    /// True when nothing excuses a failure: the network was healed long before.
    pub must_succeed: bool,
}

/// How a person wants the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// As it comes; another node goes on where the first broke off.
    LiveContinued,
    /// As it comes; another node begins anew.
    LiveRestarted,
    /// All at once, at the end.
    Buffered,
}
