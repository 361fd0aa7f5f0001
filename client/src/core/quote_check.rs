//! Is a quote what it claims to be? Everything a router says is checked against what the nodes signed and what was
//! asked for; what passes becomes a [`Ticket`], the only thing a job is opened with.

use fedai_protocol::decision_record::DecisionRecord;
use fedai_protocol::message::{Message, ParseError, Received};
use fedai_protocol::payment_offer::PaymentMethod;
use fedai_protocol::quote::{CheckedNode, Quote, QuoteCheckError, QuoteOutcome};
use fedai_protocol::{
    Dispatch, EventId, Msat, PublicKey, QuoteReply, Refusal, Tokens, UnixSeconds, VerifiedEvent,
};

use super::job_spec::JobSpec;

/// Largest dispatch, as JSON: one with all its fallbacks takes two kilobytes, and it must fit the job open beside an
/// inline request.
const DISPATCH_BYTES_MAX: usize = 6 * 1_024;

/// A quote that holds, with its dispatch.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// Author of quote and dispatch.
    pub router: PublicKey,
    /// The request that was answered; also names the decision record.
    pub request: EventId,
    /// Nodes, the chosen one first.
    pub nodes: Vec<CheckedNode>,
    /// The dispatch as nodes want to see it.
    pub dispatch_event: VerifiedEvent,
    /// The dispatch.
    pub dispatch: Dispatch,
    /// The router's fee.
    pub fee: Msat,
    /// Most that one job can cost.
    pub ceiling: Msat,
    /// When a second attempt would pay off, as the router says.
    pub hedge_after_ms: Option<u64>,
    /// Digest of the decision record.
    pub decision: String,
    /// The decision record, when it came along.
    pub record: Option<Box<DecisionRecord>>,
}

impl Ticket {
    /// True when another job of this shape may use the ticket at `now`.
    #[must_use]
    pub fn covers(&self, spec: &JobSpec, used: u16, now: UnixSeconds) -> bool {
        let dispatch = &self.dispatch;
        used < dispatch.uses
            && dispatch.expires_at > now.plus(5)
            && spec.wanted.model.as_ref().is_none_or(|model| *model == dispatch.model)
            && spec.prompt_tokens <= dispatch.max_input_tokens
            && spec.max_output_tokens <= dispatch.max_output_tokens
            && spec.max_cost.is_none_or(|most| self.ceiling <= most)
            && self.nodes.iter().any(|node| node.descriptor.message.is_live(now))
    }

    /// True when its first node is one of these.
    #[must_use]
    pub fn leads_to(&self, nodes: &[PublicKey]) -> bool {
        self.nodes.first().is_some_and(|first| nodes.contains(&first.node))
    }

    /// True when nothing can be owed under it.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.dispatch.payment == PaymentMethod::Free && self.ceiling == Msat::ZERO
    }
}

/// What was asked, as far as an answer has to fit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who was asked.
    pub router: PublicKey,
    /// The request.
    pub request: EventId,
    /// The ticket key that asked.
    pub ticket: PublicKey,
}

