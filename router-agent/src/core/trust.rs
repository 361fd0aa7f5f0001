//! Trust in a node, from evidence that this router can check itself: acknowledgements that the clients of its own
//! tickets have proven to be theirs, and what nodes signed against themselves.
//!
//! Each dimension is a Beta distribution with forgetting and a pessimistic prior; its value is a lower bound, so a
//! fresh identity is worth nothing, and less than any honest history. Evidence weighs by money moved and by chance:
//! what a client arranged for itself says nothing. What anyone can check caps its dimension; what only one party says
//! is bounded by what the other side has shown. Opinions of others come on top, within bounds ([`super::follow`]).

use fedai_protocol::trust_assertion::{EvidenceWeights, TrustDimensions, TrustEvidence};
use fedai_protocol::{Msat, UnixMicros};

use super::estimate::half_life_decay;

/// Half-life of good evidence, in seconds.
const GOOD_HALF_LIFE_SECONDS: f64 = 14.0 * 86_400.0;
/// Half-life of bad evidence, in seconds: it is remembered longer.
const BAD_HALF_LIFE_SECONDS: f64 = 30.0 * 86_400.0;
/// Weight of a job that moved no money. A self-dealer pays for it with draws only, so it is a fraction; a network
/// where all is free has to learn within a day, so it is not a small one: a node at 100 jobs a day is above 0.7 after
/// one day and at 0.9 after three.
const FREE_WEIGHT: f64 = 0.2;
/// Amount from which on weight grows, in msat.
const WEIGHT_FROM_MSAT: f64 = 1_000.0;
/// Amount that has the full weight of 1, in msat: more money in one job says no more.
const WEIGHT_FULL_MSAT: f64 = 1_000_000.0;
/// Weight of a job, as part of its money's, that its node was certain to be drawn for.
const CERTAIN_WEIGHT: f64 = 0.05;
/// Prior: one good, three bad.
const PRIOR: (f64, f64) = (1.0, 3.0);
/// One-sided 5 % point of the normal distribution.
const BOUND_SD: f64 = 1.645;
/// Evidence below which a node has no record.
const RECORD_WEIGHT: f64 = 0.5;
/// Most good evidence that is banked: a long record must not make room for a long fraud.
const GOOD_MAX: f64 = 200.0;
/// The same for metering: an acceptance says that counts are possible, not that they are true.
const METERING_GOOD_MAX: f64 = 60.0;
/// What clients only claim counts at most this part of what else speaks for the node: throwaway clients cannot sink it.
const CLAIMED_SHARE: f64 = 0.5;
/// Claims about metering, price or model that are taken for noise, in full jobs: five free ones.
const CLAIMED_NOISE: f64 = 1.0;
/// How far one proof of misbehaviour lowers the most that its dimension can reach.
const PROOF_DEPTH: f64 = 0.75;
/// A node is not drawn while proof lowers a dimension by more than this: 17 days after one proof, 27 after two at once,
/// 30 after many. That is longer than a cheat needs to be found out again.
const MISBEHAVED_FROM: f64 = 0.5;

/// However bad an opinion, so much of an answer's worth is left.
const BELIEVED_LEAST: f64 = 0.2;

/// What a piece of evidence is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dimension {
    /// Finished, in time.
    Delivery,
    /// Counted as it could be checked.
    Metering,
    /// Charged what was quoted.
    Price,
    /// The model that the offer names.
    Identity,
}

impl Dimension {
    /// The dimension that a dispute code is about. Unknown codes are about delivery.
    #[must_use]
    pub fn of_dispute(code: &str) -> Self {
        match code {
            "wrong_amount" | "above_ceiling" | "wrong_payment" | "wrong_offer" => Self::Price,
            "usage_bounds" => Self::Metering,
            "wrong_model" => Self::Identity,
            _ => Self::Delivery,
        }
    }
}

/// How much a job says.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct JobWeight(f64);

impl JobWeight {
    /// The weight of a job by the money that it moved, by chance, and by how many of the same ticket were heard of.
    /// `luck_permille` is how unlikely the node was to be drawn; 0 when the client named it. Jobs under one ticket are
    /// of one client: the second says half, the third a third.
    #[must_use]
    pub fn new(amount: Msat, luck_permille: u16, heard_before: u32) -> Self {
        if luck_permille == 0 {
            return Self(0.0);
        }
        let full = libm::log1p(WEIGHT_FULL_MSAT / WEIGHT_FROM_MSAT);
        let grown = libm::log1p(amount.get() as f64 / WEIGHT_FROM_MSAT) / full;
        let money = (1.0 - FREE_WEIGHT).mul_add(grown.clamp(0.0, 1.0), FREE_WEIGHT);
        let luck = (f64::from(luck_permille) / 1_000.0).clamp(CERTAIN_WEIGHT, 1.0);
        Self(money * luck / f64::from(heard_before.saturating_add(1)))
    }

    /// True when the job says nothing.
    #[must_use]
    pub fn is_nothing(self) -> bool {
        self.0 <= 0.0
    }
}

/// How a kind of evidence speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Good,
    /// The node has signed it against itself.
    Bad,
    /// A client says so, and nobody can check it.
    Claimed,
}

