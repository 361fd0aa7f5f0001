//! What was seen of a real runner: JSON lines, the first of them about the runner, each further one about a request.

use serde::{Deserialize, Serialize};

/// The form of the file.
pub const OBSERVATION_SCHEMA: &str = "fedai-sim/observation/v1";

/// The runner that was observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedRunner {
    /// [`OBSERVATION_SCHEMA`].
    pub schema: String,
    /// Model.
    pub model: String,
    /// What it ran on, and how.
    pub machine: String,
    /// When the first run began, in seconds since 1970.
    pub recorded_at: u64,
    /// Requests at once.
    pub slots: u32,
    /// Tokens of a slot's context.
    pub context_tokens: u64,
}

/// One request. Times are in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedRequest {
    /// Which run it belongs to: runs begin with an idle runner.
    pub run: u32,
    /// From the begin of the run to when it was sent.
    pub arrival_us: u64,
    /// Tokens of the prompt, with the chat template.
    pub prompt_tokens: u64,
    /// Those that the runner had in its memory.
    pub cached_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// From being sent to the first text.
    pub ttft_us: u64,
    /// From being sent to the end.
    pub total_us: u64,
    /// Gap between two pieces of text: half are shorter.
    pub gap_p50_us: u64,
    /// 95 of 100 are shorter.
    pub gap_p95_us: u64,
    /// The longest one.
    pub gap_max_us: u64,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observations {
    /// The runner.
    pub runner: ObservedRunner,
    /// Requests, by run and time.
    pub requests: Vec<ObservedRequest>,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ObservationError {
    /// A line is not what it should be.
    #[error("line {line} is not {what}: {error}")]
    Line {
        /// Line, from 1.
        line: usize,
        /// What it should be.
        what: &'static str,
        /// Why not.
        error: serde_json::Error,
    },
    /// It is of another form.
    #[error(
        "the file's schema is `{0}`, not `{OBSERVATION_SCHEMA}`\nhint: record it with `fedai-sim observe`"
    )]
    Schema(String),
    /// There is too little to fit and to check.
    #[error("{0} requests are too few to fit and to check\nhint: record at least {REQUESTS_MIN}")]
    TooFew(usize),
}

impl Observations {
    /// Reads a file.
    pub fn parse(text: &str) -> Result<Self, ObservationError> {
        let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        let (line, first) = lines.next().unwrap_or((1, ""));
        let runner: ObservedRunner = serde_json::from_str(first).map_err(|error| ObservationError::Line {
            line,
            what: "about a runner",
            error,
        })?;
        if runner.schema != OBSERVATION_SCHEMA {
            return Err(ObservationError::Schema(runner.schema));
        }
        let mut requests = Vec::new();
        for (line, text) in lines {
            let request: ObservedRequest = serde_json::from_str(text)
                .map_err(|error| ObservationError::Line { line, what: "about a request", error })?;
            requests.push(request);
        }
        requests.sort_by_key(|request| (request.run, request.arrival_us));
        Ok(Self { runner, requests })
    }

    /// The file.
    pub fn to_lines(&self) -> Result<String, serde_json::Error> {
        let mut text = serde_json::to_string(&self.runner)?;
        for request in &self.requests {
            text.push('\n');
            text.push_str(&serde_json::to_string(request)?);
        }
        text.push('\n');
        Ok(text)
    }

    /// The runs, each by time.
    #[must_use]
    pub fn runs(&self) -> Vec<&[ObservedRequest]> {
        self.requests.chunk_by(|a, b| a.run == b.run).collect()
    }

    /// Which requests are for fitting: those of every second run, or the earlier half of the only one.
    pub fn split(&self) -> Result<Vec<bool>, ObservationError> {
        if self.requests.len() < REQUESTS_MIN {
            return Err(ObservationError::TooFew(self.requests.len()));
        }
        let runs = self.runs();
        Ok(if runs.len() < 2 {
            (0..self.requests.len()).map(|number| number * 2 < self.requests.len()).collect()
        } else {
            let of_run = |(number, run): (usize, &&[ObservedRequest])| vec![number % 2 == 0; run.len()];
            runs.iter().enumerate().flat_map(of_run).collect()
        })
    }
}

/// Fewer have no 95th percentile worth the name.
const REQUESTS_MIN: usize = 40;
