//! What was dispatched: who may charge what, under which ticket, how often.
//!
//! Every receipt that names this router is held against its ticket. A receipt that names a ticket we never made, or
//! charges more than its ticket allows, is evidence that the node itself has signed. What was forgotten is never taken
//! for what never was: the book knows since when it remembers everything.

use std::collections::{BTreeMap, VecDeque};

use fedai_protocol::decision_record::{DecisionRecord, Verdict};
use fedai_protocol::limits::ROUTER_OPEN_QUOTES_MAX;
use fedai_protocol::message::Received;
use fedai_protocol::{Dispatch, EventId, PublicKey, QuoteRequest, Receipt, UnixMicros, UnixSeconds};

pub use super::ticket::{Flight, ReceiptsOfTicket, Ticket};

/// How long after its expiry a ticket is remembered, in seconds: receipts arrive late through relays.
const REMEMBER_SECONDS: u64 = 6 * 3_600;
/// Clock difference between router and node that is no evidence, in seconds.
const SKEW_SECONDS: u64 = 600;

/// Why a fallback served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassedOver {
    /// The first node did not.
    Failed,
    /// The first node may only have been the slower one.
    LostRace,
    /// The first node said at once that the wait there is longer than the client accepts.
    TurnedAway,
}

impl PassedOver {
    /// As metrics name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "fallback_served",
            Self::LostRace => "race_lost",
            Self::TurnedAway => "turned_away",
        }
    }
}

/// What is wrong with a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breach {
    /// The ticket was never made by this router.
    UnknownDispatch,
    /// The ticket does not name this node.
    ForeignNode,
    /// Another offer or model than the ticket names.
    OtherOffer,
    /// Charges more than the ticket allows.
    Overcharge,
    /// Counts more tokens than the ticket allows.
    TooManyTokens,
    /// More receipts of one node than the ticket has uses.
    UsedUp,
    /// Done after the ticket had expired.
    AfterExpiry,
}

impl Breach {
    /// Stable code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownDispatch => "unknown_dispatch",
            Self::ForeignNode => "foreign_node",
            Self::OtherOffer => "other_offer",
            Self::Overcharge => "overcharge",
            Self::TooManyTokens => "too_many_tokens",
            Self::UsedUp => "ticket_used_up",
            Self::AfterExpiry => "after_expiry",
        }
    }
}

/// How a receipt stands to the tickets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is within its ticket.
    Good,
    /// Known already.
    Known,
    /// Its ticket may have been forgotten: counts for nothing, proves nothing.
    Forgotten,
    /// It breaks its ticket.
    Breach(Breach),
}

/// All tickets.
#[derive(Clone, Debug, Default)]
pub struct DispatchBook {
    tickets: BTreeMap<EventId, Box<Ticket>>,
    /// In the order of issue within a second.
    by_expiry: BTreeMap<UnixSeconds, VecDeque<EventId>>,
    by_client: BTreeMap<PublicKey, VecDeque<EventId>>,
    /// How many tickets name a node.
    by_node: BTreeMap<PublicKey, usize>,
    flying: BTreeMap<(PublicKey, EventId), ()>,
    reserved: BTreeMap<EventId, (String, Flight)>,
    complete_since: UnixSeconds,
    tickets_max: Option<usize>,
}

impl DispatchBook {
    /// A book that knows of nothing before `since`.
    #[must_use]
    pub fn new(since: UnixSeconds) -> Self {
        Self { complete_since: since, ..Self::default() }
    }

    /// The same with nothing in it, and nothing known of before `since`.
    #[must_use]
    pub fn emptied(self, since: UnixSeconds) -> Self {
        Self { tickets_max: self.tickets_max, ..Self::new(since) }
    }

    /// The same with room for so many tickets at once.
    #[must_use]
    pub const fn holding(mut self, tickets_max: Option<usize>) -> Self {
        self.tickets_max = tickets_max;
        self
    }

    /// Marks a job as under way before its ticket is signed.
    pub fn reserve(&mut self, request: EventId, model: String, flight: Flight) {
        self.reserved.insert(request, (model, flight));
    }