/// Evidence of one dimension. Good evidence is also kept over the half-life of bad: the share of bad is one over the
/// other, and so a node of constant quality is seen at that quality however old it is. With two half-lives and no more,
/// every honest node would look worse with age, and better under a new key.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Beta {
    good: f64,
    good_long: f64,
    bad: f64,
    claimed: f64,
    /// What the best value is lowered by.
    deficit: f64,
    at: UnixMicros,
}

impl Beta {
    fn observe(&mut self, now: UnixMicros, says: Says, weight: f64, good_max: f64) {
        *self = self.aged(now);
        self.at = now.max(self.at);
        match says {
            Says::Good => {
                self.good += weight;
                self.good_long += weight;
            }
            Says::Bad => self.bad += weight,
            Says::Claimed => self.claimed += weight,
        }
        // The past gives way in all its parts alike.
        if self.good > good_max {
            let keep = good_max / self.good;
            for part in [&mut self.good, &mut self.good_long, &mut self.bad, &mut self.claimed] {
                *part *= keep;
            }
        }
    }

    fn prove(&mut self, now: UnixMicros) {
        *self = self.aged(now);
        self.at = now.max(self.at);
        self.deficit = PROOF_DEPTH.mul_add(1.0 - self.deficit, self.deficit);
    }

    fn aged(self, now: UnixMicros) -> Self {
        let long = half_life_decay(now, self.at, BAD_HALF_LIFE_SECONDS);
        Self {
            good: self.good * half_life_decay(now, self.at, GOOD_HALF_LIFE_SECONDS),
            good_long: self.good_long * long,
            bad: self.bad * long,
            claimed: self.claimed * long,
            deficit: self.deficit * long,
            at: self.at,
        }
    }

    /// Weight for and against, over the same time.
    fn counts(self, now: UnixMicros, noise: f64) -> (f64, f64) {
        let aged = self.aged(now);
        let scale = if aged.good_long > 0.0 { (aged.good / aged.good_long).min(1.0) } else { 1.0 };
        let claimed = (aged.claimed - noise).max(0.0) * scale;
        (aged.good, aged.bad.mul_add(scale, claimed.min((1.0 + aged.good) * CLAIMED_SHARE)))
    }
}

/// Bound of a Beta distribution by the normal approximation: 5 % below for -1, 5 % above for +1.
fn bound(good: f64, bad: f64, side: f64) -> f64 {
    let sum = good + bad;
    let mean = good / sum;
    let sd = (good * bad / (sum * sum * (sum + 1.0))).sqrt();
    (side * BOUND_SD).mul_add(sd, mean).clamp(0.0, 1.0)
}

/// The value of a dimension that has to be earned, by the weight for and against.
#[must_use]
pub fn earned_bound(good: f64, bad: f64) -> f64 {
    bound(PRIOR.0 + good, PRIOR.1 + bad, -1.0)
}

/// The value of a dimension that is believed until evidence speaks against it.
#[must_use]
pub fn ceiling_bound(good: f64, bad: f64) -> f64 {
    bound(1.0 + good, 1.0 + bad, 1.0)
}

/// Evidence that others vouch for, already clipped.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pseudo {
    /// For the node.
    pub good: f64,
    /// Against it.
    pub bad: f64,
}

/// What followed reporters say of a node, clipped.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Opinion {
    /// Of delivery.
    pub delivery: Pseudo,
    /// Of metering.
    pub metering: Pseudo,
    /// Of the price.
    pub price: Pseudo,
    /// Of the model.
    pub identity: Pseudo,
}

/// Trust in one node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Trust {
    delivery: Beta,
    metering: Beta,
    price: Beta,
    identity: Beta,
    receipts: u64,
    opinion: Opinion,
}

impl Trust {
    /// Takes an acknowledgement that found nothing wrong.
    pub fn accepted(&mut self, now: UnixMicros, weight: JobWeight, complete: bool) {
        let delivered = if complete { Says::Good } else { Says::Bad };
        self.delivery.observe(now, delivered, weight.0, GOOD_MAX);
        self.metering.observe(now, Says::Good, weight.0, METERING_GOOD_MAX);
        self.price.observe(now, Says::Good, weight.0, GOOD_MAX);
        self.receipts = self.receipts.saturating_add(1);
    }

    /// Takes a dispute that this router cannot check.
    pub fn disputed(&mut self, now: UnixMicros, weight: JobWeight, about: Dimension) {
        self.beta(about).observe(now, Says::Claimed, weight.0, GOOD_MAX);
        self.receipts = self.receipts.saturating_add(1);
    }

    /// Takes proof of misbehaviour that anyone can check: it caps its dimension, whatever was paid.
    pub fn proven(&mut self, now: UnixMicros, about: Dimension) {
        self.beta(about).prove(now);
    }

    /// The same with what others say on top.
    #[must_use]
    pub const fn with(mut self, opinion: Opinion) -> Self {
        self.opinion = opinion;
        self
    }

    /// Lower bound of the chance that it delivers.
    #[must_use]
    pub fn p_ok(&self, now: UnixMicros) -> f64 {
        earned(&self.delivery, self.opinion.delivery, now, 0.0)
    }

