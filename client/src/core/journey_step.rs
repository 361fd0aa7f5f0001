//! What happens to a journey and what it wants done: the whole border between the core and the shell.

use fedai_protocol::message::Received;
use fedai_protocol::output_stream::OutputLine;
use fedai_protocol::quote::{CheckedNode, PeerRouter};
use fedai_protocol::session_frame::{FrameBody, SessionFrame};
use fedai_protocol::{PublicKey, QuoteReply, QuoteRequest};

use super::attempt::OpenedWith;
use super::job_ending::{Answer, JobFailure, Settlement};
use super::quote_check::{Question, Ticket};

/// What happens to a journey.
#[derive(Clone, Debug)]
pub enum JourneyInput {
    /// Begin.
    Start,
    /// A quote request was sent, by one relay at least.
    Asked(Question),
    /// A router answered.
    Reply(Box<Received<QuoteReply>>),
    /// Routers that were looked up and can be asked.
    RoutersFound(Vec<PublicKey>),
    /// A job was opened.
    Opened {
        /// Which attempt.
        attempt: u32,
        /// With what.
        with: OpenedWith,
    },
    /// A job could not be opened: nothing was sent.
    NotOpened {
        /// Which attempt.
        attempt: u32,
    },
    /// A frame of the node in that attempt.
    Frame {
        /// Which attempt.
        attempt: u32,
        /// The frame.
        frame: SessionFrame,
    },
    /// A relay came or went.
    RelaysChanged,
    /// The node's own relay, by which that attempt went, has gone.
    DirectWayLost {
        /// Which attempt.
        attempt: u32,
    },
    /// The person wants no more.
    Cancel,
    /// Time has passed.
    Tick,
}

/// What a journey wants done.
#[derive(Clone, Debug)]
pub enum JourneyAction {
    /// Ask these routers with one fresh ticket key, and say what was asked.
    Ask(Vec<QuoteRequest>),
    /// Look up these routers, and say which of them can be asked.
    FindRouters(Vec<PeerRouter>),
    /// Open the job at a node with a fresh session key, and say with what.
    Open {
        /// Which attempt.
        attempt: u32,
        /// Which node of the ticket.
        node: Box<CheckedNode>,
        /// The ticket.
        ticket: Box<Ticket>,
    },
    /// Send the same job open again.
    OpenAgain {
        /// Which attempt.
        attempt: u32,
    },
    /// Send a frame to the node.
    Send {
        /// Which attempt.
        attempt: u32,
        /// Its number.
        s: u64,
        /// Its content.
        body: FrameBody,
    },
    /// Hand output on.
    Deliver(Vec<OutputLine>),
    /// Tell the person that the answer begins anew.
    Restarted,
    /// Acknowledge or dispute a receipt, and keep it.
    Settle(Box<Settlement>),
    /// Forget the session of an attempt.
    Close {
        /// Which attempt.
        attempt: u32,
    },
    /// The one ending.
    End(Box<Result<Answer, JobFailure>>),
}
