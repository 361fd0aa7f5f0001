//! relay-bridge