    /// Takes a signed ticket. `flight` and `luck_permille` are used where nothing was reserved (after a restart).
    pub fn dispatched(
        &mut self,
        dispatch: Received<Dispatch>,
        flight: Option<Flight>,
        luck_permille: u16,
    ) -> bool {
        let Received { message, id, .. } = dispatch;
        if self.tickets.contains_key(&id) {
            return false;
        }
        while self.tickets.len() >= self.tickets_max.unwrap_or(ROUTER_OPEN_QUOTES_MAX) {
            let Some(oldest) = self.pop_oldest(UnixSeconds(u64::MAX)) else { break };
            self.forget(&oldest);
        }
        let reserved = self.reserved.remove(&message.request).map(|(_, flight)| flight);
        let luck_permille = reserved.map_or(luck_permille, |flight| flight.luck_permille);
        let flight = reserved.or(flight);
        self.by_expiry.entry(message.expires_at).or_default().push_back(id);
        self.by_client.entry(message.client).or_default().push_back(id);
        for named in &message.nodes {
            let tickets = self.by_node.entry(named.node).or_default();
            *tickets = tickets.saturating_add(1);
        }
        self.flying.extend(flight.map(|flight| ((flight.node, id), ())));
        let ticket = Ticket {
            dispatch: message,
            receipts: ReceiptsOfTicket::default(),
            queued: flight.is_some_and(|flight| flight.queued),
            beside: flight.map_or(0, |flight| flight.beside),
            hedged: flight.is_some_and(|flight| flight.hedged),
            // After a restart nobody knows what its client was told.
            patient: flight.is_none_or(|flight| flight.patient),
            flight,
            luck_permille,
            acknowledged: 0,
            failure_reported: false,
        };
        self.tickets.insert(id, Box::new(ticket));
        true
    }

    /// Holds a receipt against its ticket and counts it there.
    pub fn charge(&mut self, receipt: &Received<Receipt>) -> Standing {
        let message = &receipt.message;
        let Some(ticket) = self.tickets.get_mut(&message.dispatch) else {
            let is_remembered = receipt.created_at > self.complete_since.plus(SKEW_SECONDS);
            return if is_remembered {
                Standing::Breach(Breach::UnknownDispatch)
            } else {
                Standing::Forgotten
            };
        };
        if ticket.receipts.contains(&receipt.id) {
            return Standing::Known;
        }
        let dispatch = &ticket.dispatch;
        let Some(named) = dispatch.nodes.iter().find(|node| node.node == receipt.author) else {
            return Standing::Breach(Breach::ForeignNode);
        };
        let usage = &message.usage;
        // A node can count its own uses only: after a failover under the same ticket each node is within its part.
        let used = ticket.receipts.authors().filter(|author| **author == receipt.author).count();
        let breach = if named.offer != message.offer || dispatch.model != message.model {
            Some(Breach::OtherOffer)
        } else if message.amount > named.max_cost {
            Some(Breach::Overcharge)
        } else if usage.input_tokens.get() > input_tokens_max(dispatch)
            || usage.output_tokens > dispatch.max_output_tokens
        {
            Some(Breach::TooManyTokens)
        } else if used >= usize::from(dispatch.uses) {
            Some(Breach::UsedUp)
        } else if receipt.created_at > dispatch.expires_at.plus(SKEW_SECONDS + message.wall_ms / 1_000) {
            Some(Breach::AfterExpiry)
        } else {
            None
        };
        if let Some(breach) = breach {
            return Standing::Breach(breach);
        }
        ticket.receipts.insert(receipt.id, receipt.author);
        Standing::Good
    }

    /// Ends the job under way of a ticket.
    pub fn land(&mut self, dispatch: &EventId) -> Option<(String, Flight)> {
        let ticket = self.tickets.get_mut(dispatch)?;
        let flight = ticket.flight.take()?;
        self.flying.remove(&(flight.node, *dispatch));
        Some((ticket.dispatch.model.clone(), flight))
    }

