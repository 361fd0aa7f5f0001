//! What a node shows of itself to status, metrics and watchers: plain numbers, and no way back into its core.

use fedai_protocol::node_descriptor::NodeStatus;

use super::receipt_chain::ChainHead;

/// The node, for status and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// What its descriptor says; none before it was announced.
    pub announced: Option<NodeStatus>,
    /// Jobs on the runner.
    pub running: usize,
    /// Jobs in line.
    pub queued: usize,
    /// Jobs that have not been answered to the end.
    pub open: usize,
    /// Jobs at once.
    pub slots: u32,
    /// Next receipt of the chain.
    pub chain: ChainHead,
    /// Predicted wait of one more job.
    pub wait_ms: u64,
}

/// What a node has to do, as plain counts that cost no look at its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeQueues {
    /// Jobs on the runner.
    pub running: usize,
    /// Jobs in line.
    pub queued: usize,
    /// Jobs that have not been answered to the end.
    pub open: usize,
    /// Jobs at once.
    pub slots: u32,
}
