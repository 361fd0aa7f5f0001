//! One job of the endpoint: bought in a task of its own, so that a receipt is judged and kept also when the program
//! that asked has gone.

use std::ops::ControlFlow;
use std::sync::Arc;

use fedai_protocol::Msat;
use fedai_protocol::output_stream::OutputLine;
use fedai_protocol::payment_offer::PaymentMethod;
use fedai_protocol::quote::CheckedNode;
use fedai_protocol::quote_request::Constraints;
use fedai_protocol::{PublicKey, RefusalCode};
use fedai_relay_bridge::wall_clock;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::endpoint::Endpoint;
use crate::core::job_ending::{Answer, JobFailure};
use crate::core::job_spec::{DeliveryMode, JobSpec, OnBreak, RouterTarget};
use crate::core::openai::api_error::ApiError;
use crate::core::openai::api_request::ApiRequest;
use crate::core::quote_check::Ticket;
use crate::shell::buyer::{OutputSink, RouterContact};
use crate::shell::config::{RouterWish, parse_key};

/// Jobs that one ticket covers.
const TICKET_USES: u16 = 16;

/// What happens to a job before its end.
pub(super) enum Progress {
    /// It is being opened at a node.
    Opening(Place),
    /// Output.
    Lines(Vec<OutputLine>),
}

/// Where a job runs and why there.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub(super) node: String,
    pub(super) router: String,
    pub(super) request: String,
    pub(super) decision: String,
    pub(super) model: String,
    pub(super) ceiling: Msat,
    pub(super) attempts: u32,
}

/// How a job ended well.
pub(super) struct Delivered {
    pub(super) answer: Box<Answer>,
    /// The price, when the receipt is true; nothing is owed otherwise.
    pub(super) cost: Msat,
}

/// A job under way. Dropped, it is cancelled.
pub(super) struct Purchase {
    pub(super) progress: mpsc::UnboundedReceiver<Progress>,
    pub(super) outcome: JoinHandle<Result<Delivered, ApiError>>,
    _cancel: DropGuard,
}

/// Begins to buy.
pub(super) async fn begin(
    endpoint: &Arc<Endpoint>,
    request: ApiRequest,
    caller: Option<String>,
) -> Result<Purchase, ApiError> {
    let permit = endpoint.admit()?;
    let contacts = endpoint.routers().await?;
    let most = endpoint.keys.left(caller.as_deref(), wall_clock::now_seconds())?;
    let specs = specs(endpoint, &request, &contacts, most).await?;
    let cancel = endpoint.cancel.child_token();
    let (sender, progress) = mpsc::unbounded_channel();
    let task = Task { endpoint: Arc::clone(endpoint), contacts, caller, cancel: cancel.clone(), sender };
    let outcome = tokio::spawn(async move {
        let outcome = Box::pin(task.buy(specs)).await;
        drop(permit);
        outcome
    });
    Ok(Purchase { progress, outcome, _cancel: cancel.drop_guard() })
}

struct Task {
    endpoint: Arc<Endpoint>,
    contacts: Vec<RouterContact>,
    caller: Option<String>,
    cancel: CancellationToken,
    sender: mpsc::UnboundedSender<Progress>,
}

