//! node-agent
fn main() {}
