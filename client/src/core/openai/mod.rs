//! The OpenAI-shaped front of a job, without I/O: what a request means, what an answer looks like, how a refusal is
//! said in words that OpenAI's clients understand.
//!
//! Everything that is not ours passes through untouched: tools, JSON mode, log probabilities, sampling. Ours are the
//! model, the streaming switches, the `provider` object and the limits.

pub mod answer;
pub mod api_error;
pub mod api_request;
pub mod provider_wish;
