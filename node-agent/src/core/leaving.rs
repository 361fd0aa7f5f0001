//! Whether the node is on its way out, and until when.

use fedai_protocol::UnixMicros;

/// How a node leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    Stay,
    /// When its jobs are done, or then.
    By(UnixMicros),
    /// Its jobs were ended; their receipts have until then.
    Last(UnixMicros),
}

impl Leave {
    pub(crate) const fn at(self) -> Option<UnixMicros> {
        match self {
            Self::Stay => None,
            Self::By(at) | Self::Last(at) => Some(at),
        }
    }

    /// The same by a clock that was set back by this much.
    pub(crate) const fn sooner(self, micros: u64) -> Self {
        match self {
            Self::Stay => Self::Stay,
            Self::By(at) => Self::By(UnixMicros(at.0.saturating_sub(micros))),
            Self::Last(at) => Self::Last(UnixMicros(at.0.saturating_sub(micros))),
        }
    }
}
