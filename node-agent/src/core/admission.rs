//! Whether a job is taken: every check, in one order, each with its code.
//!
//! Cheap checks come first, those that cost a stranger's ticket last. The rule: nothing is changed by a check;
//! a ticket's
//! use is taken only when everything else has passed, so a refusal never costs the client one.

use fedai_protocol::job_open::{JobEndpoint, OpenedJob, RequestBody};
use fedai_protocol::limits::{DISPATCH_SECONDS_MAX, FUTURE_SECONDS_MAX};
use fedai_protocol::{Dispatch, Msat, Received, Refusal, RefusalCode, Tokens, UnixSeconds};

use super::offers::{OfferBook, PublishedOffer};
use super::policy::NodePolicy;
use super::request_shape::RequestShape;
use super::session::JobTerms;

/// Why the node takes nothing at all just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    Draining,
    Paused,
    RunnerDown,
    Storage,
}

impl Closed {
    /// What a client is told.
    pub(crate) fn refusal(self) -> Refusal {
        match self {
            Self::Draining => Refusal::new(RefusalCode::Draining, "this node is shutting down"),
            Self::Paused => Refusal::new(RefusalCode::Draining, "this node is paused by its operator"),
            Self::RunnerDown => Refusal::new(RefusalCode::RunnerFailed, "the runner of this node is down")
                .retry_after(RUNNER_DOWN_RETRY_MS),
            Self::Storage => Refusal::new(RefusalCode::Internal, "this node cannot store receipts"),
        }
    }
}

/// What the node is doing, as far as admission must know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occupancy {
    pub(crate) jobs: usize,
    pub(crate) of_client: usize,
    pub(crate) queued: usize,
    pub(crate) bulk_bytes: u64,
    /// Predicted wait of one more job, in milliseconds.
    pub(crate) wait_ms: u64,
}

/// Checks everything that the ticket and the job open say; the body is checked by [`check_body`].
pub(crate) fn check_ticket(
    policy: &NodePolicy,
    offers: &OfferBook,
    opened: &OpenedJob,
    ticket: &Received<Dispatch>,
    now: UnixSeconds,
) -> Result<JobTerms, Refusal> {
    let dispatch = &ticket.message;
    let bad = |text: &str| Err(Refusal::new(RefusalCode::BadDispatch, text));
    if opened.client != dispatch.client {
        return bad("the job is sealed by another key than the dispatch names");
    }
    check_router(policy, ticket)?;
    let Some(named) = dispatch.nodes.iter().find(|named| named.node == policy.node) else {
        return bad("the dispatch names other nodes");
    };
    if dispatch.expires_at < now || opened.open.expires_at <= now {
        return Err(Refusal::new(RefusalCode::Expired, "the dispatch or the job has expired"));
    }
    let longest = ticket.created_at.plus(DISPATCH_SECONDS_MAX);
    if dispatch.expires_at > longest || ticket.created_at > now.plus(FUTURE_SECONDS_MAX) {
        return bad("the dispatch lives longer than a dispatch may, or is from the future");
    }
    let Some(published) = offers.honoured(&named.offer, now) else {
        let text = "the offer is not ours, or was replaced too long ago: ask for a new quote";
        return Err(Refusal::new(RefusalCode::UnknownOffer, text));
    };
    let (offer, model) = match offers.model(&published.offer.slug) {
        Some(model) if published.offer.model == dispatch.model => (&published.offer, model),
        _ => return Err(Refusal::new(RefusalCode::UnknownModel, "the model is not served here (any more)")),
    };
    if !model.endpoints.contains(&opened.open.endpoint) {
        return Err(Refusal::new(RefusalCode::RunnerRejected, "the model does not have this interface"));
    }
    Ok(JobTerms {
        ticket: ticket.id,
        ticket_expires: dispatch.expires_at,
        router: ticket.author,
        client: dispatch.client,
        offer: published.id,
        offer_address: offer.address(&policy.node),
        model: offer.model.clone(),
        model_digest: offer.digest.clone(),
        runner_id: model.runner_id.clone(),
        takes_images: model.takes_images,
        price: offer.price,
        max_cost: named.max_cost,
        input_tokens_max: input_max(published, dispatch),
        output_tokens_max: offer.max_output_tokens.min(dispatch.max_output_tokens).get(),
        payment: dispatch.payment,
        endpoint: opened.open.endpoint,
    })
}

