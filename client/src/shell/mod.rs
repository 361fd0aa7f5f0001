//! What the client does to the world: relays, files, time. It decides nothing; the core does.

pub mod buyer;
pub mod config;
mod gateways;
mod job_ears;
pub mod job_record;
pub mod job_run;
mod job_words;
pub mod load_test;
mod lost_nodes;
pub mod network_view;
pub mod openai_endpoint;
mod own_quotes;
pub mod private_file;
pub mod receipt_store;
mod receipt_word;
mod session_way;
