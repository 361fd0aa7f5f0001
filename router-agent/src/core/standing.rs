//! What becomes of each offer in this router's decisions, counted so that its node can be told.
//!
//! What was chosen, or drawn and lost, is in every decision and is counted always. Who was filtered, by which code, is
//! counted in decisions whose candidates are all looked at a second time for it: in a small fleet that is every one; in
//! a large one it is the last decision before a tick, after its answer has left, so that no client waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fedai_protocol::decision_record::Verdict;
use fedai_protocol::quote_request::Constraints;
use fedai_protocol::router_profile::RouterFee;
use fedai_protocol::{EventId, PublicKey, QuoteRequest, Tokens, UnixMicros, UnixSeconds};

use super::candidate::{CandidateView, Fleet};
use super::filter::{Filter, FilterCode, RELAX_ORDER};
use super::policy::Policy;
use super::prediction::Prediction;
use super::scheduler::{Asked, Decision};

/// Candidates up to which every decision is looked at again: a few microseconds.
const LOOK_ALWAYS_MAX: usize = 64;
/// Requests whose sizes make the usual job.
const SIZES_KEPT: usize = 15;
/// How long counts go on, in seconds.
const WINDOW_SECONDS: u64 = 3_600;
/// Models that are counted for: more than one router was ever asked for.
const MODELS_MAX: usize = 4_096;
const CODES: usize = FilterCode::ALL.len();

/// Counts of one offer within the last hour.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfferCounts {
    pub(super) node: PublicKey,
    pub(super) offer: EventId,
    pub(super) since: UnixSeconds,
    /// Decisions about the model before that.
    pub(super) decisions_before: u64,
    /// Decisions about the model when the node was told last.
    pub(super) told_at: u64,
    pub(super) looked_at: u32,
    pub(super) filtered: [u32; CODES],
    pub(super) not_drawn: u32,
    pub(super) lost_pair: u32,
    pub(super) chosen: u32,
    pub(super) fallback: u32,
}

/// Counts of one model.
#[derive(Clone, Debug, Default)]
pub(super) struct ModelCounts {
    /// Decisions about it, ever.
    pub(super) decisions: u64,
    /// By node and offer, as the fleet is sorted.
    pub(super) offers: Vec<OfferCounts>,
    sizes: VecDeque<(Tokens, Tokens)>,
    last: Option<(UnixSeconds, Arc<QuoteRequest>)>,
    unlooked: Option<Looked>,
}

/// A decision whose candidates are to be looked at again.
#[derive(Clone, Debug)]
struct Looked {
    request: Arc<QuoteRequest>,
    drawn: DrawnOffers,
}

/// The two that were drawn, and the soft filters that were given up.
#[derive(Clone, Copy, Debug)]
struct DrawnOffers {
    two: [Option<EventId>; 2],
    relaxed: u8,
}

/// All counts.
#[derive(Clone, Debug, Default)]
pub(super) struct StandingBook {
    pub(super) models: BTreeMap<String, ModelCounts>,
    /// The node that was told last: the others have their turn first.
    pub(super) told: Option<PublicKey>,
}

/// What a decision was made from, as far as it has to be judged again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grounds<'a> {
    pub(super) now: UnixMicros,
    pub(super) asked: &'a Asked<'a>,
    pub(super) policy: &'a Policy,
    pub(super) request: &'a Arc<QuoteRequest>,
}

/// What is the same for every decision of a router.
#[derive(Clone, Copy, Debug)]
pub(super) struct LookTerms<'a> {
    pub(super) fee: RouterFee,
    pub(super) methods: u8,
    pub(super) policy: &'a Policy,
}

impl StandingBook {
    /// Takes a decision, or that there was none.
    pub(super) fn note(&mut self, grounds: &Grounds<'_>, fleets: &[&Fleet], decision: Option<&Decision>) {
        let outcome = decision.map(Outcome::of).unwrap_or_default();
        for fleet in fleets {
            if !self.models.contains_key(fleet.model()) {
                if self.models.len() >= MODELS_MAX {
                    continue;
                }
                self.models.insert(fleet.model().to_owned(), ModelCounts::default());
            }
            if let Some(counts) = self.models.get_mut(fleet.model()) {
                counts.note(grounds, fleet, &outcome);
            }
        }
    }

