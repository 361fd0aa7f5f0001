//! From counts to what a node is told: ranks within the fleet, trust, breaker, cap, load, lease.
//!
//! Written once a summary period for nodes about which something was decided, a bounded number of them; who was not
//! told has its turn in the next period, with counts that went on.

use std::collections::{BTreeMap, BTreeSet};

use fedai_protocol::limits::{STANDING_OFFERS_MAX, STANDING_SECONDS, STANDINGS_PER_PERIOD_MAX};
use fedai_protocol::node_standing::{BreakerWord, FleetRank, OfferStanding, UsualJob};
use fedai_protocol::{NodeStanding, PublicKey, QuoteRequest, UnixMicros, UnixSeconds};

use super::announcing::Announcement;
use super::candidate::{CandidateView, Fleet, method_bits};
use super::filter::{Filter, FilterCode};
use super::node_view::NodeView;
use super::prediction::Prediction;
use super::standing::{LookTerms, ModelCounts, OfferCounts, code_of};
use super::{Action, RouterCore};

/// The live offers of one model, each by itself sorted: a place is found by search.
struct Ladder {
    usual: QuoteRequest,
    prices: Vec<u64>,
    first_tokens: Vec<u64>,
    per_tokens: Vec<u64>,
}

impl RouterCore {
    /// Looks at the candidates of the last decisions again, where that was put off.
    pub(super) fn look_again(&mut self, now: UnixMicros) {
        let terms = LookTerms {
            fee: self.terms.quotes.fee,
            methods: method_bits(&self.terms.quotes.methods),
            policy: &self.terms.policy,
        };
        self.standings.look(now, &terms, &self.registry.fleets(None));
    }

    /// Tells nodes how they stand.
    pub(super) fn publish_standings(&mut self, now: UnixMicros, out: &mut Vec<Action>) {
        let told = self.next_to_tell();
        let Some(last) = told.last().copied() else { return };
        let mut ladders = BTreeMap::new();
        for node in told {
            let standing = self.standing_of(now, node, &mut ladders);
            out.push(Action::Publish(Announcement::Standing(Box::new(standing))));
        }
        self.standings.told = Some(last);
    }

    /// Nodes about which something was decided, those after the last one that was told first.
    fn next_to_tell(&self) -> Vec<PublicKey> {
        let models = self.standings.models.values();
        let nodes: BTreeSet<PublicKey> = models.flat_map(ModelCounts::decided_nodes).collect();
        let (before, after): (Vec<_>, Vec<_>) =
            nodes.into_iter().partition(|node| self.standings.told.is_some_and(|told| *node <= told));
        after.into_iter().chain(before).take(STANDINGS_PER_PERIOD_MAX).collect()
    }

    fn standing_of(
        &mut self,
        now: UnixMicros,
        node: PublicKey,
        ladders: &mut BTreeMap<String, Option<Ladder>>,
    ) -> NodeStanding {
        let mut since = now.seconds();
        let mut offers = Vec::new();
        let mut lease_until = None;
        let terms = &self.terms;
        for (model, counts) in &mut self.standings.models {
            if !counts.counts(&node) {
                continue;
            }
            let Some(fleet) = self.registry.fleets(Some(model)).first().copied() else { continue };
            let ladder = ladders
                .entry(model.clone())
                .or_insert_with(|| counts.usual().map(|usual| Ladder::of(fleet, usual, now.seconds())));
            let Some(ladder) = ladder else { continue };
            let (all, view) = (counts.decisions, self.registry.view(&node, model));
            let filter = Filter::new(
                now,
                &ladder.usual,
                &terms.policy,
                terms.quotes.fee,
                method_bits(&terms.quotes.methods),
            );
            let prediction = Prediction::new(now, &ladder.usual, &terms.policy, fleet);
            for (row, offer) in offers_of(&node, fleet, counts) {
                since = since.min(offer.since);
                lease_until = lease_until.max(Some(row.lease_until));
                let mut standing = ladder.place(row, view, now);
                standing.model.clone_from(model);
                standing.now = code_of(row, &filter, &prediction, 0).map(|code| code.as_str().to_owned());
                take_counts(&mut standing, offer, all, now.seconds());
                offers.push(standing);
            }
        }
        offers.sort_by(|a: &OfferStanding, b| b.decisions.cmp(&a.decisions).then(a.slug.cmp(&b.slug)));
        offers.truncate(STANDING_OFFERS_MAX);
        let trust = self.trust_of(now, &node);
        NodeStanding {
            node,
            since,
            at: now.seconds(),
            lease_until,
            trust_permille: (trust.score(now) * 1_000.0).round().clamp(0.0, 1_000.0) as u16,
            dimensions: trust.dimensions(now),
            receipts: trust.receipts(),
            heard: Vec::new(),
            offers,
            expires_at: now.seconds().plus(STANDING_SECONDS),
        }
    }
}

