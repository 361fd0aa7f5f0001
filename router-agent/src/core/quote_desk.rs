//! From a quote request to a quote or a coded refusal.
//!
//! A quote is binding: its ceiling covers every node it names, fee included, and each node's part is exactly what its
//! own signed offer gives. The desk never assumes payment: without a method in common there is no quote.

use std::sync::Arc;

use fedai_protocol::decision_record::DecisionRecord;
use fedai_protocol::dispatch::DispatchedNode;
use fedai_protocol::limits::{DISPATCH_SECONDS_MAX, QUOTE_SECONDS_MAX};
use fedai_protocol::message::{Received, body_json};
use fedai_protocol::payment_offer::PaymentMethod;
use fedai_protocol::quote::{QuoteOutcome, QuotedNode};
use fedai_protocol::router_profile::RouterFee;
use fedai_protocol::{
    Dispatch, Msat, PublicKey, Quote, QuoteReply, QuoteRequest, Refusal, RefusalCode, Tokens, UnixMicros,
    UnixSeconds, VerifiedEvent,
};

use super::candidate::{method_bit, method_bits};
use super::explain::travelling;
use super::filter::FilterCode;
use super::rate_limit::{Rate, RateLimit};
use super::registry::Registry;
use super::scheduler::{Choice, Decision, NoCandidate};

/// Largest reply in JSON: under the sealing limit, with room for the version and the escapes around it.
const REPLY_BYTES_MAX: usize = 31_000;

/// The terms on which quotes are given.
#[derive(Clone, Debug, PartialEq)]
pub struct QuoteTerms {
    /// Fee.
    pub fee: RouterFee,
    /// Life of a quote, in seconds.
    pub quote_seconds: u64,
    /// Life of a ticket, in seconds.
    pub dispatch_seconds: u64,
    /// Payment methods that are routed.
    pub methods: Vec<PaymentMethod>,
    /// Requests of one key.
    pub per_key: Rate,
    /// Requests of all keys.
    pub global: Rate,
}

/// A node of a quote that is not written yet.
#[derive(Clone, Debug, PartialEq)]
pub struct DraftNode {
    /// The choice.
    pub choice: Choice,
    /// The node's signed offer and descriptor; a simulated world has none.
    pub signed: Option<(VerifiedEvent, VerifiedEvent)>,
}

/// A quote before its ticket is signed.
#[derive(Clone, Debug, PartialEq)]
pub struct QuoteDraft {
    /// The nodes.
    pub nodes: Vec<DraftNode>,
    /// Model.
    pub model: String,
    /// Prompt tokens covered.
    pub prompt_tokens: Tokens,
    /// Output tokens covered.
    pub max_output_tokens: Tokens,
    /// Fee.
    pub fee: Msat,
    /// Ceiling.
    pub ceiling: Msat,
    /// The full decision record.
    pub record: Arc<DecisionRecord>,
    /// The ticket to be signed, when it was asked for at once.
    pub dispatch: Option<Dispatch>,
    /// When a second copy is worth its cost, in milliseconds after the first was sent.
    pub hedge_after_ms: Option<u64>,
    /// Not binding after this.
    pub expires_at: UnixSeconds,
}

/// The desk.
#[derive(Clone, Debug)]
pub struct QuoteDesk {
    terms: QuoteTerms,
    router: PublicKey,
    limit: RateLimit,
}

impl QuoteDesk {
    /// A desk of this router.
    #[must_use]
    pub fn new(router: PublicKey, terms: QuoteTerms) -> Self {
        let limit = RateLimit::new(terms.per_key, terms.global);
        let quote_seconds = terms.quote_seconds.clamp(1, QUOTE_SECONDS_MAX);
        let dispatch_seconds = terms.dispatch_seconds.clamp(1, DISPATCH_SECONDS_MAX);
        Self { terms: QuoteTerms { quote_seconds, dispatch_seconds, ..terms }, router, limit }
    }

    /// The terms, as clamped to the protocol's limits.
    #[must_use]
    pub const fn terms(&self) -> &QuoteTerms {
        &self.terms
    }

