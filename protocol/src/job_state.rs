//! The life of one job, the same table for client and node. A transition that is not in it is refused, so no party can
//! be talked into a second ending.

use serde::{Deserialize, Serialize};

/// Where a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Sent, not yet answered.
    #[default]
    Opened,
    /// Taken by a node, waiting for input or for a slot.
    Accepted,
    /// Output is flowing.
    Streaming,
    /// Ended with output and a receipt.
    Done,
    /// Refused before any work.
    Refused,
    /// Broke off after work had begun.
    Failed,
    /// Cancelled by the client.
    Cancelled,
    /// Ran out of time.
    Expired,
}

/// What happens to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStep {
    /// A node takes it.
    Accept,
    /// A piece of output.
    Output,
    /// The runner ended well.
    Finish,
    /// The node will not do it.
    Refuse,
    /// It broke off.
    Fail,
    /// The client stops it.
    Cancel,
    /// A deadline passed.
    Expire,
}

/// A step that the state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step:?} is not possible when the job is {state:?}")]
pub struct IllegalStep {
    /// State.
    pub state: JobState,
    /// Step.
    pub step: JobStep,
}

impl JobState {
    /// True when nothing can follow.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Opened | Self::Accepted | Self::Streaming)
    }

    /// The state after a step.
    pub const fn after(self, step: JobStep) -> Result<Self, IllegalStep> {
        use JobStep as T;
        Ok(match (self, step) {
            (Self::Opened, T::Accept) => Self::Accepted,
            (Self::Opened, T::Refuse) => Self::Refused,
            (Self::Accepted | Self::Streaming, T::Output) => Self::Streaming,
            (Self::Accepted | Self::Streaming, T::Finish) => Self::Done,
            (Self::Accepted | Self::Streaming, T::Fail) => Self::Failed,
            (Self::Opened | Self::Accepted | Self::Streaming, T::Cancel) => Self::Cancelled,
            (Self::Opened | Self::Accepted | Self::Streaming, T::Expire) => Self::Expired,
            (state, step) => return Err(IllegalStep { state, step }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [JobState; 8] = [
        JobState::Opened,
        JobState::Accepted,
        JobState::Streaming,
        JobState::Done,
        JobState::Refused,
        JobState::Failed,
        JobState::Cancelled,
        JobState::Expired,
    ];
    const STEPS: [JobStep; 7] = [
        JobStep::Accept,
        JobStep::Output,
        JobStep::Finish,
        JobStep::Refuse,
        JobStep::Fail,
        JobStep::Cancel,
        JobStep::Expire,
    ];

    #[test]
    fn nothing_follows_a_terminal_state() {
        for state in STATES.into_iter().filter(|state| state.is_terminal()) {
            for step in STEPS {
                assert_eq!(state.after(step), Err(IllegalStep { state, step }));
            }
        }
    }

    #[test]
    fn every_open_state_can_be_cancelled_and_expire() {
        for state in STATES.into_iter().filter(|state| !state.is_terminal()) {
            assert_eq!(state.after(JobStep::Cancel), Ok(JobState::Cancelled));
            assert_eq!(state.after(JobStep::Expire), Ok(JobState::Expired));
        }
    }

    #[test]
    fn output_needs_an_accept_first() {
        assert!(JobState::Opened.after(JobStep::Output).is_err());
        assert!(JobState::Opened.after(JobStep::Finish).is_err());
        assert!(
            JobState::Accepted.after(JobStep::Refuse).is_err(),
            "after accept it fails, it is not refused"
        );
    }
}
