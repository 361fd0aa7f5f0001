//! Who offers what, until when: descriptors with their leases, offers, announced load, and what was measured of each.
//!
//! The newest version of an address counts (latest time, then smallest id), so the order of arrival never matters. An
//! expired descriptor makes every offer of its node dead. The signed events are kept: quotes embed them whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use fedai_protocol::limits::{FUTURE_SECONDS_MAX, NODE_OFFERS_MAX, ROUTER_NODES_MAX};
use fedai_protocol::node_descriptor::NodeStatus;
use fedai_protocol::{
    EventId, LoadPing, ModelOffer, NodeDescriptor, PublicKey, UnixMicros, UnixSeconds, VerifiedEvent,
    message::Received,
};

use super::breaker::Breaker;
use super::candidate::{CandidateView, Fleet, FleetPrior, OfferFacts, method_bits};
use super::estimate::DecayedMean;
use super::node_view::{AnnouncedLoad, NodeView};
use super::policy::Policy;
use super::trust::Trust;

/// Half-life of the expected output length, in seconds.
const OUTPUT_HALF_LIFE_SECONDS: f64 = 3_600.0;
/// Acknowledged receipts with which a fleet has half a history. A count of nodes would be anybody's to raise; receipts
/// only ever hold newcomers to a smaller share.
const MATURE_RECEIPTS: f64 = 500.0;
/// Descriptors that one key may have at once.
const NODE_DESCRIPTORS_MAX: usize = 4;

/// A message with the signed event it came in; a simulated world has none.
#[derive(Clone, Debug, PartialEq)]
pub struct Held<M> {
    /// The message.
    pub received: Received<M>,
    /// The signed event.
    pub event: Option<VerifiedEvent>,
}

/// What an announcement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is the newest now.
    Taken,
    /// A newer one is known, or it is known already.
    Old,
    /// There is no room.
    Full,
}

#[derive(Clone, Debug, Default)]
struct NodeEntry {
    descriptors: BTreeMap<String, Held<NodeDescriptor>>,
    offers: BTreeMap<String, (Held<ModelOffer>, Arc<OfferFacts>)>,
    views: BTreeMap<String, NodeView>,
    heard_at: UnixMicros,
    load: AnnouncedLoad,
}

#[derive(Clone, Debug)]
struct ModelEntry {
    fleet: Fleet,
    output: DecayedMean,
}

/// All nodes and their offers.
#[derive(Clone, Debug)]
pub struct Registry {
    router: PublicKey,
    policy: Policy,
    nodes: BTreeMap<PublicKey, NodeEntry>,
    models: BTreeMap<String, ModelEntry>,
}

impl Registry {
    /// An empty registry of this router.
    #[must_use]
    pub const fn new(router: PublicKey, policy: Policy) -> Self {
        Self { router, policy, nodes: BTreeMap::new(), models: BTreeMap::new() }
    }

    /// Takes a descriptor.
    pub fn descriptor(&mut self, now: UnixMicros, held: Held<NodeDescriptor>, trust: &Trust) -> Admission {
        let author = held.received.author;
        let Some(entry) = self.entry(now, author) else { return Admission::Full };
        let name = held.received.message.name.clone();
        match entry.descriptors.get(&name) {
            Some(old) if !is_newer(&held.received, &old.received) => return Admission::Old,
            None if entry.descriptors.len() >= NODE_DESCRIPTORS_MAX => return Admission::Full,
            _ => {}
        }
        entry.descriptors.insert(name, held);
        entry.heard_at = entry.heard_at.max(now);
        self.rebuild(now, &author, trust);
        Admission::Taken
    }