    /// The jobs under way at `node`, oldest first: ticket, offer, job.
    #[must_use]
    pub fn flying(&self, node: &PublicKey) -> Vec<(EventId, EventId, Flight)> {
        let of_node =
            self.flying.range((*node, EventId::all_zeros())..).take_while(|((key, _), ())| key == node);
        let mut jobs: Vec<(EventId, EventId, Flight)> = of_node
            .filter_map(|((_, id), ())| {
                let ticket = self.tickets.get(id)?;
                let named = ticket.dispatch.nodes.iter().find(|named| named.node == *node)?;
                Some((*id, named.offer, ticket.flight?))
            })
            .collect();
        jobs.sort_unstable_by_key(|(id, _, flight)| (flight.since, *id));
        jobs
    }

    /// A ticket.
    #[must_use]
    pub fn ticket(&self, dispatch: &EventId) -> Option<&Ticket> {
        self.tickets.get(dispatch).map(AsRef::as_ref)
    }

    /// A proven acknowledgement of a job that `node` did under a ticket. Gives how unlikely its draw was, and how many
    /// were heard before: a fallback serves when the client says so, and counts as certain.
    pub fn acknowledge(&mut self, dispatch: &EventId, node: &PublicKey) -> (u16, u32) {
        let Some(ticket) = self.tickets.get_mut(dispatch) else { return (0, 0) };
        let before = ticket.acknowledged;
        ticket.acknowledged = before.saturating_add(1);
        let is_first = ticket.dispatch.nodes.first().is_some_and(|first| first.node == *node);
        (if is_first { ticket.luck_permille } else { ticket.luck_permille.min(1) }, before)
    }

    /// True when a remembered ticket names the node.
    #[must_use]
    pub fn names(&self, node: &PublicKey) -> bool {
        self.by_node.contains_key(node)
    }

    /// The open tickets of `client` that name `node` first, are not served, and whose failure was not reported yet:
    /// each is reported once.
    pub fn report_failure(&mut self, client: &PublicKey, node: &PublicKey, now: UnixSeconds) -> Vec<EventId> {
        let mut reported = Vec::new();
        for id in self.by_client.get(client).into_iter().flatten() {
            let Some(ticket) = self.tickets.get_mut(id) else { continue };
            let first = ticket.dispatch.nodes.first().is_some_and(|first| first.node == *node);
            let unserved = !ticket.receipts.authors().any(|by| by == node);
            if ticket.dispatch.expires_at >= now && first && unserved && !ticket.failure_reported {
                ticket.failure_reported = true;
                reported.push(*id);
            }
        }
        reported
    }

    /// A receipt came from a fallback: the first node, when it has no receipt itself and that is news, and what to make
    /// of it. Where two attempts may race, a partial receipt tells nothing: it may be that of the one that was
    /// cancelled. Where the first node may have turned the job away, only its client's word tells.
    pub fn passed_over(
        &mut self,
        dispatch: &EventId,
        by: &PublicKey,
        is_complete: bool,
    ) -> Option<(PublicKey, PassedOver)> {
        let ticket = self.tickets.get_mut(dispatch)?;
        if ticket.patient || (ticket.hedged && !is_complete) {
            return None;
        }
        let why = if ticket.hedged { PassedOver::LostRace } else { PassedOver::Failed };
        Some((ticket.pass_over(by)?, why))
    }

    /// The client of a ticket that `by` has served says who had turned it away: as [`DispatchBook::passed_over`].
    pub fn passed_over_by_word(
        &mut self,
        dispatch: &EventId,
        by: &PublicKey,
        turned_away: &[PublicKey],
    ) -> Option<(PublicKey, PassedOver)> {
        let ticket = self.tickets.get_mut(dispatch).filter(|ticket| ticket.patient)?;
        let is_hedged = ticket.hedged;
        let first = ticket.pass_over(by)?;
        let why = match (turned_away.contains(&first), is_hedged) {
            (true, _) => PassedOver::TurnedAway,
            (false, true) => PassedOver::LostRace,
            (false, false) => PassedOver::Failed,
        };
        Some((first, why))
    }

