//! A runner's numbers as a file: what `calibrate` writes and `replay` reads.

use serde::{Deserialize, Serialize};

use crate::runner::RunnerProfile;

/// The form of the file.
pub const PROFILE_SCHEMA: &str = "fedai-sim/runner-profile/v1";

/// A fitted runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalibratedRunner {
    /// [`PROFILE_SCHEMA`].
    pub schema: String,
    /// Model.
    pub model: String,
    /// What it ran on.
    pub machine: String,
    /// Its numbers; costs are in femtoseconds.
    pub runner: RunnerProfile,
    /// From being sent to being seen by the scheduler: connection, template and tokens, in microseconds.
    pub overhead_us: u64,
    /// Tokens that all prompts begin with.
    pub instruction_tokens: u64,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// It is not JSON of this form.
    #[error("not a runner profile: {0}\nhint: `fedai-sim calibrate` writes one as profile.json")]
    Json(#[from] serde_json::Error),
    /// It is of another form.
    #[error("the profile's schema is `{0}`, not `{PROFILE_SCHEMA}`")]
    Schema(String),
}

impl CalibratedRunner {
    /// Reads a file.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        let profile: Self = serde_json::from_str(text)?;
        if profile.schema == PROFILE_SCHEMA { Ok(profile) } else { Err(ProfileError::Schema(profile.schema)) }
    }
}