/// Why an answer is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuoteProblem {
    /// The router said no.
    #[error("{0}")]
    Refused(Refusal),
    /// Not the answer to this question.
    #[error("the answer is to another question")]
    NotForUs,
    /// Too old.
    #[error("the quote has expired")]
    Expired,
    /// A quoted node's own words say something else.
    #[error(transparent)]
    Nodes(#[from] QuoteCheckError),
    /// Another model than was asked for.
    #[error("the quote is for another model")]
    Model,
    /// Fewer tokens than were asked for.
    #[error("the quote covers fewer tokens than were asked for")]
    Tokens,
    /// Dearer than the ceiling.
    #[error("the quote's ceiling of {ceiling} is above the {most} that may be spent")]
    Price {
        /// Quoted.
        ceiling: Msat,
        /// Allowed.
        most: Msat,
    },
    /// A way of paying that was not offered.
    #[error("payment by {0} is not possible here")]
    Payment(&'static str),
    /// A node that was excluded.
    #[error("the quote names a node that was excluded")]
    ExcludedNode,
    /// No dispatch, or one that does not parse.
    #[error("the quote has no valid dispatch")]
    NoDispatch,
    /// The dispatch does not say what the quote says.
    #[error("the dispatch does not match the quote: {0}")]
    Dispatch(&'static str),
    /// The decision record is not the one that the quote commits to.
    #[error("the decision record does not match its digest")]
    Record,
}

impl QuoteProblem {
    /// True when only a router that lies (or is broken) answers like this.
    #[must_use]
    pub const fn is_dishonest(&self) -> bool {
        !matches!(
            self,
            Self::Refused(_)
                | Self::NotForUs
                | Self::Expired
                | Self::Nodes(QuoteCheckError::Expired)
                | Self::Price { .. }
                | Self::Payment(_)
        )
    }
}

/// Checks an answer.
pub fn check_reply(
    reply: &Received<QuoteReply>,
    question: &Question,
    spec: &JobSpec,
    avoid: &[PublicKey],
    now: UnixSeconds,
) -> Result<Ticket, QuoteProblem> {
    let message = &reply.message;
    if reply.author != question.router
        || message.request != question.request
        || message.client != question.ticket
    {
        return Err(QuoteProblem::NotForUs);
    }
    let quote = match &message.outcome {
        QuoteOutcome::Refusal(refusal) => return Err(QuoteProblem::Refused(refusal.clone())),
        QuoteOutcome::Quote(quote) => quote,
    };
    if message.expires_at < now || quote.expires_at < now {
        return Err(QuoteProblem::Expired);
    }
    check_shape(quote, spec)?;
    let nodes = quote.check_nodes(now)?;
    if nodes.iter().any(|node| avoid.contains(&node.node)) {
        return Err(QuoteProblem::ExcludedNode);
    }
    if quote.record.as_deref().is_some_and(|record| record.digest() != quote.decision) {
        return Err(QuoteProblem::Record);
    }
    let dispatch_event = quote.dispatch.clone().ok_or(QuoteProblem::NoDispatch)?;
    let dispatch = check_dispatch(&dispatch_event, question, quote, &nodes, now)?;
    check_payment(&dispatch, quote, spec)?;
    Ok(Ticket {
        router: question.router,
        request: question.request,
        nodes,
        dispatch_event,
        dispatch,
        fee: quote.fee,
        ceiling: quote.ceiling,
        hedge_after_ms: quote.hedge_after_ms,
        decision: quote.decision.clone(),
        record: quote.record.clone(),
    })
}

fn check_shape(quote: &Quote, spec: &JobSpec) -> Result<(), QuoteProblem> {
    if spec.wanted.model.as_ref().is_some_and(|model| *model != quote.model) {
        return Err(QuoteProblem::Model);
    }
    let enough = |quoted: Tokens, needed: Tokens| quoted >= needed;
    if !enough(quote.prompt_tokens, spec.prompt_tokens)
        || !enough(quote.max_output_tokens, spec.max_output_tokens)
    {
        return Err(QuoteProblem::Tokens);
    }
    match spec.max_cost {
        Some(most) if quote.ceiling > most => Err(QuoteProblem::Price { ceiling: quote.ceiling, most }),
        _ => Ok(()),
    }
}

fn check_dispatch(
    event: &VerifiedEvent,
    question: &Question,
    quote: &Quote,
    nodes: &[CheckedNode],
    now: UnixSeconds,
) -> Result<Dispatch, QuoteProblem> {
    if event.json_len() > DISPATCH_BYTES_MAX {
        return Err(QuoteProblem::Dispatch("too large for a job open"));
    }
    let parsed = Dispatch::parse(event).map_err(|_: ParseError| QuoteProblem::NoDispatch)?;
    let Received { message: dispatch, author, .. } = parsed;
    let wrong = |what| Err(QuoteProblem::Dispatch(what));
    if author != question.router {
        return wrong("signed by somebody else");
    }
    if dispatch.request != question.request || dispatch.client != question.ticket {
        return wrong("issued for another request or client");
    }
    if dispatch.model != quote.model {
        return wrong("another model");
    }
    if dispatch.expires_at <= now {
        return wrong("expired");
    }
    if dispatch.max_input_tokens < quote.prompt_tokens || dispatch.max_output_tokens < quote.max_output_tokens
    {
        return wrong("fewer tokens than quoted");
    }
    // The dispatch may name more fallbacks than fitted the quote; those are simply never used.
    let fits = nodes.len() <= dispatch.nodes.len()
        && nodes.iter().zip(&dispatch.nodes).all(|(quoted, dispatched)| {
            quoted.node == dispatched.node
                && quoted.offer.id == dispatched.offer
                && quoted.max_cost == dispatched.max_cost
        });
    if !fits {
        return wrong("other nodes, offers or prices");
    }
    Ok(dispatch)
}

/// A way of paying that the client did not say it has is refused, never assumed; and free is what costs nothing.
fn check_payment(dispatch: &Dispatch, quote: &Quote, spec: &JobSpec) -> Result<(), QuoteProblem> {
    let (method, is_free) = (dispatch.payment, quote.ceiling == Msat::ZERO);
    let is_known = method != PaymentMethod::Unknown && spec.constraints.payment.contains(&method);
    if !is_known || (method == PaymentMethod::Free) != is_free {
        return Err(QuoteProblem::Payment(method.as_str()));
    }
    Ok(())
}

#[cfg(test)]
#[path = "quote_check_tests.rs"]
mod tests;