    /// Ends what is not believed any more, forgets what is long over. Returns the flights that ended.
    pub fn expire(&mut self, now: UnixMicros) -> Vec<(String, Flight)> {
        let mut ended: Vec<(String, Flight)> = Vec::new();
        // What was sent in the future was sent by a clock that has been set back.
        let lost = |flight: &Flight| flight.until <= now || flight.since > now.plus_seconds(SKEW_SECONDS);
        // Of all tickets, those with a job under way are few.
        let Self { tickets, flying, .. } = self;
        flying.retain(|(_, id), ()| {
            let Some(ticket) = tickets.get_mut(id) else { return false };
            let flight = ticket.flight.take_if(|flight| lost(flight));
            ended.extend(flight.map(|flight| (ticket.dispatch.model.clone(), flight)));
            flight.is_none()
        });
        self.reserved.retain(|_, (model, flight)| {
            let stays = !lost(flight);
            if !stays {
                ended.push((model.clone(), *flight));
            }
            stays
        });
        self.forget_old(now.seconds());
        ended
    }

    /// Forgets what is long over: the same tickets at the same time, whoever asks.
    pub fn forget_old(&mut self, now: UnixSeconds) {
        let before = now.minus(REMEMBER_SECONDS);
        while let Some(oldest) = self.pop_oldest(before) {
            self.forget(&oldest);
        }
    }

    /// The ticket that expires first, when it does so before this.
    fn pop_oldest(&mut self, before: UnixSeconds) -> Option<EventId> {
        let mut first = self.by_expiry.first_entry().filter(|first| *first.key() < before)?;
        let oldest = first.get_mut().pop_front();
        if first.get().is_empty() {
            first.remove();
        }
        oldest
    }

    /// Number of tickets remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tickets.len()
    }

    /// True when no ticket is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// Every ticket, by id.
    pub fn tickets(&self) -> impl Iterator<Item = (&EventId, &Ticket)> {
        self.tickets.iter().map(|(id, ticket)| (id, ticket.as_ref()))
    }

    fn forget(&mut self, id: &EventId) {
        if let Some(ticket) = self.tickets.remove(id) {
            if let Some(flight) = ticket.flight {
                self.flying.remove(&(flight.node, *id));
            }
            if let Some(tickets) = self.by_client.get_mut(&ticket.dispatch.client) {
                // The oldest are the first to go.
                if let Some(place) = tickets.iter().position(|ticket| ticket == id) {
                    tickets.remove(place);
                }
                if tickets.is_empty() {
                    self.by_client.remove(&ticket.dispatch.client);
                }
            }
            for named in &ticket.dispatch.nodes {
                if let Some(tickets) = self.by_node.get_mut(&named.node) {
                    *tickets = tickets.saturating_sub(1);
                    if *tickets == 0 {
                        self.by_node.remove(&named.node);
                    }
                }
            }
            self.complete_since = self.complete_since.max(ticket.dispatch.expires_at);
        }
    }
}

/// How unlikely it was that this node would be chosen, in thousandths. Evidence is worth what it costs to arrange: who
/// wants to be served by its own node has to ask until it is drawn. A client that names nodes, or is kept at the one it
/// named, has arranged it: 0.
#[must_use]
pub fn luck_permille(request: &QuoteRequest, record: &DecisionRecord) -> u16 {
    let chosen = record.candidates.iter().find(|candidate| candidate.verdict == Verdict::Chosen);
    let Some(chosen) = chosen else { return 0 };
    if !request.constraints.only_nodes.is_empty() || request.previous_node == Some(chosen.node) {
        return 0;
    }
    let share = chosen.terms.map_or(1.0, |terms| terms.share);
    ((1.0 - share) * 1_000.0).round().clamp(1.0, 1_000.0) as u16
}

/// Prompts are sized by their clients without the model's tokenizer and template: a count may come out higher than
/// asked for, without a lie. The amount stays bounded by the ticket whatever is counted.
fn input_tokens_max(dispatch: &Dispatch) -> u64 {
    dispatch.max_input_tokens.get().saturating_mul(2).saturating_add(1_024)
}

#[cfg(test)]
#[path = "dispatch_book_tests.rs"]
mod tests;