    /// Takes an offer.
    pub fn offer(&mut self, now: UnixMicros, held: Held<ModelOffer>, trust: &Trust) -> Admission {
        let author = held.received.author;
        let Some(entry) = self.entry(now, author) else { return Admission::Full };
        let slug = held.received.message.slug.clone();
        let replaced = match entry.offers.get(&slug) {
            Some((old, _)) if !is_newer(&held.received, &old.received) => return Admission::Old,
            Some((old, _)) => Some((old.received.message.model.clone(), old.received.id)),
            None if entry.offers.len() >= NODE_OFFERS_MAX => return Admission::Full,
            None => None,
        };
        let offer = &held.received.message;
        let facts = OfferFacts {
            slug: slug.clone(),
            price: offer.price,
            slots: offer.slots,
            quantization: offer.quantization.clone(),
            modalities: offer.modalities.clone(),
            features: offer.features.clone(),
            regions: Vec::new(),
        };
        entry.offers.insert(slug, (held, Arc::new(facts)));
        entry.heard_at = entry.heard_at.max(now);
        if let Some((model, id)) = replaced {
            self.unlist(&model, &author, &id);
        }
        self.rebuild(now, &author, trust);
        Admission::Taken
    }

    /// Takes a load ping. Only nodes that are known have a load.
    pub fn load(&mut self, now: UnixMicros, ping: &Received<LoadPing>) -> bool {
        let message = &ping.message;
        let Some(entry) = self.nodes.get_mut(&ping.author) else { return false };
        if !entry.descriptors.contains_key(&message.node) {
            return false;
        }
        let jobs = message.running.saturating_add(message.queued);
        let is_full = message.queued > 0 || message.running >= message.slots.max(1);
        // A ping may have been long on its way. It says its second, of which half has passed on average.
        let at = now.min(ping.created_at.micros().plus_millis(500));
        let load = AnnouncedLoad { at, jobs, is_full };
        entry.load = load;
        entry.heard_at = entry.heard_at.max(now);
        let models: Vec<String> = entry
            .offers
            .values()
            .filter(|(offer, _)| offer.received.message.node == message.node)
            .map(|(offer, _)| offer.received.message.model.clone())
            .collect();
        for model in models {
            self.touch(now, &ping.author, &model, |view| view.heard_load(load));
        }
        true
    }

    /// Changes what was seen of a node and model, and the candidates with it.
    pub fn touch(
        &mut self,
        now: UnixMicros,
        node: &PublicKey,
        model: &str,
        change: impl FnOnce(&mut NodeView),
    ) {
        let Some(entry) = self.nodes.get_mut(node) else { return };
        if !entry.views.contains_key(model) {
            if entry.views.len() >= NODE_OFFERS_MAX {
                return;
            }
            entry.views.insert(model.to_owned(), NodeView::default());
        }
        let Some(view) = entry.views.get_mut(model) else { return };
        change(view);
        let heard_at = entry.heard_at;
        if let Some(listed) = self.models.get_mut(model) {
            listed.fleet.change(node, |row| {
                row.learned_cap = view.cap.get();
                row.heard_at = heard_at;
                view.apply_flight(now, row);
            });
        }
    }

    /// As [`Registry::touch`] for what came out of a finished job: speeds, trust and expected output length change too.
    pub fn learn(
        &mut self,
        now: UnixMicros,
        node: &PublicKey,
        model: &str,
        trust: &Trust,
        change: impl FnOnce(&mut NodeView),
    ) {
        if self.entry(now, *node).is_none() {
            return;
        }
        self.touch(now, node, model, change);
        let policy = &self.policy;
        let view = self.nodes.get(node).and_then(|entry| entry.views.get(model));
        if let (Some(view), Some(listed)) = (view, self.models.get_mut(model)) {
            let prior = *listed.fleet.prior();
            listed.fleet.change(node, |row| view.apply(now, row, &prior, policy, trust));
        }
    }

    /// Takes the length of an answer.
    pub fn output_length(&mut self, now: UnixMicros, model: &str, tokens: u64) {
        if let Some(listed) = self.models.get_mut(model) {
            listed.output.observe(now, tokens as f64, OUTPUT_HALF_LIFE_SECONDS);
        }
    }

