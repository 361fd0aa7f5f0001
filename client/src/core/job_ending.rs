//! How a job ended: an answer with its receipt and what was made of it, or a failure with its code. One of the two,
//! once.

use fedai_protocol::quote::CheckedNode;
use fedai_protocol::receipt_ack::AckVerdict;
use fedai_protocol::{
    EventId, JobId, Msat, PublicKey, ReceiptAck, Refusal, RefusalCode, Usage, VerifiedEvent,
};

use super::quote_check::Ticket;
use super::receipt_check::ReceiptDispute;
use super::router_silence::Unheard;

/// When to try again where a process has no room for one more job: most last a few seconds.
const FULL_RETRY_MS: u64 = 2_000;

/// One node that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptNote {
    /// Node.
    pub node: PublicKey,
    /// Router that named it.
    pub router: PublicKey,
    /// `complete`, or the code of the refusal.
    pub outcome: String,
}

impl AttemptNote {
    pub(crate) fn new(node: PublicKey, router: PublicKey) -> Self {
        Self { node, router, outcome: "open".to_owned() }
    }
}

/// A receipt and what was made of it.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// Attempt that it belongs to: its session key signs the acknowledgement.
    pub attempt: u32,
    /// Job.
    pub job: JobId,
    /// Node.
    pub node: CheckedNode,
    /// The ticket.
    pub dispatch: VerifiedEvent,
    /// The receipt.
    pub receipt: VerifiedEvent,
    /// The amount, when the receipt is true.
    pub verdict: Result<Msat, ReceiptDispute>,
    /// Time to first output as it was seen here.
    pub observed_ttft_ms: Option<u64>,
    /// Total time as it was seen here.
    pub observed_total_ms: u64,
    /// Nodes of the ticket that said at once that the wait there is longer than accepted.
    pub turned_away: Vec<PublicKey>,
}

impl Settlement {
    /// The word on the receipt that is published, with the proof that the ticket's client says it.
    #[must_use]
    pub fn acknowledgement(&self, ticket_proof: Option<String>) -> ReceiptAck {
        ReceiptAck {
            receipt: self.receipt.clone(),
            verdict: match self.verdict {
                Ok(_) => AckVerdict::Accepted,
                Err(dispute) => AckVerdict::Disputed(dispute.code().to_owned()),
            },
            rating: None,
            observed_ttft_ms: self.observed_ttft_ms,
            observed_total_ms: Some(self.observed_total_ms),
            turned_away: self.turned_away.clone(),
            ticket_proof,
        }
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Visible text.
    pub text: String,
    /// Why the model stopped, as the output says.
    pub finish_reason: String,
    /// What a true receipt says, or what the node claims when its receipt is disputed.
    pub usage: Usage,
    /// The ticket, for the next job.
    pub ticket: Ticket,
    /// The receipt.
    pub settlement: Settlement,
    /// Nodes tried, in order.
    pub attempts: Vec<AttemptNote>,
    /// What was spent in all, on what earlier nodes had delivered, too.
    pub spent: Msat,
    /// From the start to the quote.
    pub quote_ms: u64,
    /// From the start to the first output.
    pub ttft_ms: u64,
    /// From the start to the end.
    pub total_ms: u64,
}

/// A job that ended without an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{refusal}")]
pub struct JobFailure {
    /// The last word.
    pub refusal: Refusal,
    /// A router's lie, when one was caught.
    pub dishonest: Option<String>,
    /// Why no router was heard, when none was.
    pub unheard: Option<Unheard>,
    /// True when a part of an answer was handed on.
    pub has_shown: bool,
    /// Nodes tried, in order.
    pub attempts: Vec<AttemptNote>,
    /// What was spent all the same.
    pub spent: Msat,
    /// The decision that led to the last node tried: what `fedai why` explains.
    pub decision: Option<EventId>,
}

impl JobFailure {
    /// A fault of our own: an ending without what belongs to it.
    #[must_use]
    pub(crate) fn of_our_own() -> Self {
        Self {
            refusal: Refusal::new(RefusalCode::Internal, "the receipt could not be acknowledged"),
            dishonest: None,
            unheard: None,
            has_shown: false,
            attempts: Vec::new(),
            spent: Msat::ZERO,
            decision: None,
        }
    }

    /// Nothing that a relay says would be heard: so many jobs are under way by them.
    #[must_use]
    pub(crate) fn too_many_jobs() -> Self {
        let text = "too many jobs are under way by relays in this process";
        let refusal = Refusal::new(RefusalCode::RateLimited, text).retry_after(FULL_RETRY_MS);
        Self { refusal, ..Self::of_our_own() }
    }

    /// Stable code of it, for people and programs.
    #[must_use]
    pub fn code(&self) -> String {
        match self.unheard {
            Some(Unheard::Relays) => "no_relay".to_owned(),
            _ => self.refusal.code.as_str(),
        }
    }

    /// A way out; none for who wanted out.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        if self.refusal.code == RefusalCode::Cancelled {
            return None;
        }
        if self.dishonest.is_some() {
            return Some("a router's quote did not hold; name another one with --router");
        }
        if let Some(unheard) = self.unheard {
            return Some(unheard.hint());
        }
        Some(match self.refusal.code {
            RefusalCode::NoNode | RefusalCode::UnknownModel => {
                "see what is offered: fedai models; or leave out --model"
            }
            RefusalCode::RouterNotAccepted if self.attempts.is_empty() => {
                "ask a router: --router any; or have a node started with --accept-self-dispatch"
            }
            RefusalCode::PriceCeiling => "raise --max-price, or see prices: fedai models",
            RefusalCode::Timeout => {
                "see whether relays, routers and nodes answer: fedai doctor; or raise --timeout"
            }
            RefusalCode::ContextExceeded | RefusalCode::TooLarge => {
                "shorten the prompt or lower --max-tokens; how much fits: fedai models"
            }
            RefusalCode::RunnerInterrupted if self.has_shown => {
                "the output above is incomplete and was not paid for; --on-break restart begins anew by itself"
            }
            RefusalCode::PaymentRequired | RefusalCode::PaymentNotAccepted => {
                "this version pays for nothing: only free offers can be used"
            }
            _ => "try again; see what was considered: fedai quote",
        })
    }
}