/// The candidates of a node with their counts. Both lists are sorted alike; what has no counts yet is left out.
fn offers_of<'a>(
    node: &PublicKey,
    fleet: &'a Fleet,
    counts: &'a mut ModelCounts,
) -> impl Iterator<Item = (&'a CandidateView, &'a mut OfferCounts)> {
    let from = counts.offers.partition_point(|offer| offer.node < *node);
    let to = counts.offers.partition_point(|offer| offer.node <= *node);
    let own = counts.offers.get_mut(from..to).unwrap_or_default();
    own.iter_mut().filter_map(|offer| {
        let rows = fleet.rows();
        let at = rows.binary_search_by_key(&(offer.node, offer.offer), |row| (row.node, row.offer)).ok()?;
        Some((rows.get(at)?, offer))
    })
}

/// Writes the counts into what is told.
fn take_counts(standing: &mut OfferStanding, counts: &mut OfferCounts, decisions: u64, now: UnixSeconds) {
    let since = decisions.saturating_sub(counts.decisions_before);
    standing.decisions = u32::try_from(since).unwrap_or(u32::MAX);
    standing.looked_at = counts.looked_at;
    let codes = FilterCode::ALL.into_iter().zip(counts.filtered).filter(|(_, count)| *count > 0);
    standing.filtered = codes.map(|(code, count)| (code.as_str().to_owned(), count)).collect();
    standing.not_drawn = counts.not_drawn;
    standing.lost_pair = counts.lost_pair;
    standing.chosen = counts.chosen;
    standing.fallback = counts.fallback;
    counts.told(now, decisions);
}

impl Ladder {
    fn of(fleet: &Fleet, usual: QuoteRequest, now: UnixSeconds) -> Self {
        let live: Vec<&CandidateView> =
            fleet.rows().iter().filter(|row| row.lease_until > now && row.is_active).collect();
        let sorted = |value: &dyn Fn(&CandidateView) -> u64| {
            let mut values: Vec<u64> = live.iter().map(|row| value(row)).collect();
            values.sort_unstable();
            values
        };
        Self {
            prices: sorted(&|row| price(row, &usual)),
            first_tokens: sorted(&|row| first_token_ms(row, &usual)),
            per_tokens: sorted(&per_token_micros),
            usual,
        }
    }

    fn place(&self, row: &CandidateView, view: Option<&NodeView>, now: UnixMicros) -> OfferStanding {
        let (_, prefill, decode) = view.map(NodeView::measured).unwrap_or_default();
        OfferStanding {
            slug: row.facts.slug.clone(),
            usual: UsualJob {
                prompt_tokens: self.usual.prompt_tokens,
                max_output_tokens: self.usual.max_output_tokens,
            },
            price: rank(&self.prices, price(row, &self.usual), true),
            first_token: rank(&self.first_tokens, first_token_ms(row, &self.usual), prefill.is_some()),
            per_token: rank(&self.per_tokens, per_token_micros(row), decode.is_some()),
            breaker: match row.breaker_until {
                UnixMicros(0) => BreakerWord::Closed,
                until if until > now => BreakerWord::Open,
                _ => BreakerWord::HalfOpen,
            },
            breaker_until: Some(row.breaker_until.seconds()).filter(|until| *until > now.seconds()),
            learned_cap: (row.learned_cap > 0.0).then_some(row.learned_cap as u32),
            in_flight: row.in_flight,
            load_ping_at: Some(row.load_at.seconds()).filter(|at| at.0 > 0),
            ..OfferStanding::default()
        }
    }
}

fn price(row: &CandidateView, usual: &QuoteRequest) -> u64 {
    row.facts.ceiling(usual.prompt_tokens, usual.max_output_tokens).map_or(u64::MAX, |cost| cost.get())
}

fn first_token_ms(row: &CandidateView, usual: &QuoteRequest) -> u64 {
    row.prefill_ms.mul_add(usual.prompt_tokens.get() as f64, row.rtt_ms).clamp(0.0, 1e12) as u64
}

fn per_token_micros(row: &CandidateView) -> u64 {
    (row.decode_ms * 1e3).clamp(0.0, 1e12) as u64
}

fn rank(sorted: &[u64], own: u64, is_measured: bool) -> Option<FleetRank> {
    let (best, median) = (*sorted.first()?, *sorted.get(sorted.len() / 2)?);
    let place = sorted.partition_point(|value| *value < own).saturating_add(1);
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Some(FleetRank { place: count(place), of: count(sorted.len()), own, median, best, is_measured })
}
