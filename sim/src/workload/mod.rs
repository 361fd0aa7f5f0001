//! Who asks for what, and when: arrivals as plain values, drawn before the world begins.
//!
//! The rule: what people do depends on a seed and parameters only, never on how the network does, so that two networks
//! can be compared on the same work. One thing may depend on it: in a closed loop the *time* of a turn follows the end
//! of the turn before it. [`ArrivalQueue`] is the door: it is asked for the next arrival and told of endings.

pub mod arrival_queue;
pub mod block_table;
pub mod closed_loop;
pub mod gaps;
pub mod open_loop;
pub mod poisson;
pub mod prompt;
pub mod replay;
pub mod sessions;
pub mod trace;

pub use arrival_queue::ArrivalQueue;
pub use block_table::{BlockSpan, BlockTable, JobBlocks};

use fedai_protocol::UnixMicros;
use fedai_protocol::quote_request::Mode;

use self::prompt::Prompt;

/// One job to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When; for a turn that waits for another one, the earliest time.
    pub at: UnixMicros,
    /// What is asked.
    pub prompt: Prompt,
    /// What is valued.
    pub mode: Mode,
    /// How a broken answer goes on.
    pub delivery: Delivery,
    /// True when nothing excuses a failure: the network was healed long before.
    pub must_succeed: bool,
    /// The turn that this one goes on from.
    pub previous: Option<PreviousTurn>,
    /// The blocks of its prompt, as a prefix cache tells them apart; none when nobody else shares any.
    pub blocks: BlockSpan,
}

impl Arrival {
    /// A job of its own: nothing goes before it, and no part of its prompt is shared.
    #[must_use]
    pub const fn single(at: UnixMicros, prompt: Prompt, mode: Mode, delivery: Delivery) -> Self {
        let blocks = BlockSpan::NONE;
        Self { at, prompt, mode, delivery, must_succeed: false, previous: None, blocks }
    }
}

/// The turn before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviousTurn {
    /// Its job.
    pub job: usize,
    /// In a closed loop: this turn comes so many microseconds after that job ended. In an open one it comes at its
    /// time.
    pub think_micros: Option<u64>,
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