    /// The score: the worst of the dimensions.
    #[must_use]
    pub fn score(&self, now: UnixMicros) -> f64 {
        let price = earned(&self.price, self.opinion.price, now, CLAIMED_NOISE);
        self.p_ok(now).min(self.metering_bound(now)).min(price).min(self.identity_bound(now))
    }

    /// The dimensions, in thousandths.
    #[must_use]
    pub fn dimensions(&self, now: UnixMicros) -> TrustDimensions {
        let permille = |bound: f64| (bound * 1_000.0).round() as u16;
        let identity = self.identity_bound(now);
        TrustDimensions {
            delivery_permille: permille(self.p_ok(now)),
            metering_permille: permille(self.metering_bound(now)),
            price_permille: permille(earned(&self.price, self.opinion.price, now, CLAIMED_NOISE)),
            identity_permille: (identity < 1.0).then(|| permille(identity)),
        }
    }

    /// The weight behind each dimension, without anybody's opinion.
    #[must_use]
    pub fn evidence(&self, now: UnixMicros) -> TrustEvidence {
        let weights = |beta: &Beta, noise: f64| {
            let (good, bad) = beta.counts(now, noise);
            let milli = |weight: f64| (weight * 1_000.0).round().clamp(0.0, 1e9) as u32;
            EvidenceWeights { good_milli: milli(good), bad_milli: milli(bad) }
        };
        TrustEvidence {
            delivery: weights(&self.delivery, 0.0),
            metering: weights(&self.metering, CLAIMED_NOISE),
            price: weights(&self.price, CLAIMED_NOISE),
            identity: weights(&self.identity, CLAIMED_NOISE),
        }
    }

    /// True when this router holds proof, which the node has signed against itself, and it is not long enough ago.
    /// What clients claim and what others say never makes it so.
    #[must_use]
    pub fn has_misbehaved(&self, now: UnixMicros) -> bool {
        let proven = [&self.delivery, &self.metering, &self.price, &self.identity];
        proven.into_iter().any(|beta| beta.aged(now).deficit > MISBEHAVED_FROM)
    }

    /// How much less an answer is worth by what followed auditors found of model and counts: 1 when they found nothing,
    /// at most 4 by as much as a single one can say.
    #[must_use]
    pub fn doubt_factor(&self) -> f64 {
        let believed = |said: Pseudo| {
            if said.bad > 0.0 { ceiling_bound(said.good, said.bad) } else { 1.0 }
        };
        let least = believed(self.opinion.identity).min(believed(self.opinion.metering));
        1.0 / least.max(BELIEVED_LEAST)
    }

    /// True when there is too little evidence to speak of a record.
    #[must_use]
    pub fn is_new(&self, now: UnixMicros) -> bool {
        let aged = self.delivery.aged(now);
        aged.good + aged.bad < RECORD_WEIGHT
    }

    /// What would be lost by forgetting this node: good evidence first.
    #[must_use]
    pub fn keep_order(&self, now: UnixMicros) -> f64 {
        let aged = self.delivery.aged(now);
        aged.good.mul_add(1_000.0, aged.bad) + self.metering.aged(now).deficit + self.price.aged(now).deficit
    }

    /// Acknowledgements that it rests on.
    #[must_use]
    pub const fn receipts(&self) -> u64 {
        self.receipts
    }

    fn beta(&mut self, about: Dimension) -> &mut Beta {
        match about {
            Dimension::Delivery => &mut self.delivery,
            Dimension::Metering => &mut self.metering,
            Dimension::Price => &mut self.price,
            Dimension::Identity => &mut self.identity,
        }
    }

    /// Acceptances cannot see an over-count within bounds, so an audit is not outvoted by them: it is a ceiling.
    fn metering_bound(&self, now: UnixMicros) -> f64 {
        let Pseudo { good, bad } = self.opinion.metering;
        earned(&self.metering, self.opinion.metering, now, CLAIMED_NOISE).min(bound(
            1.0 + good,
            1.0 + bad,
            1.0,
        ))
    }

    /// No answer shows which weights made it: a model is what it says until evidence speaks against it.
    fn identity_bound(&self, now: UnixMicros) -> f64 {
        let (good, bad) = self.identity.counts(now, CLAIMED_NOISE);
        let opinion = self.opinion.identity;
        if good + bad + opinion.good + opinion.bad <= 0.0 {
            return 1.0 - self.identity.aged(now).deficit;
        }
        let ceiling = ceiling_bound(good + opinion.good, bad + opinion.bad);
        ceiling.min(1.0 - self.identity.aged(now).deficit)
    }
}

/// The value of a dimension that has to be earned. Opinions lift it no higher than own evidence allows.
fn earned(beta: &Beta, opinion: Pseudo, now: UnixMicros, noise: f64) -> f64 {
    let (good, bad) = beta.counts(now, noise);
    let value = earned_bound(good + opinion.good, bad + opinion.bad);
    let possible = ceiling_bound(good, bad).max(earned_bound(good, bad));
    value.min(possible).min(1.0 - beta.aged(now).deficit)
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
