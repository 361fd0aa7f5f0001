//! Is a receipt true? Everything in it that the client can know is compared with what the client knows: who was to
//! sign, for which job, at which price, for which request and output. A receipt that says anything else is disputed by
//! code.

use fedai_protocol::message::Message;
use fedai_protocol::output_stream::OutputCounter;
use fedai_protocol::payment_offer::PaymentMethod;
use fedai_protocol::quote::CheckedNode;
use fedai_protocol::receipt::{Outcome, commitment};
use fedai_protocol::{EventId, JobId, Msat, PublicKey, Receipt, VerifiedEvent};

/// What the client knows of the job.
#[derive(Clone, Debug)]
pub struct KnownJob<'a> {
    /// Job.
    pub job: JobId,
    /// Session key.
    pub session: PublicKey,
    /// Nonce of the job open (hex).
    pub nonce: &'a str,
    /// Hash of the request (hex).
    pub request_hash: &'a str,
    /// Bytes of the request.
    pub request_bytes: u64,
    /// Messages of the request.
    pub messages: u64,
    /// How the ticket says that the job is paid.
    pub payment: PaymentMethod,
    /// The ticket.
    pub dispatch: EventId,
    /// Its author.
    pub router: PublicKey,
    /// The node, with its signed offer.
    pub node: &'a CheckedNode,
    /// What arrived.
    pub output: &'a OutputCounter,
    /// Whether the job ended well or broke off.
    pub outcome: Outcome,
    /// What the `final` frame says of the output; missing when the job broke off.
    pub claimed_sha256: Option<&'a str>,
}

/// Why a receipt is disputed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptDispute {
    /// Not a receipt.
    #[error("it is not a well-formed receipt")]
    Malformed,
    /// Signed by somebody else than the node.
    #[error("it is not signed by the node that did the job")]
    WrongNode,
    /// Another job.
    #[error("it is for another job")]
    WrongJob,
    /// Another ticket or router.
    #[error("it names another dispatch")]
    WrongDispatch,
    /// Another client.
    #[error("it names another client")]
    WrongClient,
    /// Another offer.
    #[error("it charges by another offer")]
    WrongOffer,
    /// Another model or other weights.
    #[error("it names another model than the offer")]
    WrongModel,
    /// Says complete for a broken job, or the other way round.
    #[error("it says that the job ended otherwise")]
    WrongOutcome,
    /// What arrived is not what the node says it sent.
    #[error("the output that arrived is not the one that was sent")]
    WrongOutput,
    /// More tokens than can be.
    #[error("its token counts cannot be true")]
    UsageBounds,
    /// Not the price of the offer.
    #[error("its amount is not what the offer gives for this usage")]
    WrongAmount,
    /// Above the ceiling.
    #[error("its amount is above the quoted ceiling")]
    AboveCeiling,
    /// A payment that was not agreed.
    #[error("it names another payment than was agreed")]
    WrongPayment,
    /// Commitment to something else.
    #[error("its commitment is not to this request and output")]
    WrongCommitment,
}

impl ReceiptDispute {
    /// Stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::WrongNode => "wrong_node",
            Self::WrongJob => "wrong_job",
            Self::WrongDispatch => "wrong_dispatch",
            Self::WrongClient => "wrong_client",
            Self::WrongOffer => "wrong_offer",
            Self::WrongModel => "wrong_model",
            Self::WrongOutcome => "wrong_outcome",
            Self::WrongOutput => "wrong_output",
            Self::UsageBounds => "usage_bounds",
            Self::WrongAmount => "wrong_amount",
            Self::AboveCeiling => "above_ceiling",
            Self::WrongPayment => "wrong_payment",
            Self::WrongCommitment => "wrong_commitment",
        }
    }
}

/// Checks a receipt; gives it when it is true.
pub fn check_receipt(event: &VerifiedEvent, known: &KnownJob<'_>) -> Result<Receipt, ReceiptDispute> {
    let received = Receipt::parse(event).map_err(|_| ReceiptDispute::Malformed)?;
    let receipt = received.message;
    let offer = &known.node.offer;
    let checks = [
        (received.author == known.node.node, ReceiptDispute::WrongNode),
        (receipt.job == known.job, ReceiptDispute::WrongJob),
        (receipt.dispatch == known.dispatch && receipt.router == known.router, ReceiptDispute::WrongDispatch),
        (receipt.client == known.session, ReceiptDispute::WrongClient),
        (
            receipt.offer == offer.id && receipt.offer_address == offer.message.address(&offer.author),
            ReceiptDispute::WrongOffer,
        ),
        (
            receipt.model == offer.message.model && receipt.model_digest == offer.message.digest,
            ReceiptDispute::WrongModel,
        ),
        (receipt.outcome == known.outcome, ReceiptDispute::WrongOutcome),
        (receipt.payment.method == known.payment, ReceiptDispute::WrongPayment),
    ];
    if let Some((_, dispute)) = checks.into_iter().find(|(holds, _)| !holds) {
        return Err(dispute);
    }
    check_output(&receipt, known)?;
    check_amount(&receipt, known)?;
    Ok(receipt)
}

fn check_output(receipt: &Receipt, known: &KnownJob<'_>) -> Result<(), ReceiptDispute> {
    let sha256 = known.output.sha256();
    if known.claimed_sha256.is_some_and(|claimed| claimed != sha256) {
        return Err(ReceiptDispute::WrongOutput);
    }
    receipt
        .usage
        .check_bounds(known.request_bytes, known.messages, known.output.text_bytes())
        .map_err(|_| ReceiptDispute::UsageBounds)?;
    if receipt.commitment != commitment(known.nonce, known.request_hash, &sha256) {
        return Err(ReceiptDispute::WrongCommitment);
    }
    Ok(())
}

fn check_amount(receipt: &Receipt, known: &KnownJob<'_>) -> Result<(), ReceiptDispute> {
    let (price, ceiling) = (known.node.offer.message.price, known.node.max_cost);
    let owed = price.amount(&receipt.usage).unwrap_or(Msat::MAX);
    // A node cuts what passes the ceiling to it, and may not ask for anything else.
    if receipt.amount == owed.min(ceiling) {
        return Ok(());
    }
    Err(if receipt.amount == owed { ReceiptDispute::AboveCeiling } else { ReceiptDispute::WrongAmount })
}

#[cfg(test)]
#[path = "receipt_check_tests.rs"]
mod tests;