    /// Looks at the candidates of large fleets, once a tick. `fleets` are all there are, sorted by model.
    pub(super) fn look(&mut self, now: UnixMicros, terms: &LookTerms<'_>, fleets: &[&Fleet]) {
        self.models.retain(|model, _| fleets.binary_search_by(|fleet| fleet.model().cmp(model)).is_ok());
        for fleet in fleets {
            let Some(counts) = self.models.get_mut(fleet.model()) else { continue };
            if let Some(looked) = counts.unlooked.take() {
                counts.look(now, terms, fleet, &looked.request, looked.drawn);
            }
        }
    }
}

/// The offers that a decision named.
#[derive(Debug, Default)]
struct Outcome {
    chosen: Option<(PublicKey, EventId)>,
    lost_pair: Option<(PublicKey, EventId)>,
    fallbacks: Vec<(PublicKey, EventId)>,
    relaxed: u8,
}

impl Outcome {
    /// The loser of the best of two is marked as drawn in the record, or else is the first fallback.
    fn of(decision: &Decision) -> Self {
        let mut named = decision.choices.iter().map(|choice| (choice.node, choice.offer));
        let chosen = named.next();
        let mut fallbacks: Vec<(PublicKey, EventId)> = named.collect();
        let record = &decision.record;
        let drawn = record.candidates.iter().find(|candidate| candidate.verdict == Verdict::Drawn);
        let lost_pair = match drawn {
            Some(candidate) => Some((candidate.node, candidate.offer)),
            None if fallbacks.is_empty() => None,
            None => Some(fallbacks.remove(0)),
        };
        let is_relaxed = |code: &FilterCode| record.relaxed.iter().any(|word| word == code.as_str());
        let relaxed = RELAX_ORDER.iter().filter(|code| is_relaxed(code)).map(|code| code.soft_bit()).sum();
        Self { chosen, lost_pair, fallbacks, relaxed }
    }
}

impl ModelCounts {
    fn note(&mut self, grounds: &Grounds<'_>, fleet: &Fleet, outcome: &Outcome) {
        let (now, request) = (grounds.now.seconds(), grounds.request);
        self.sizes.push_back((request.prompt_tokens, request.max_output_tokens));
        if self.sizes.len() > SIZES_KEPT {
            self.sizes.pop_front();
        }
        let offer_of = |key: Option<(PublicKey, EventId)>| key.map(|(_, offer)| offer);
        let two = [offer_of(outcome.chosen), offer_of(outcome.lost_pair)];
        let drawn = DrawnOffers { two, relaxed: outcome.relaxed };
        // The first decision counts for those who were there when it was made.
        if self.offers.is_empty() {
            self.align(now, fleet.rows());
        }
        self.decisions = self.decisions.saturating_add(1);
        let is_here = |key: &&(PublicKey, EventId)| fleet.rows().binary_search_by_key(*key, key_of).is_ok();
        for (key, field) in outcome
            .chosen
            .iter()
            .map(|key| (key, 0))
            .chain(outcome.lost_pair.iter().map(|key| (key, 1)))
            .chain(outcome.fallbacks.iter().map(|key| (key, 2)))
            .filter(|(key, _)| is_here(key))
        {
            let counts = self.offer(now, *key);
            let counter = match field {
                0 => &mut counts.chosen,
                1 => &mut counts.lost_pair,
                _ => &mut counts.fallback,
            };
            *counter = counter.saturating_add(1);
        }
        if fleet.rows().len() <= LOOK_ALWAYS_MAX {
            let terms =
                LookTerms { fee: grounds.asked.fee, methods: grounds.asked.methods, policy: grounds.policy };
            self.look(grounds.now, &terms, fleet, request, drawn);
        } else {
            self.unlooked = Some(Looked { request: Arc::clone(request), drawn });
        }
        // Once a second is often enough for what a usual request looks like.
        if self.last.as_ref().is_none_or(|(at, _)| *at != now) {
            self.last = Some((now, Arc::clone(request)));
        }
    }

    /// The counts of one offer, made when it is new.
    fn offer(&mut self, now: UnixSeconds, (node, offer): (PublicKey, EventId)) -> &mut OfferCounts {
        let at = match self.offers.binary_search_by_key(&(node, offer), |counts| (counts.node, counts.offer))
        {
            Ok(at) => at,
            Err(at) => {
                self.offers.insert(at, OfferCounts::new(node, offer, now, self.decisions.saturating_sub(1)));
                at
            }
        };
        #[expect(clippy::indexing_slicing, reason = "found or inserted at this place just now")]
        &mut self.offers[at]
    }

