//! Is a client's dispute true? Some of it this router can see for itself: the receipt is signed, and so are the
//! ticket and the offer that it rests on. What it cannot see is a claim, and bounded as such.

use fedai_protocol::message::Received;
use fedai_protocol::{Msat, Receipt};

use super::RouterCore;

/// What was found of a dispute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DisputeGrade {
    /// Nobody but client and node can know.
    Claimed,
    /// The receipt shows it.
    Shown,
    /// The receipt shows that it is not so.
    Refuted,
}

impl DisputeGrade {
    /// Stable code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "client_dispute",
            Self::Shown => "dispute_shown",
            Self::Refuted => "dispute_refuted",
        }
    }
}

impl RouterCore {
    /// Holds a dispute against the receipt, which has been held against its ticket already.
    pub(super) fn grade(&self, code: &str, receipt: &Received<Receipt>) -> DisputeGrade {
        let message = &receipt.message;
        let Some(ticket) = self.book.ticket(&message.dispatch) else { return DisputeGrade::Claimed };
        let is_true = match code {
            // These would have kept the receipt out of the books.
            "malformed" | "wrong_node" | "wrong_dispatch" | "wrong_client" => false,
            "wrong_payment" => message.payment.method != ticket.dispatch.payment,
            "wrong_amount" | "above_ceiling" => {
                let named = ticket.dispatch.nodes.iter().find(|named| named.node == receipt.author);
                let offer = self.registry.signed(&receipt.author, &message.offer);
                let (Some(named), Some((offer, _))) = (named, offer) else { return DisputeGrade::Claimed };
                let owed = offer.received.message.price.amount(&message.usage).unwrap_or(Msat::MAX);
                message.amount != owed.min(named.max_cost)
            }
            _ => return DisputeGrade::Claimed,
        };
        if is_true { DisputeGrade::Shown } else { DisputeGrade::Refuted }
    }
}
