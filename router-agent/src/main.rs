//! router-agent
fn main() {}