    /// Forgets what was announced, measured or shut out by a clock that was ahead: of a node that dated its words by
    /// it, everything, of the others what would only end in the future.
    pub fn clock_went_back(&mut self, now: UnixMicros) {
        let latest = now.seconds().plus(FUTURE_SECONDS_MAX);
        let is_future = |entry: &NodeEntry| {
            entry.descriptors.values().any(|held| held.received.created_at > latest)
                || entry.offers.values().any(|(held, _)| held.received.created_at > latest)
        };
        let future: Vec<PublicKey> =
            self.nodes.iter().filter(|(_, entry)| is_future(entry)).map(|(node, _)| *node).collect();
        for node in future {
            self.forget(&node);
        }
        for entry in self.nodes.values_mut() {
            entry.heard_at = entry.heard_at.min(now);
            entry.load.at = entry.load.at.min(now);
            entry.views.values_mut().for_each(|view| view.breaker = Breaker::default());
        }
    }

    /// Recomputes the medians and every candidate, and forgets what is long dead.
    pub fn refresh(&mut self, now: UnixMicros, trust_of: impl Fn(&PublicKey) -> Trust) {
        self.forget_dead(now.seconds());
        let Self { policy, nodes, models, .. } = self;
        for (model, listed) in models.iter_mut() {
            let receipts = listed.fleet.rows().iter().map(|row| trust_of(&row.node).receipts()).sum();
            let prior = fleet_prior(listed, nodes, model, receipts);
            listed.fleet.set_prior(prior);
        }
        for (node, entry) in nodes.iter() {
            let trust = trust_of(node);
            for (offer, _) in entry.offers.values() {
                let model = &offer.received.message.model;
                let Some(listed) = models.get_mut(model) else { continue };
                let (prior, unseen) = (*listed.fleet.prior(), NodeView::default());
                let view = entry.views.get(model).unwrap_or(&unseen);
                listed.fleet.change(node, |row| view.apply(now, row, &prior, policy, &trust));
            }
        }
    }

    /// The fleets that may serve a request: one model, or all of them.
    #[must_use]
    pub fn fleets(&self, model: Option<&str>) -> Vec<&Fleet> {
        match model {
            Some(model) => self.models.get(model).map(|listed| &listed.fleet).into_iter().collect(),
            None => self.models.values().map(|listed| &listed.fleet).collect(),
        }
    }

    /// The signed offer and descriptor behind a candidate.
    #[must_use]
    pub fn signed(
        &self,
        node: &PublicKey,
        offer: &EventId,
    ) -> Option<(&Held<ModelOffer>, &Held<NodeDescriptor>)> {
        let entry = self.nodes.get(node)?;
        let (held, _) = entry.offers.values().find(|(held, _)| held.received.id == *offer)?;
        Some((held, entry.descriptors.get(&held.received.message.node)?))
    }

    /// True when the node has an entry.
    #[must_use]
    pub fn knows(&self, node: &PublicKey) -> bool {
        self.nodes.contains_key(node)
    }

    /// What was seen of a node and model.
    #[must_use]
    pub fn view(&self, node: &PublicKey, model: &str) -> Option<&NodeView> {
        self.nodes.get(node)?.views.get(model)
    }

    /// Jobs that a node is believed to take at once for a model.
    #[must_use]
    pub fn slots(&self, node: &PublicKey, model: &str) -> Option<f64> {
        let fleet = &self.models.get(model)?.fleet;
        fleet.range_of(node).filter_map(|at| fleet.rows().get(at)).map(|row| row.slots).reduce(f64::max)
    }

    /// Share of a model's nodes that a breaker keeps out now, and whether one more may go.
    #[must_use]
    pub fn may_eject(&self, now: UnixMicros, model: &str) -> bool {
        let Some(listed) = self.models.get(model) else { return false };
        let out = listed.fleet.out(now);
        (out + 1) * 2 <= listed.fleet.rows().len()
    }

    /// Number of live nodes.
    #[must_use]
    pub fn live_nodes(&self, now: UnixSeconds) -> usize {
        let lives = |entry: &NodeEntry| entry.descriptors.values().any(|d| d.received.message.is_live(now));
        self.nodes.values().filter(|entry| lives(entry)).count()
    }