    /// What speaks against a request before any candidate is looked at.
    pub fn admit(
        &mut self,
        now: UnixMicros,
        asked: &Received<QuoteRequest>,
        draining: bool,
    ) -> Result<(), Refusal> {
        let request = &asked.message;
        // Before all else: every refusal below costs a signature.
        self.limit.take(now, &asked.author).map_err(|wait| {
            Refusal::new(RefusalCode::RateLimited, "too many requests; wait and ask again").retry_after(wait)
        })?;
        if draining {
            return Err(Refusal::new(RefusalCode::Draining, "this router is shutting down; ask another one"));
        }
        if request.router.is_some_and(|router| router != self.router) {
            return Err(Refusal::new(RefusalCode::Malformed, "the request is addressed to another router"));
        }
        if request.expires_at <= now.seconds() {
            return Err(Refusal::new(RefusalCode::Expired, "the request has expired; check the clocks"));
        }
        if method_bits(&request.constraints.payment) & method_bits(&self.terms.methods) == 0 {
            let taken: Vec<&str> = self.terms.methods.iter().map(|method| method.as_str()).collect();
            let text = format!("no payment method in common; this router routes: {}", taken.join(", "));
            return Err(Refusal::new(RefusalCode::PaymentNotAccepted, text));
        }
        Ok(())
    }

    /// Writes the quote for a decision. None when a chosen offer is gone in the meantime.
    #[must_use]
    pub fn draft(
        &self,
        now: UnixMicros,
        asked: &Received<QuoteRequest>,
        decision: Decision,
        registry: &Registry,
    ) -> QuoteDraft {
        let request = &asked.message;
        let now = now.seconds();
        // The first method that the client prefers and every node of the quote takes.
        let common = decision.choices.iter().fold(u8::MAX, |bits, choice| bits & choice.methods);
        let first = decision.choices.first().map_or(0, |choice| choice.methods);
        let usable = if common == 0 { first } else { common };
        let method = request.constraints.payment.iter().find(|method| method_bit(**method) & usable != 0);
        let method = method.copied().unwrap_or(PaymentMethod::Unknown);
        let choices: Vec<Choice> =
            decision.choices.into_iter().filter(|choice| choice.methods & method_bit(method) != 0).collect();
        let leases = choices.iter().filter_map(|choice| {
            let (_, descriptor) = registry.signed(&choice.node, &choice.offer)?;
            Some(descriptor.received.message.expires_at)
        });
        let expires_at = leases.min().unwrap_or(now).min(now.plus(self.terms.quote_seconds));
        let dispatch = request.accept_auto.then(|| Dispatch {
            request: asked.id,
            client: asked.author,
            nodes: choices
                .iter()
                .map(|choice| DispatchedNode {
                    node: choice.node,
                    offer: choice.offer,
                    max_cost: choice.max_cost,
                })
                .collect(),
            model: decision.model.clone(),
            max_input_tokens: request.prompt_tokens,
            max_output_tokens: request.max_output_tokens,
            payment: method,
            uses: request.uses,
            expires_at: now.plus(self.terms.dispatch_seconds),
        });
        let nodes = choices.into_iter().map(|choice| {
            let signed = registry
                .signed(&choice.node, &choice.offer)
                .and_then(|(offer, descriptor)| Some((offer.event.clone()?, descriptor.event.clone()?)));
            DraftNode { choice, signed }
        });
        QuoteDraft {
            nodes: nodes.collect(),
            model: decision.model,
            prompt_tokens: request.prompt_tokens,
            max_output_tokens: request.max_output_tokens,
            fee: decision.fee,
            ceiling: decision.ceiling,
            record: decision.record,
            dispatch,
            hedge_after_ms: decision.hedge_after_ms,
            expires_at,
        }
    }

    /// The refusal for a request that nobody can serve: the reason that came closest to a yes.
    #[must_use]
    pub fn refusal(&self, none: &NoCandidate) -> Refusal {
        let last = none.rejected.iter().map(|(code, _)| *code).max();
        let Some(code) = last else {
            return Refusal::new(
                RefusalCode::UnknownModel,
                "no live node offers this model; see `fedai models`",
            );
        };
        let (refusal, way_out) = match code {
            FilterCode::Saturated => (RefusalCode::Busy, "every node that fits is full; try again later"),
            FilterCode::PriceCeiling => (
                RefusalCode::PriceCeiling,
                "every node that fits costs more; raise the ceiling or ask for less output",
            ),
            FilterCode::Payment => {
                (RefusalCode::PaymentNotAccepted, "no node that fits takes a payment method that was offered")
            }
            FilterCode::Context | FilterCode::MaxTokens => {
                (RefusalCode::ContextExceeded, "prompt and output do not fit any offer; ask for less output")
            }
            FilterCode::TrustFloor => (
                RefusalCode::NoNode,
                "no node that fits has a record good enough for the trusted mode yet; ask in balanced mode, or ask a \
                 router that has seen more acknowledged jobs",
            ),
            _ => (RefusalCode::NoNode, "no node fits the conditions; relax them or ask another router"),
        };
        let counts: Vec<String> =
            none.rejected.iter().map(|(code, count)| format!("{} {}", count, code.as_str())).collect();
        let text = format!("{way_out} ({} looked at: {})", none.considered, counts.join(", "));
        let refusal = Refusal::new(refusal, text);
        match (code, none.retry_after_ms) {
            (FilterCode::Saturated, Some(wait)) => refusal.retry_after(wait),
            _ => refusal,
        }
    }
}