impl Task {
    /// Tries the specifications in order, as long as nobody can serve one and nothing was handed on.
    async fn buy(&self, specs: Vec<JobSpec>) -> Result<Delivered, ApiError> {
        let mut last = None;
        for spec in specs {
            match self.buy_one(spec).await {
                Ok(delivered) => return Ok(delivered),
                Err(failure) => {
                    let is_nobody = !failure.has_shown && failure.attempts.is_empty();
                    // All have the same deadline, and the same routers are silent for each.
                    let worth = matches!(failure.refusal.code, RefusalCode::NoNode);
                    if matches!(failure.refusal.code, RefusalCode::Timeout) {
                        self.endpoint.forget_routers().await;
                    }
                    last = Some(ApiError::of_failure(&failure));
                    if !(is_nobody && worth) {
                        break;
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| ApiError::new(500, "internal", "nothing was asked for")))
    }

    async fn buy_one(&self, spec: JobSpec) -> Result<Delivered, JobFailure> {
        let kind = ticket_kind(&spec);
        let held = self.endpoint.tickets.take(&kind);
        let mut sink = Sink { sender: self.sender.clone() };
        let outcome = self.endpoint.buyer.run(spec, &self.contacts, held, &mut sink, &self.cancel).await;
        let now = wall_clock::now_seconds();
        let spent = outcome.as_ref().map_or_else(|failure| failure.spent, |bought| bought.answer.spent);
        self.endpoint.keys.spent(self.caller.as_deref(), spent, now);
        let bought = outcome?;
        let cost = bought.answer.settlement.verdict.unwrap_or(Msat::ZERO);
        let node = bought.held.ticket.nodes.first();
        let is_direct =
            node.is_some_and(|node| self.endpoint.buyer.gateways.is_ready(&node.descriptor.message));
        self.endpoint.tickets.put(now, kind, bought.held, !is_direct);
        Ok(Delivered { answer: Box::new(bought.answer), cost })
    }
}

struct Sink {
    sender: mpsc::UnboundedSender<Progress>,
}

impl OutputSink for Sink {
    fn opening(&mut self, attempt: u32, node: &CheckedNode, ticket: &Ticket) {
        let place = Place {
            node: node.node.to_hex(),
            router: ticket.router.to_hex(),
            request: ticket.request.to_hex(),
            decision: ticket.decision.clone(),
            model: ticket.dispatch.model.clone(),
            ceiling: ticket.ceiling,
            attempts: attempt.saturating_add(1),
        };
        // Nobody listens any more when the program has gone; then the job is cancelled.
        let _gone = self.sender.send(Progress::Opening(place));
    }

    fn deliver(&mut self, lines: &[OutputLine]) -> ControlFlow<()> {
        match self.sender.send(Progress::Lines(lines.to_vec())) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    fn restarted(&mut self) {}
}

/// The job, first at the nodes of `provider.order`, then at any, when that is allowed.
async fn specs(
    endpoint: &Endpoint,
    request: &ApiRequest,
    contacts: &[RouterContact],
    most: Option<Msat>,
) -> Result<Vec<JobSpec>, ApiError> {
    let wish = &request.provider;
    let order = keys_of(endpoint, "provider.order", &wish.order).await?;
    let only = keys_of(endpoint, "provider.only", &wish.only).await?;
    let ignore = keys_of(endpoint, "provider.ignore", &wish.ignore).await?;
    let mut lists = Vec::new();
    if !order.is_empty() {
        lists.push(order);
    }
    if lists.is_empty() || wish.allow_fallbacks {
        lists.push(only);
    }
    let spec =
        |only_nodes: Vec<PublicKey>| spec(endpoint, request, contacts, most, only_nodes, ignore.clone());
    endpoint.tickets.forget(&endpoint.buyer.lost.all());
    Ok(lists.into_iter().map(spec).collect())
}

fn spec(
    endpoint: &Endpoint,
    request: &ApiRequest,
    contacts: &[RouterContact],
    most: Option<Msat>,
    only_nodes: Vec<PublicKey>,
    not_nodes: Vec<PublicKey>,
) -> JobSpec {
    let terms = &endpoint.terms;
    let ceiling = request.provider.max_price.ceiling(request.prompt_tokens, request.max_output_tokens);
    let mut wanted = request.wanted.clone();
    if wanted.model.is_none() {
        wanted.model.clone_from(&terms.model);
    }
    JobSpec {
        endpoint: request.endpoint,
        request: request.body.clone(),
        messages: request.messages,
        wanted,
        prompt_tokens: request.prompt_tokens,
        max_output_tokens: request.max_output_tokens,
        max_cost: [ceiling, terms.max_price, most].into_iter().flatten().min(),
        mode: request.provider.mode.unwrap_or(terms.mode),
        constraints: Constraints {
            only_nodes,
            not_nodes,
            payment: vec![PaymentMethod::Free],
            ..Constraints::default()
        },
        uses: TICKET_USES,
        previous_node: None,
        routers: match terms.router {
            RouterWish::Own => vec![RouterTarget::Own],
            _ => contacts.iter().map(|contact| RouterTarget::Router(contact.key)).collect(),
        },
        delivery: if request.is_streamed { DeliveryMode::Live } else { DeliveryMode::Buffered },
        follow_peers: terms.router == RouterWish::Any,
        hedge: false,
        on_break: OnBreak::Continue,
        deadline: wall_clock::now().plus_millis(u64::try_from(terms.timeout.as_millis()).unwrap_or(u64::MAX)),
    }
}

/// What a ticket may be used for again: the same model under the same conditions. Sizes are checked with the ticket.
fn ticket_kind(spec: &JobSpec) -> String {
    format!("{:?}|{:?}|{:?}|{:?}", spec.wanted, spec.mode, spec.constraints, spec.max_cost)
}

/// Node keys of names: a key in hex or as npub, or the name that a node announces.
async fn keys_of(endpoint: &Endpoint, field: &str, names: &[String]) -> Result<Vec<PublicKey>, ApiError> {
    let mut keys = Vec::new();
    for name in names {
        if let Ok(key) = parse_key(name) {
            keys.push(key);
            continue;
        }
        let view = endpoint.models().await;
        let named = view.nodes.iter().filter(|node| node.received.message.name == *name);
        let before = keys.len();
        keys.extend(named.map(|node| node.received.author));
        if keys.len() == before {
            let what = format!("names {name:?}, and no live node has that name; see fedai nodes");
            return Err(ApiError::field(field, what));
        }
    }
    keys.truncate(64);
    Ok(keys)
}