    /// Number of nodes known, live or not.
    #[must_use]
    pub fn known_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Every descriptor with its offers, in order of key and name.
    pub fn listed(
        &self,
    ) -> impl Iterator<Item = (PublicKey, &NodeDescriptor, Vec<(&ModelOffer, Option<&NodeView>)>)> {
        self.nodes.iter().flat_map(|(node, entry)| {
            entry.descriptors.values().map(move |descriptor| {
                let name = &descriptor.received.message.name;
                let offers = entry
                    .offers
                    .values()
                    .map(|(offer, _)| &offer.received.message)
                    .filter(|offer| offer.node == *name)
                    .map(|offer| (offer, entry.views.get(&offer.model)))
                    .collect();
                (*node, &descriptor.received.message, offers)
            })
        })
    }

    /// The entry of a node, made when there is room. A full registry gives up a node whose leases have all ended.
    fn entry(&mut self, now: UnixMicros, node: PublicKey) -> Option<&mut NodeEntry> {
        if !self.nodes.contains_key(&node) && self.nodes.len() >= ROUTER_NODES_MAX {
            let is_dead = |entry: &NodeEntry| {
                entry.descriptors.values().all(|d| d.received.message.expires_at <= now.seconds())
            };
            let dead = self.nodes.iter().find(|(_, entry)| is_dead(entry)).map(|(node, _)| *node)?;
            self.forget(&dead);
        }
        Some(self.nodes.entry(node).or_default())
    }

    fn forget(&mut self, node: &PublicKey) {
        let Some(entry) = self.nodes.remove(node) else { return };
        for (offer, _) in entry.offers.values() {
            self.unlist(&offer.received.message.model, node, &offer.received.id);
        }
    }

    fn unlist(&mut self, model: &str, node: &PublicKey, offer: &EventId) {
        if let Some(listed) = self.models.get_mut(model) {
            listed.fleet.remove(node, offer);
            if listed.fleet.rows().is_empty() {
                self.models.remove(model);
            }
        }
    }

    /// Leases end quickly; what was measured is kept for a day, in case the node comes back.
    fn forget_dead(&mut self, now: UnixSeconds) {
        let silent = |entry: &NodeEntry| now.since(entry.heard_at.seconds()) > 86_400;
        let ended = |entry: &NodeEntry| {
            entry.descriptors.values().all(|d| now.since(d.received.message.expires_at) > 3_600)
        };
        let dead: Vec<PublicKey> =
            self.nodes.iter().filter(|(_, e)| silent(e) && ended(e)).map(|(node, _)| *node).collect();
        for node in dead {
            self.forget(&node);
        }
    }

    /// Writes every offer of a node into the fleets anew.
    fn rebuild(&mut self, now: UnixMicros, node: &PublicKey, trust: &Trust) {
        let Self { router, policy, nodes, models } = self;
        let Some(entry) = nodes.get(node) else { return };
        for (held, facts) in entry.offers.values() {
            let offer = &held.received.message;
            let Some(descriptor) = entry.descriptors.get(&offer.node) else { continue };
            let mut row = candidate(held, facts, &descriptor.received.message, router);
            row.heard_at = entry.heard_at;
            let listed = models.entry(offer.model.clone()).or_insert_with(|| ModelEntry {
                fleet: Fleet::new(
                    offer.model.clone(),
                    FleetPrior { maturity: 0.0, ..FleetPrior::default() },
                    Vec::new(),
                ),
                output: DecayedMean::default(),
            });
            let unseen = NodeView::default();
            let view = entry.views.get(&offer.model).unwrap_or(&unseen);
            view.apply(now, &mut row, listed.fleet.prior(), policy, trust);
            listed.fleet.insert(row);
        }
    }
}

/// A later version of an address: by time, then by the smaller id (NIP-01).
fn is_newer<M>(new: &Received<M>, old: &Received<M>) -> bool {
    (new.created_at, core::cmp::Reverse(new.id)) > (old.created_at, core::cmp::Reverse(old.id))
}

