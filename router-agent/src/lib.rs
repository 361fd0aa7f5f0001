//! router-agent
