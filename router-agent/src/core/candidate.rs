//! What the scheduler sees of an offer: everything that a decision needs, flat and ready, so that ten thousand of them
//! are judged without an allocation or a look-up.
//!
//! A [`Fleet`] keeps its candidates sorted by node and offer: the order in which offers arrived never shows.

use std::ops::Range;
use std::sync::Arc;

use fedai_protocol::payment_offer::PaymentMethod;
use fedai_protocol::{EventId, Msat, Price, PublicKey, Tokens, UnixMicros, UnixSeconds};
use serde::{Deserialize, Serialize};

use super::columns::{self, Block};

/// The parts of an offer that are looked at for a few candidates only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferFacts {
    /// Slug of the offer.
    pub slug: String,
    /// Exact price.
    pub price: Price,
    /// Jobs at once, as the node claims.
    pub slots: u32,
    /// Quantization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<String>,
    /// Modalities.
    pub modalities: Vec<String>,
    /// Runner features.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// Regions of the node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
}

impl OfferFacts {
    /// Most that one job can cost, without a router's fee.
    #[must_use]
    pub fn ceiling(&self, input: Tokens, output: Tokens) -> Option<Msat> {
        self.price.ceiling(input, output)
    }
}

/// One offer as the scheduler sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CandidateView {
    /// Node.
    pub node: PublicKey,
    /// Offer.
    pub offer: EventId,
    /// The rarely needed parts.
    #[serde(with = "super::arc_serde")]
    pub facts: Arc<OfferFacts>,
    /// Price per prompt token, in msat.
    pub input_price: f64,
    /// Price per output token, in msat.
    pub output_price: f64,
    /// Price per request, in msat.
    pub request_price: f64,
    /// Prompt tokens that it is taken to count where its fleet counts one; its price is so much higher.
    #[serde(default = "one")]
    pub counted_input: f64,
    /// The same for output tokens.
    #[serde(default = "one")]
    pub counted_output: f64,
    /// Context window.
    pub context_tokens: u64,
    /// Most output tokens of one job.
    pub output_tokens_max: u64,
    /// Payment methods taken, as [`method_bit`]s.
    pub payment: u8,
    /// Takes and gives text.
    pub is_text: bool,
    /// Says that it takes jobs.
    pub is_active: bool,
    /// Takes dispatches of this router.
    pub takes_router: bool,
    /// End of the lease.
    pub lease_until: UnixSeconds,
    /// Last sign of life.
    pub heard_at: UnixMicros,
    /// Jobs that run at once, as far as that is believed.
    pub slots: f64,
    /// Jobs that it took before it said busy; 0 when it never did.
    pub learned_cap: f64,
    /// Network time to the first token and back, in milliseconds.
    pub rtt_ms: f64,
    /// Time per prompt token, in milliseconds.
    pub prefill_ms: f64,
    /// Its standard deviation.
    pub prefill_sd_ms: f64,
    /// Time per output token of a job that runs alone, in milliseconds.
    pub decode_ms: f64,
    /// What each job beside it adds to that, in milliseconds.
    pub decode_job_ms: f64,
    /// Its standard deviation.
    pub decode_sd_ms: f64,
    /// 95th percentile of the time to first token; 0 when unknown.
    pub ttft_p95_ms: u64,
    /// Jobs of this router that are under way there.
    pub in_flight: u32,
    /// When load was announced last; 0 when it never was.
    pub load_at: UnixMicros,
    /// Jobs announced, running and queued.
    pub load_jobs: u32,
    /// Jobs that this router sent after that announcement.
    pub sent_since_load: u32,
    /// Jobs of others that it usually has: what is assumed when its announcement is old.
    pub others: f64,
    /// Breaker is open until then; 0 when closed.
    pub breaker_until: UnixMicros,
    /// A probe of a half-open breaker is under way.
    pub is_probing: bool,
    /// Lower bound of the chance that it delivers.
    pub p_ok: f64,
    /// Lower bound of trust.
    pub trust: f64,
    /// This router holds proof against it that it has signed itself.
    #[serde(default, skip_serializing_if = "is_false")]
    pub has_misbehaved: bool,
}

const fn one() -> f64 {
    1.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// What is assumed of a node that was never measured: the medians of its fleet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FleetPrior {
    /// Price per prompt token, in msat.
    pub input_price: f64,
    /// Price per output token, in msat.
    pub output_price: f64,
    /// Network time, in milliseconds.
    pub rtt_ms: f64,
    /// Time per prompt token, in milliseconds.
    pub prefill_ms: f64,
    /// Time per output token of a job that runs alone, in milliseconds.
    pub decode_ms: f64,
    /// What each job beside it adds to that, as a share.
    pub decode_job_share: f64,
    /// Slots; 0 while no median is known.
    pub slots: f64,
    /// Jobs of others for each slot.
    pub others_per_slot: f64,
    /// Output tokens of a job.
    pub output_tokens: f64,
    /// Prompt tokens counted for one that was asked for; 0 while unknown.
    #[serde(default)]
    pub input_rate: f64,
    /// Output tokens counted for a verified byte; 0 while unknown.
    #[serde(default)]
    pub output_rate: f64,
    /// How much of a history the fleet has, from 0 to 1: without one, unproven nodes are not held to a share.
    pub maturity: f64,
}

impl Default for FleetPrior {
    /// A small machine on a home line, until something was measured.
    fn default() -> Self {
        Self {
            input_price: 0.0,
            output_price: 0.0,
            rtt_ms: 150.0,
            prefill_ms: 2.0,
            decode_ms: 50.0,
            decode_job_share: 0.05,
            slots: 0.0,
            others_per_slot: 0.0,
            output_tokens: 256.0,
            input_rate: 0.0,
            output_rate: 0.0,
            maturity: 1.0,
        }
    }
}