/// The unchanging part of a candidate.
fn candidate(
    held: &Held<ModelOffer>,
    facts: &Arc<OfferFacts>,
    descriptor: &NodeDescriptor,
    router: &PublicKey,
) -> CandidateView {
    let offer = &held.received.message;
    let per_token = |price: fedai_protocol::MsatPerMtok| price.get() as f64 / 1e6;
    let input = offer.price.cached_input.map_or(offer.price.input, |cached| cached.max(offer.price.input));
    let facts = if descriptor.regions.is_empty() {
        Arc::clone(facts)
    } else {
        Arc::new(OfferFacts { regions: descriptor.regions.clone(), ..facts.as_ref().clone() })
    };
    CandidateView {
        node: held.received.author,
        offer: held.received.id,
        input_price: per_token(input),
        output_price: per_token(offer.price.output),
        request_price: offer.price.request.get() as f64,
        counted_input: 1.0,
        counted_output: 1.0,
        context_tokens: offer.context_tokens.get(),
        output_tokens_max: offer.max_output_tokens.get(),
        payment: method_bits(&offer.payment) & method_bits(&descriptor.payment.methods),
        is_text: facts.modalities.iter().any(|modality| modality == "text"),
        is_active: descriptor.status == NodeStatus::Active,
        takes_router: descriptor.routers.is_empty() || descriptor.routers.contains(router),
        lease_until: descriptor.expires_at,
        heard_at: UnixMicros(0),
        slots: 1.0,
        learned_cap: 0.0,
        rtt_ms: 0.0,
        prefill_ms: 0.0,
        prefill_sd_ms: 0.0,
        decode_ms: 0.0,
        decode_job_ms: 0.0,
        decode_sd_ms: 0.0,
        ttft_p95_ms: 0,
        in_flight: 0,
        load_at: UnixMicros(0),
        load_jobs: 0,
        sent_since_load: 0,
        others: 0.0,
        breaker_until: UnixMicros(0),
        is_probing: false,
        p_ok: 0.0,
        trust: 0.0,
        has_misbehaved: false,
        facts,
    }
}

/// The medians of a fleet. What was measured nowhere keeps its default.
fn fleet_prior(
    listed: &ModelEntry,
    nodes: &BTreeMap<PublicKey, NodeEntry>,
    model: &str,
    receipts: u64,
) -> FleetPrior {
    let rows = listed.fleet.rows();
    let views: Vec<&NodeView> =
        rows.iter().filter_map(|row| nodes.get(&row.node).and_then(|entry| entry.views.get(model))).collect();
    let default = FleetPrior::default();
    let measured = |of: fn(&NodeView) -> Option<f64>, default: f64| {
        median(views.iter().filter_map(|view| of(view)).collect()).unwrap_or(default)
    };
    let others_per_slot = median(
        rows.iter()
            .filter_map(|row| Some(nodes.get(&row.node)?.views.get(model)?.others()? / row.slots.max(1.0)))
            .collect(),
    );
    // A way of counting is not the fleet's before three nodes have shown theirs.
    let counted = |of: fn(&NodeView) -> Option<f64>| {
        let rates: Vec<f64> = views.iter().filter_map(|view| of(view)).collect();
        if rates.len() < 3 { 0.0 } else { median(rates).unwrap_or(0.0) }
    };
    let of_rows = |of: fn(&CandidateView) -> f64| median(rows.iter().map(of).collect()).unwrap_or(0.0);
    FleetPrior {
        input_price: of_rows(|row| row.input_price),
        output_price: of_rows(|row| row.output_price),
        rtt_ms: measured(|view| view.measured().0, default.rtt_ms),
        prefill_ms: measured(|view| view.measured().1, default.prefill_ms),
        decode_ms: measured(|view| view.measured().2, default.decode_ms),
        decode_job_share: measured(NodeView::batch_share, default.decode_job_share),
        maturity: receipts as f64 / (receipts as f64 + MATURE_RECEIPTS),
        others_per_slot: others_per_slot.unwrap_or_default(),
        slots: of_rows(|row| f64::from(row.facts.slots)).max(1.0),
        output_tokens: listed.output.mean().unwrap_or(default.output_tokens),
        input_rate: counted(|view| view.counts().0),
        output_rate: counted(|view| view.counts().1),
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