    /// Makes the counts one for each candidate; what is gone is forgotten.
    fn align(&mut self, now: UnixSeconds, rows: &[CandidateView]) {
        let is_same = self.offers.len() == rows.len()
            && self.offers.iter().zip(rows).all(|(c, row)| (c.node, c.offer) == (row.node, row.offer));
        if is_same {
            return;
        }
        let mut old = core::mem::take(&mut self.offers).into_iter().peekable();
        self.offers = rows
            .iter()
            .map(|row| {
                let key = (row.node, row.offer);
                while old.next_if(|counts| (counts.node, counts.offer) < key).is_some() {}
                let known = old.next_if(|counts| (counts.node, counts.offer) == key);
                known.unwrap_or_else(|| OfferCounts::new(row.node, row.offer, now, self.decisions))
            })
            .collect();
    }

    fn look(
        &mut self,
        now: UnixMicros,
        terms: &LookTerms<'_>,
        fleet: &Fleet,
        request: &QuoteRequest,
        drawn: DrawnOffers,
    ) {
        self.align(now.seconds(), fleet.rows());
        let filter = Filter::new(now, request, terms.policy, terms.fee, terms.methods);
        let prediction = Prediction::new(now, request, terms.policy, fleet);
        for (row, counts) in fleet.rows().iter().zip(&mut self.offers) {
            counts.looked_at = counts.looked_at.saturating_add(1);
            if drawn.two.contains(&Some(row.offer)) {
                continue;
            }
            let counter = match code_of(row, &filter, &prediction, drawn.relaxed) {
                Some(code) => counts.filtered.get_mut(code as usize),
                None => Some(&mut counts.not_drawn),
            };
            if let Some(counter) = counter {
                *counter = counter.saturating_add(1);
            }
        }
    }

    /// True when the node has an offer among the counted.
    pub(super) fn counts(&self, node: &PublicKey) -> bool {
        let from = self.offers.partition_point(|offer| offer.node < *node);
        self.offers.get(from).is_some_and(|offer| offer.node == *node)
    }

    /// Nodes that were candidates since they were told.
    pub(super) fn decided_nodes(&self) -> impl Iterator<Item = PublicKey> {
        self.offers.iter().filter(|offer| offer.told_at < self.decisions).map(|offer| offer.node)
    }

    /// The job that offers are compared by, and the conditions under which it was asked for last.
    pub(super) fn usual(&self) -> Option<QuoteRequest> {
        let median = |of: fn(&(Tokens, Tokens)) -> Tokens| {
            let mut values: Vec<Tokens> = self.sizes.iter().map(of).collect();
            values.sort_unstable();
            values.get(values.len() / 2).copied()
        };
        let (_, last) = self.last.as_ref()?;
        Some(QuoteRequest {
            prompt_tokens: median(|(prompt, _)| *prompt)?,
            max_output_tokens: median(|(_, output)| *output)?,
            // Whom one client excludes says nothing about the next one.
            constraints: Constraints { only_nodes: vec![], not_nodes: vec![], ..last.constraints.clone() },
            previous_node: None,
            ..last.as_ref().clone()
        })
    }
}

impl OfferCounts {
    const fn new(node: PublicKey, offer: EventId, since: UnixSeconds, decisions_before: u64) -> Self {
        Self {
            node,
            offer,
            since,
            decisions_before,
            told_at: decisions_before,
            looked_at: 0,
            filtered: [0; CODES],
            not_drawn: 0,
            lost_pair: 0,
            chosen: 0,
            fallback: 0,
        }
    }

    /// Its node was told. Counts go on for an hour, so that what is told last says more than the last minute.
    pub(super) fn told(&mut self, now: UnixSeconds, decisions: u64) {
        self.told_at = decisions;
        if now.since(self.since) >= WINDOW_SECONDS {
            *self = Self::new(self.node, self.offer, now, decisions);
        }
    }
}

/// What keeps a candidate out; `relaxed` are the soft codes that were given up.
pub(super) fn code_of(
    row: &CandidateView,
    filter: &Filter<'_>,
    prediction: &Prediction<'_>,
    relaxed: u8,
) -> Option<FilterCode> {
    let soft = |row| {
        let against = filter.soft(row) & !relaxed;
        RELAX_ORDER.into_iter().find(|code| against & code.soft_bit() != 0)
    };
    filter.hard(row, prediction.jobs(row)).or_else(|| soft(row))
}

fn key_of(row: &CandidateView) -> (PublicKey, EventId) {
    (row.node, row.offer)
}