fn input_max(published: &PublishedOffer, dispatch: &Dispatch) -> u64 {
    published.offer.context_tokens.min(dispatch.max_input_tokens).get()
}

fn check_router(policy: &NodePolicy, ticket: &Received<Dispatch>) -> Result<(), Refusal> {
    let refuse = |text: &str| Err(Refusal::new(RefusalCode::RouterNotAccepted, text));
    if ticket.author == ticket.message.client {
        return if policy.accept_self_dispatch {
            Ok(())
        } else {
            refuse("this node takes no self-signed dispatches: ask a router")
        };
    }
    if policy.routers.is_empty() || policy.routers.contains(&ticket.author) {
        Ok(())
    } else {
        refuse("this node does not take dispatches of this router")
    }
}

/// Checks the request against what was agreed and gives the output tokens that the runner may make in all.
pub(crate) fn check_body(terms: &JobTerms, shape: &RequestShape) -> Result<u64, Refusal> {
    if shape.has_remote_media {
        let text = "images and other media have to be in the request, as data: URLs: a node fetches nothing";
        return Err(Refusal::new(RefusalCode::RunnerRejected, text));
    }
    if shape.images > 0 && !terms.takes_images {
        return Err(Refusal::new(RefusalCode::RunnerRejected, "the model takes no images"));
    }
    if shape.tokens_at_least() > terms.input_tokens_max {
        let text = format!("the prompt does not fit {} tokens", terms.input_tokens_max);
        return Err(Refusal::new(RefusalCode::ContextExceeded, text));
    }
    if terms.endpoint == JobEndpoint::Embedding {
        return Ok(0);
    }
    let limit = terms.output_tokens_max;
    let asked = shape.max_output.map(|one| one.saturating_mul(shape.choices));
    if asked.is_some_and(|asked| asked > limit) || shape.choices > limit {
        let text = format!("more output is asked for than the dispatch and the offer allow ({limit} tokens)");
        return Err(Refusal::new(RefusalCode::ContextExceeded, text));
    }
    let cap = asked.unwrap_or(limit);
    let input = Tokens::saturating(shape.tokens_likely().min(terms.input_tokens_max));
    // Costs come to what the offer says; a ticket that cannot carry them would be served at a loss.
    if terms.price.ceiling(input, Tokens::saturating(cap)).unwrap_or(Msat::MAX) > terms.max_cost {
        return Err(Refusal::new(RefusalCode::BadDispatch, "the dispatch allows less than the job may cost"));
    }
    Ok(cap)
}

/// Checks that there is room.
pub(crate) fn check_room(
    policy: &NodePolicy,
    opened: &OpenedJob,
    occupancy: &Occupancy,
) -> Result<(), Refusal> {
    let limits = &policy.limits;
    if occupancy.of_client >= limits.per_client_max {
        let text = format!("this client has {} jobs here already", occupancy.of_client);
        return Err(Refusal::new(RefusalCode::RateLimited, text).retry_after(occupancy.wait_ms.max(RETRY_MS)));
    }
    let bulk = match &opened.open.request {
        RequestBody::Inline(_) => 0,
        RequestBody::Chunked(manifest) => manifest.bytes,
    };
    let full = occupancy.jobs >= limits.jobs_max
        || (occupancy.wait_ms > 0 && occupancy.queued >= limits.queue_max)
        || occupancy.bulk_bytes.saturating_add(bulk) > limits.bulk_bytes_max;
    // The client has somewhere else to go when it has to wait for longer.
    let accepted = opened.open.patience_ms.unwrap_or(u64::MAX).min(limits.wait_ms_max);
    if full || occupancy.wait_ms > accepted {
        let over = occupancy.wait_ms.saturating_sub(accepted);
        let text = format!("all slots are taken, the wait would be {} ms", occupancy.wait_ms);
        return Err(Refusal::new(RefusalCode::Busy, text).retry_after(over.max(RETRY_MS)));
    }
    Ok(())
}

/// Shortest pause that is asked of a client: less would only come back to the same state.
const RETRY_MS: u64 = 250;
/// A restart of a runner takes a few seconds at least.
const RUNNER_DOWN_RETRY_MS: u64 = 5_000;