impl QuoteDraft {
    /// The reply with its signed ticket. Where it would not fit one sealed event, the decision record is cut
    /// first, then
    /// the fallbacks that the ticket does not need are kept out. None without the nodes' signed events.
    #[must_use]
    pub fn reply(&self, asked: &Asker, dispatch: Option<&VerifiedEvent>) -> Option<QuoteReply> {
        for candidates in [16, 4] {
            let reply = self.reply_with(asked, dispatch, Some(candidates), usize::MAX)?;
            if fits(&reply) {
                return Some(reply);
            }
        }
        for nodes in (1..=self.nodes.len()).rev() {
            let reply = self.reply_with(asked, dispatch, None, nodes)?;
            if fits(&reply) {
                return Some(reply);
            }
        }
        None
    }

    /// The reply without the decision record, for readers that do not ask why. It commits to none.
    #[must_use]
    pub fn bare_reply(&self, asked: &Asker, dispatch: Option<&VerifiedEvent>) -> Option<QuoteReply> {
        let nodes: Option<Vec<QuotedNode>> = self.nodes.iter().map(DraftNode::quoted).collect();
        Some(self.reply_of(asked, dispatch, nodes?, String::new(), None))
    }

    fn reply_with(
        &self,
        asked: &Asker,
        dispatch: Option<&VerifiedEvent>,
        candidates: Option<usize>,
        nodes_max: usize,
    ) -> Option<QuoteReply> {
        let nodes: Option<Vec<QuotedNode>> =
            self.nodes.iter().take(nodes_max).map(DraftNode::quoted).collect();
        let nodes = nodes?;
        let record = travelling(&self.record, candidates.unwrap_or(0));
        let decision = record.digest();
        Some(self.reply_of(asked, dispatch, nodes, decision, candidates.map(|_| Box::new(record))))
    }

    fn reply_of(
        &self,
        asked: &Asker,
        dispatch: Option<&VerifiedEvent>,
        nodes: Vec<QuotedNode>,
        decision: String,
        record: Option<Box<DecisionRecord>>,
    ) -> QuoteReply {
        let quote = Quote {
            // Where fallbacks are left out there is nowhere to send a second copy.
            hedge_after_ms: self.hedge_after_ms.filter(|_| nodes.len() > 1),
            nodes,
            model: self.model.clone(),
            prompt_tokens: self.prompt_tokens,
            max_output_tokens: self.max_output_tokens,
            fee: self.fee,
            ceiling: self.ceiling,
            decision,
            record,
            dispatch: dispatch.cloned(),
            expires_at: self.expires_at,
        };
        QuoteReply {
            request: asked.request,
            client: asked.client,
            outcome: QuoteOutcome::Quote(Box::new(quote)),
            peers: Vec::new(),
            expires_at: self.expires_at,
        }
    }
}

/// Who asked, in which request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// Session key of the client.
    pub client: PublicKey,
    /// Id of the request.
    pub request: fedai_protocol::EventId,
    /// True when the request was sealed: then so is the reply.
    pub sealed: bool,
}

impl DraftNode {
    fn quoted(&self) -> Option<QuotedNode> {
        let (offer, descriptor) = self.signed.clone()?;
        Some(QuotedNode {
            offer,
            descriptor,
            max_cost: self.choice.max_cost,
            expected_ttft_ms: self.choice.terms.ttft_ms.clamp(0.0, 1e12) as u64,
            expected_total_ms: self.choice.terms.total_ms.clamp(0.0, 1e12) as u64,
            patience_ms: self.choice.patience_ms,
        })
    }
}

fn fits(reply: &QuoteReply) -> bool {
    body_json(reply).is_ok_and(|json| json.len() <= REPLY_BYTES_MAX)
}
