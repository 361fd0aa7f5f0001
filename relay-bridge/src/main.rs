//! relay-bridge
fn main() {}