/// All offers of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredFleet")]
pub struct Fleet {
    model: String,
    prior: FleetPrior,
    rows: Vec<CandidateView>,
    /// The rows again, as judging reads them.
    #[serde(skip)]
    blocks: Vec<Block>,
    /// Rows whose breaker is not closed.
    #[serde(skip)]
    broken: usize,
    /// Nodes of the rows, side by side: what a node is looked up in.
    #[serde(skip)]
    keys: Vec<PublicKey>,
}

#[derive(Deserialize)]
struct StoredFleet {
    model: String,
    prior: FleetPrior,
    rows: Vec<CandidateView>,
}

impl From<StoredFleet> for Fleet {
    fn from(stored: StoredFleet) -> Self {
        Self::new(stored.model, stored.prior, stored.rows)
    }
}

impl Fleet {
    /// A fleet; sorts the candidates.
    #[must_use]
    pub fn new(model: String, prior: FleetPrior, mut rows: Vec<CandidateView>) -> Self {
        rows.sort_by_key(|row| (row.node, row.offer));
        let blocks = Block::of(&rows);
        let broken = rows.iter().filter(|row| is_broken(row)).count();
        let keys = rows.iter().map(|row| row.node).collect();
        Self { model, prior, rows, blocks, broken, keys }
    }

    /// Model.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// What is assumed of the unmeasured.
    #[must_use]
    pub const fn prior(&self) -> &FleetPrior {
        &self.prior
    }

    /// The candidates, sorted by node and offer.
    #[must_use]
    pub fn rows(&self) -> &[CandidateView] {
        &self.rows
    }

    pub(crate) fn set_prior(&mut self, prior: FleetPrior) {
        self.prior = prior;
    }

    pub(crate) fn insert(&mut self, row: CandidateView) {
        match self.rows.binary_search_by_key(&(row.node, row.offer), |row| (row.node, row.offer)) {
            Ok(at) => {
                columns::write(&mut self.blocks, at, &row);
                if let Some(slot) = self.rows.get_mut(at) {
                    self.broken += usize::from(is_broken(&row));
                    self.broken -= usize::from(is_broken(slot));
                    *slot = row;
                }
            }
            Err(at) => {
                self.broken += usize::from(is_broken(&row));
                self.keys.insert(at, row.node);
                self.rows.insert(at, row);
                columns::write_from(&mut self.blocks, &self.rows, at);
            }
        }
    }

    pub(crate) fn remove(&mut self, node: &PublicKey, offer: &EventId) {
        if let Ok(at) = self.rows.binary_search_by_key(&(*node, *offer), |row| (row.node, row.offer)) {
            let row = self.rows.remove(at);
            self.keys.remove(at);
            self.broken -= usize::from(is_broken(&row));
            columns::write_from(&mut self.blocks, &self.rows, at);
        }
    }

    /// Candidates that a breaker keeps out now.
    pub(super) fn out(&self, now: UnixMicros) -> usize {
        // Mostly no breaker is anything but closed, and there is nothing to go through.
        if self.broken == 0 { 0 } else { self.rows.iter().filter(|row| row.breaker_until > now).count() }
    }

    /// The rows as judging reads them.
    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Where the candidates of one node are.
    pub(super) fn range_of(&self, node: &PublicKey) -> Range<usize> {
        let from = self.keys.partition_point(|key| key < node);
        let further = self.keys.iter().skip(from).take_while(|key| *key == node).count();
        from..from + further
    }

    /// Changes the candidates of one node. Their key fields must stay as they are.
    pub(crate) fn change(&mut self, node: &PublicKey, mut change: impl FnMut(&mut CandidateView)) {
        for at in self.range_of(node) {
            if let Some(row) = self.rows.get_mut(at) {
                let before = usize::from(is_broken(row));
                change(row);
                self.broken = self.broken + usize::from(is_broken(row)) - before;
                columns::write(&mut self.blocks, at, row);
            }
        }
    }
}

const fn is_broken(row: &CandidateView) -> bool {
    row.breaker_until.0 != 0
}

/// Most of a time to first token that is believed to be the network's, in milliseconds. It is the node that says how it
/// splits: the median of a fleet of three or more is not moved by one of them, a smaller fleet's would be.
#[must_use]
pub fn network_max_ms(fleet: Option<&Fleet>) -> u64 {
    let fleet = fleet.filter(|fleet| fleet.rows.len() > 2);
    let median = fleet.map_or_else(|| FleetPrior::default().rtt_ms, |fleet| fleet.prior.rtt_ms);
    median.mul_add(NETWORK_PER_MEDIAN, NETWORK_MARGIN_MS) as u64
}

/// A node is at most so many times as far as its fleet's median, and so many milliseconds more.
const NETWORK_PER_MEDIAN: f64 = 1.5;
const NETWORK_MARGIN_MS: f64 = 50.0;

/// The bit of a payment method; none for the unknown one, which is never acceptable.
#[must_use]
pub const fn method_bit(method: PaymentMethod) -> u8 {
    match method {
        PaymentMethod::Free => 1,
        PaymentMethod::Ticket => 2,
        PaymentMethod::Book => 4,
        PaymentMethod::Bearer => 8,
        PaymentMethod::Credit => 16,
        PaymentMethod::Unknown => 0,
    }
}

/// The bits of several methods.
#[must_use]
pub fn method_bits(methods: &[PaymentMethod]) -> u8 {
    methods.iter().fold(0, |bits, method| bits | method_bit(*method))
}
