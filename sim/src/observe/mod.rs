//! Load on a real server that speaks the OpenAI interface, and what is seen of it. The only part of this crate that
//! touches the world: nothing of a simulated run comes through here.

pub mod http_stream;
pub mod load;
pub mod prompts;
