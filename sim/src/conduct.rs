//! How a party behaves: the only place where a world lets somebody be dishonest.
//!
//! A conduct stands between a party's own core and its shell. It changes what that core is told and what leaves the
//! party, as somebody does who runs a changed build on a machine of his own. It never reaches into anybody else: the
//! production cores of the others are the only defence. Every hook is honest by default, and a party without a conduct
//! pays nothing for the hooks.

use fedai_node_agent::core::metering::ReportedUsage;
use fedai_node_agent::core::offers::LocalModel;
use fedai_protocol::{LoadPing, PublicKey, Receipt, ReceiptAck, UnixMicros};
use fedai_router_agent::core::quote_desk::QuoteDraft;

use crate::wire::Payload;
use crate::workload::prompt::Prompt;

/// What happens to a piece of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It goes out.
    Pass,
    /// It never does, nor anything after it: the answer stalls.
    Hold,
}

/// How a node behaves.
pub trait NodeConduct: core::fmt::Debug + Send {
    /// Changes what the core is told of the model before it is offered: slots, above all.
    fn model(&mut self, _model: &mut LocalModel) {}

    /// Changes a load ping before it is signed.
    fn ping(&mut self, _ping: &mut LoadPing) {}

    /// False: a job open is dropped without a word.
    fn takes(&mut self, _now: UnixMicros) -> bool {
        true
    }

    /// Thousandths of the honest work that a job is computed with: a model of a quarter of the size has 250. Time and
    /// cost shrink with it; what the node says of the model does not change.
    fn work_permille(&mut self, _now: UnixMicros) -> u64 {
        1_000
    }

    /// What the answer says: other weights say other words. Its length and its prompt stay.
    fn answers(&mut self, _now: UnixMicros, asked: Prompt) -> Prompt {
        asked
    }

    /// What happens to the next tokens of an answer, of which `said` went out before.
    fn output(&mut self, _now: UnixMicros, _said: u64) -> Passage {
        Passage::Pass
    }

    /// Changes what the runner is said to have used, before the core meters it.
    fn usage(&mut self, _now: UnixMicros, _usage: &mut ReportedUsage) {}

    /// Changes a receipt before it is signed.
    fn receipt(&mut self, _now: UnixMicros, _receipt: &mut Receipt) {}

    /// Receipts to sign and publish on top of one that has just been published.
    fn further_receipts(&mut self, _now: UnixMicros, _published: &Receipt) -> Vec<Receipt> {
        Vec::new()
    }

    /// True: the node throws its identity away and begins again under a new one, with an empty disk. Asked before each
    /// job that it is offered.
    fn sheds_identity(&mut self, _now: UnixMicros) -> bool {
        false
    }
}

/// How a router behaves.
pub trait RouterConduct: core::fmt::Debug + Send {
    /// Changes a quote before its ticket is signed.
    fn quote(&mut self, _now: UnixMicros, _draft: &mut QuoteDraft) {}
}

/// How a client behaves.
pub trait ClientConduct: core::fmt::Debug + Send {
    /// Changes its word on a receipt of this node before it is signed.
    fn word(&mut self, _node: &PublicKey, _word: &mut ReceiptAck) {}

    /// False: it does not pay this node what its own core accepted.
    fn pays(&mut self, _node: &PublicKey) -> bool {
        true
    }
}

/// How a relay behaves.
pub trait RelayConduct: core::fmt::Debug + Send {
    /// False: it says that it took the event, and loses it.
    fn carries(&mut self, _now: UnixMicros, _parcel: &Payload) -> bool {
        true
    }
}
